"""One emulator in the background for each user, shared by launchers, notebooks and tests."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from cloudtune.emulator.client_environment import client_environment
from cloudtune.emulator.faults import InterruptRule, Scenario, load_scenario
from cloudtune.emulator.machine.processes import readable
from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.settings import ACCOUNT_ID, DEFAULT_REGION, DEFAULT_ROLE, default_parallel_jobs
from cloudtune.emulator.state import state_folder
from cloudtune.errors import CloudtuneError, InvalidRequest, MissingExtra, SpecError, Unreachable
from cloudtune.paths import experiments_root, write_atomic

_SCHEMA = 1
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 10.0
_POLL_S = 0.02
_TIMED_OUT = "TimedOut"
# Kept, so that a daemon that ends before this process does leaves no zombie.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class EmulatorHandle:
    """An emulator that runs in another process."""

    endpoint_url: str
    pid: int

    account_id = ACCOUNT_ID
    region = DEFAULT_REGION
    role_arn = f"arn:aws:iam::{ACCOUNT_ID}:role/service-role/{DEFAULT_ROLE}"

    def environment(self, proxy: bool = False) -> dict[str, str]:
        """Environment variables with which any AWS client talks to the emulator; with ``proxy`` also clients that
        insist on AWS's own addresses, like the SageMaker SDKs."""
        return client_environment(self.endpoint_url, Path(self.health()["ca_bundle"]) if proxy else None)

    def health(self) -> JsonObject:
        """Facts about the emulator. Raises Unreachable if it is gone."""
        return _call(self.endpoint_url, "health")

    def live(self) -> JsonObject:
        """What the live view shows. Raises Unreachable if the emulator is gone."""
        return _call(self.endpoint_url, "live")

    def jobs(self) -> list[JsonObject]:
        """All jobs in the order of their creation, as DescribeTrainingJob has them (times in seconds)."""
        return list(_call(self.endpoint_url, "jobs")["jobs"])

    def audit(self, kind: str | None = None, since: int = 0, job: str | None = None) -> list[JsonObject]:
        """What has happened, in order: see :class:`cloudtune.emulator.audit.AuditLog`.

        Args:
            kind: ``call``, ``transition``, ``billed``, ``fault`` or ``emulator``; None: all.
            since: Number of the first entry.
            job: Only what is about the job of that name.

        Raises:
            InvalidRequest: There is no such kind.
        """
        asked = {name: value for name, value in (("kind", kind), ("job", job)) if value is not None}
        found: list[JsonObject] = []
        while True:
            page = _call(self.endpoint_url, f"audit?{urlencode({**asked, 'since': since})}")
            found += page["entries"]
            if not page["more"]:
                return found
            since = page["next"]

    def add_interrupt_rule(self, rule: InterruptRule) -> None:
        """Interrupts matching spot jobs from now on."""
        _call(self.endpoint_url, "interrupt_rules", rule.checked().to_json())

    def apply_scenario(self, scenario: str | os.PathLike[str] | Scenario, seed: int = 0) -> None:
        """Replaces what goes wrong, by a preset's name, a file or a scenario; its times begin now.

        Raises:
            SpecError: It is no scenario.
        """
        _call(self.endpoint_url, "scenario", {**load_scenario(scenario).to_json(), "seed": seed}, "PUT")

    def interrupt(self, job_name: str, notice: bool = False) -> None:
        """Takes the instance of a running spot job away. Raises InvalidRequest if none runs."""
        _call(self.endpoint_url, "interrupt", {"job_name": job_name, "notice": notice})

    def allow_parallel_jobs(self, at_least: int) -> None:
        """From now on so many jobs may run at once, if they might not before."""
        _call(self.endpoint_url, "parallel_jobs", {"at_least": at_least})

    def stop(self) -> None:
        """Ends the emulator and all its jobs; returns when it is gone.

        Raises:
            Unreachable: It does not end.
        """
        with suppress(Unreachable):  # gone already, or deaf: seen below
            _call(self.endpoint_url, "shutdown", {})
        give_up = time.monotonic() + _STOP_TIMEOUT_S
        while _is_alive(self.pid):
            if time.monotonic() > give_up:
                raise Unreachable(f"The emulator (process {self.pid}) does not end.", f"Try: kill {self.pid}")
            time.sleep(_POLL_S)


