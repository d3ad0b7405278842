"""An emulator in a process of its own, which tests ill-treat, and a look at everything around it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from emulator_rig import Rig, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.keeper import marked_processes

ROLE = SageMakerEmulator.role_arn
JSON_TYPE = "application/x-amz-json-1.1"
_PLACES = ("/", "/tmp", "/var/tmp", "/dev/shm", "/etc", "/opt", "/opt/ml", "/root", "/home")
_TROUBLE = re.compile(r"Traceback|Error on request|defect of the emulator|Exception (?:ignored|in)")


@dataclass(frozen=True)
class Answer:
    status: int
    kind: str
    body: bytes

    @property
    def error(self) -> str:
        """Code of an error of the JSON protocol."""
        return str(json.loads(self.body).get("__type", "")) if self.kind == JSON_TYPE else ""


class Victim:
    """Runs below ``folder``, where all it may change is ``tmp``. A context manager.

    Args:
        folder: An empty one.
        options: Of ``python -m cloudtune.emulator``.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        #: Part of every name by which a test tries to get out.
        self.token = f"escaped{secrets.token_hex(6)}"
        self._folder = folder
        self.tmp = folder / "tmp"
        self._canary = folder / "canary"
        self.log = folder / "log.txt"
        home = self._canary / "home" / "user"
        for path in (self.tmp, home / "data"):
            path.mkdir(parents=True)
        (home / "data" / "secret.txt").write_text(f"secret-{self.token}", encoding="ascii")
        (self._canary / "private").mkdir(mode=0o500)
        self._before = self._picture()
        self._seen = 0  # of the log
        environment = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"TMPDIR": str(self.tmp), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        self._errors = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "cloudtune.emulator", *options],
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Victim:
        assert self.process.stdout is not None
        try:
            line = next((line for line in self.process.stdout if "AWS_ENDPOINT_URL=" in line), "")
            self.url = line.partition("=")[2].strip()
            if not self.url and "does not work here" in (said := self.log.read_text(encoding="utf-8")):
                pytest.skip(said)
            assert self.url, self.log.read_text(encoding="utf-8")
            self.port = int(self.url.rpartition(":")[2])
            self._keeper = eventually(self._find_keeper, "the process that cleans up")
        except BaseException:
            self.kill()
            raise
        self._connection: http.client.HTTPConnection | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """kill -9 of the emulator alone."""
        self.process.kill()
        self.process.wait(timeout=60)
        self.process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def _find_keeper(self) -> tuple[int, str] | None:
        """Number of the keeper's process, and the mark of the jobs' processes."""
        for child in _children(self.process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_text(encoding="utf-8").split("\0")
                if len(words) > 3 and words[2].endswith("keeper.py"):
                    return child, words[3]
        return None

    @property
    def canary(self) -> Path:
        """A folder with something in it, which nobody may touch."""
        return self._canary / "home" / "user" / "data"

    def rig(self) -> Rig:
        return Rig(self.url, ROLE)

    def send(
        self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        """One request as it is given. Raises OSError or http.client.HTTPException where there is no answer."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection = self._connection
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            given = {name.lower() for name in headers or {}}
            for name, text in (headers or {}).items():
                connection.putheader(name, text.encode("utf-8", errors="surrogateescape"))
            if "content-length" not in given and "transfer-encoding" not in given:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            self._connection = None
            raise
        if response.will_close:
            connection.close()
            self._connection = None
        return Answer(response.status, response.headers.get("Content-Type", ""), content)

    def ask(self, operation: str, request: object, service: str = "SageMaker") -> Answer:
        """One request of the JSON protocol."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.send("/", body, {"X-Amz-Target": f"{service}.{operation}", "Content-Type": JSON_TYPE})

    def page(self, method: str, name: str, body: bytes = b"") -> Answer:
        return self.send(f"/_emulator/{name}", body, method=method)

    def job_ended(self, name: str) -> dict[str, Any]:
        """The final description of a job, read without botocore."""

        def probe() -> dict[str, Any] | None:
            found = json.loads(self.ask("DescribeTrainingJob", {"TrainingJobName": name}).body)
            return found if found["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return eventually(probe, f"{name} ends")

    def memory_mib(self) -> float:
        """The emulator's resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def check(self, max_mib: float = 700) -> None:
        """It lives, has complained about nothing, and has touched nothing but its own folder.

        Complaints are those since the last look."""
        assert self.process.poll() is None
        assert json.loads(self.page("GET", "health").body)["pid"] == self.process.pid
        complaints = self.log.read_text(encoding="utf-8", errors="replace")[self._seen :]
        self._seen += len(complaints)
        assert not _TROUBLE.search(complaints), complaints[-4000:]
        assert self.memory_mib() < max_mib
        self.check_surroundings()
        strangers = [path.name for path in self.tmp.iterdir() if not path.name.startswith("cloudtune-emulator-")]
        assert strangers == []

    def check_surroundings(self) -> None:
        assert self._picture() == self._before
        found = [str(path) for place in _PLACES for path in _entries(Path(place)) if self.token in path.name]
        assert found == []

    def shut_down(self) -> None:
        """Ends it in good order and looks for what is left."""
        assert self.page("POST", "shutdown").status == 200
        if self._connection is not None:
            self._connection.close()
        assert self.process.wait(timeout=60) == 0
        self.check_gone()

    def check_gone(self) -> None:
        """Nothing of it is left soon after its end."""
        keeper, mark = self._keeper
        eventually(lambda: not _runs(keeper), "the process that cleans up ends")
        assert marked_processes(mark) == []
        assert [str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*")] == []
        assert str(self._folder) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        self.check_surroundings()

    def _picture(self) -> list[tuple[str, int, int, int, str]]:
        """All that can be seen of the canary."""
        found = []
        for path in sorted([self._canary, *self._canary.rglob("*")]):
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found.append((str(path), status.st_mode, status.st_uid, status.st_mtime_ns, content))
        return found


def _entries(folder: Path) -> Sequence[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return ()


def _children(pid: int) -> list[int]:
    found = []
    for task in _entries(Path(f"/proc/{pid}/task")):
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text(encoding="ascii").split()]
    return found


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(b") ")[2][:1] != b"Z"