def ensure_running(
    idle_s: float = 1800.0,
    max_parallel_jobs: int | None = None,
    options: Mapping[str, object] | None = None,
) -> EmulatorHandle:
    """The user's emulator in the background; started if none answers.

    An idle one that belongs to another version or another interpreter is replaced.

    Args:
        idle_s: A new one ends by itself after so many seconds without a request and without a job.
        max_parallel_jobs: So many jobs at least run at once, also on one that runs already: a tuner in a job that
            has each trial run in a job of its own would wait for them forever. None: what it has, and half of the
            cores for a new one.
        options: Other arguments of a new one, named as on the command line (``scenario``, ``time_scale``, ...).

    Raises:
        MissingExtra: Moto is not installed.
        SpecError: One runs that was started with other ``options`` than these.
        CloudtuneError: It does not start; the message shows the end of its log.
    """
    for package in ("moto", "flask", "flask_cors", "regex"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra.of("moto", "emulator", "The emulator")
    if max_parallel_jobs is not None and max_parallel_jobs < 1:
        raise SpecError(f"max_parallel_jobs={max_parallel_jobs} lets no job run.", "Give 1 or more.")
    wanted = {name: str(value) for name, value in (options or {}).items()}
    with _locked():
        handle = _usable(wanted)
        if handle is None:
            at_once = max(max_parallel_jobs or 1, default_parallel_jobs())
            kept = {"state": str(state_path())}
            return _start({**kept, **wanted, "idle_s": str(idle_s), "max_parallel_jobs": str(at_once)})
    if max_parallel_jobs is not None:
        handle.allow_parallel_jobs(max_parallel_jobs)
    return handle


def _usable(wanted: Mapping[str, str]) -> EmulatorHandle | None:
    """The one that runs, unless there is none or it has to be replaced; that is ended."""
    found = _find()
    if found is None:
        return None
    handle, record = found
    if record["identity"] != _identity() and not handle.health()["busy"]:
        handle.stop()
        return None
    has = record.get("options", {})
    for name, value in wanted.items():
        if has.get(name) != value:
            raise SpecError(
                f"The emulator that runs in the background (process {handle.pid}) was not started with "
                f"{name}={value}.",
                "End it first: cloudtune emulator --stop",
            )
    return handle


def state_path() -> Path:
    """Where the emulator in the background keeps S3, logs, roles and jobs while it does not run."""
    return _folder() / "state"


def clear_state() -> None:
    """Ends the emulator in the background, and removes all that it has kept.

    Raises:
        SpecError: What is there is none of the emulator's.
    """
    stop_daemon()
    with _locked():
        state_folder.remove(state_path())


def running_daemon() -> EmulatorHandle | None:
    """The user's emulator in the background; None if none answers. Starts nothing."""
    found = _find()
    return None if found is None else found[0]


def stop_daemon() -> bool:
    """Ends the emulator in the background; whether there was one."""
    with _locked():
        found = _find()
        if found is not None:
            found[0].stop()
        return found is not None


def serving_at(port: int) -> EmulatorHandle:
    """The emulator at that port of this machine.

    Raises:
        Unreachable: None answers there.
    """
    endpoint_url = f"http://127.0.0.1:{port}"
    health = _call(endpoint_url, "health")
    if "pid" not in health:
        raise Unreachable(f"What answers at {endpoint_url} is no emulator.", "Start one: cloudtune emulator")
    return EmulatorHandle(endpoint_url, int(health["pid"]))


def daemon_status() -> JsonObject | None:
    """Facts about the emulator in the background; None if there is none."""
    handle = running_daemon()
    return None if handle is None else handle.health()


def write_record(path: Path, endpoint_url: str, options: Mapping[str, object]) -> None:
    """Notes that this process serves there, and with which arguments it was started."""
    record = {
        "schema": _SCHEMA,
        "endpoint_url": endpoint_url,
        "pid": os.getpid(),
        "identity": _identity(),
        "options": {name: str(value) for name, value in options.items()},
    }
    write_atomic(path, json.dumps(record))


def forget(path: Path) -> None:
    """Removes this process's record; another's stays."""
    record = _read(path)
    if record is not None and record["pid"] == os.getpid():
        path.unlink(missing_ok=True)


def _folder() -> Path:
    return experiments_root() / ".emulator"


def _record_path() -> Path:
    return _folder() / "daemon.json"


@contextmanager
def _locked() -> Iterator[None]:
    """One process at a time looks for the emulator, starts or stops it."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        opened = (_folder() / "lock").open("w")
    except OSError as error:
        raise SpecError(
            f"The emulator keeps its record in {_folder()}, which cannot be written to ({error.strerror}).",
            "Make it writable, or set CLOUDTUNE_FOLDER to a folder that is.",
        ) from error
    with opened as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> JsonObject | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(record, dict) and record.get("schema") == _SCHEMA
    return record if is_ours and {"endpoint_url", "pid", "identity"} <= set(record) else None


def _find() -> tuple[EmulatorHandle, JsonObject] | None:
    """The emulator that is on record, if it answers, and its record. Raises Unreachable if it is there and does
    not: a second one would know nothing of the first one's jobs."""
    record = _read(_record_path())
    if record is None:
        return None
    handle = EmulatorHandle(record["endpoint_url"], record["pid"])
    try:
        # Another program may have got its port since.
        return (handle, record) if handle.health().get("pid") == handle.pid else None
    except InvalidRequest:
        return None
    except Unreachable as error:
        if error.code != _TIMED_OUT:
            return None
        raise Unreachable(
            f"The emulator (process {handle.pid}) is there, but has not answered for {_CALL_TIMEOUT_S:.0f} s.",
            f"Try again, or end it: kill {handle.pid}. If that is no emulator, remove {_record_path()}.",
            error.code,
        ) from error


def _start(options: Mapping[str, str]) -> EmulatorHandle:
    log = _folder() / "log.txt"
    ready, signal_ready = os.pipe()
    command = [sys.executable, "-m", "cloudtune.emulator"]
    command += [f"--{name}={value}" for name, value in options.items()]
    command += ["--record", str(_record_path()), "--ready_fd", str(signal_ready)]
    root = str(Path(__file__).resolve().parents[2])
    search_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, "PYTHONPATH": search_path, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                pass_fds=(signal_ready,),
            )
        os.close(signal_ready)
        _started.append(process)
        is_ready = readable(ready, _START_TIMEOUT_S) and os.read(ready, 1) == b"."
    finally:
        os.close(ready)
    record = _read(_record_path())
    if not is_ready or record is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:].strip()
        raise CloudtuneError(f"The emulator did not start: {tail}", f"Its log is {log}.")
    return EmulatorHandle(record["endpoint_url"], record["pid"])


@functools.cache
def _identity() -> str:
    """Of the emulator that this interpreter would start: version, sources, interpreter."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*")):  # the modules of faults/ and its scenarios, too
        if source.is_file() and source.suffix != ".pyc":
            digest.update(source.read_bytes())
    try:
        version = importlib.metadata.version("cloudtune")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return f"{version} {digest.hexdigest()[:12]} {sys.executable}"


def _is_alive(pid: int) -> bool:
    for process in _started:
        process.poll()  # reaps it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _call(endpoint_url: str, page: str, body: JsonObject | None = None, method: str | None = None) -> JsonObject:
    request = urllib.request.Request(
        f"{endpoint_url}/_emulator/{page}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_CALL_TIMEOUT_S) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise InvalidRequest(_message(error), "See the emulator's log.", str(error.code)) from error
    except (OSError, ValueError) as error:
        timed_out = isinstance(getattr(error, "reason", error), TimeoutError)
        raise Unreachable(
            f"No emulator answers at {endpoint_url} ({error}).",
            "Start it: cloudtune emulator",
            _TIMED_OUT if timed_out else "",
        ) from error
    if not isinstance(answer, dict):
        raise Unreachable(f"What answers at {endpoint_url} is no emulator.", "Start it: cloudtune emulator")
    return answer


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error)
