"""One run of one job: download, train, upload; and how it is stopped, interrupted, timed out."""

from __future__ import annotations

import importlib.util
import logging
import math
import queue
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from cloudtune._compat import StrEnum
from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.checkpoint_sync import CheckpointSync
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.isolation import Isolation
from cloudtune.emulator.job_environment import ScriptFolder, job_environment, make_interpreter, relocated
from cloudtune.emulator.jobs import JobStatus, Phase, TrainingJob
from cloudtune.emulator.log_shipper import LogShipper, MetricExtractor
from cloudtune.emulator.ml_folder import (
    JobFolder,
    checkpoint_folder,
    download_channels,
    upload_results,
    write_configuration,
)
from cloudtune.emulator.object_store import LogStore, ObjectStore, StoreFailed
from cloudtune.emulator.processes import Container, Keeper, SetupFailed
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.settings import ACCOUNT_ID, Settings

_log = logging.getLogger(__name__)
INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."


@dataclass(frozen=True)
class Site:
    """What all attempts share."""

    folder: Path  # of all jobs
    endpoint_url: str
    store: ObjectStore
    isolation: Isolation
    settings: Settings
    faults: Faults
    keeper: Keeper
    scripts: ScriptFolder
    audit: AuditLog
    clock: ServiceClock


class Cause(StrEnum):
    """Why an attempt ends other than by itself; a later one replaces an earlier one only if it is stronger."""

    interrupted = "interrupted"
    max_runtime = "max_runtime"
    max_wait = "max_wait"
    stopped = "stopped"
    aborted = "aborted"

    @property
    def strength(self) -> int:
        return list(Cause).index(self)


_LAST_PHASE = {
    Cause.stopped: Phase.stopped,
    Cause.max_runtime: Phase.max_runtime_exceeded,
    Cause.max_wait: Phase.max_wait_exceeded,
}


@dataclass(frozen=True)
class _Request:
    cause: Cause | None  # None: look at the rules again
    notice: bool = True


class _Exited:
    pass


class Attempt:
    """Runs the job once. :meth:`run` belongs to one thread; the other methods may be called from any.

    Args:
        job: What to run.
        number: 0 for the first attempt.
        site: What it shares with others.
    """

    def __init__(self, job: TrainingJob, number: int, site: Site) -> None:
        self._job = job
        self._site = site
        # A name may be used again while its last job is still being cleaned up.
        self._name = f"{job.name}-{number}-{secrets.token_hex(4)}"
        self._folder = JobFolder(site.folder / job.region / self._name)
        self._inbox: queue.SimpleQueue[_Request | _Exited] = queue.SimpleQueue()
        self._began = site.clock.now()
        self._training_began = math.inf
        self._cause: Cause | None = None
        self._with_notice = True
        self._kill_at = math.inf
        self._metrics = MetricExtractor(job.request["AlgorithmSpecification"].get("MetricDefinitions", []))
        self._sync: CheckpointSync | None = None

    def stop(self) -> None:
        self._inbox.put(_Request(Cause.stopped))

    def interrupt(self, notice: bool) -> None:
        self._inbox.put(_Request(Cause.interrupted, notice))

    def abort(self) -> None:
        """Ends it at once, without results: the emulator closes."""
        self._inbox.put(_Request(Cause.aborted, notice=False))

    def recheck(self) -> None:
        """The rules have changed."""
        self._inbox.put(_Request(None))

    def run(self) -> bool:
        """Returns whether the job was interrupted and has to run again."""
        try:
            return self._run()
        except (StoreFailed, SetupFailed) as error:
            _log.error("job %s: %s", self._job.name, error)
            self._fail(INTERNAL_ERROR)
        except Exception:  # noqa: BLE001 - a defect here is the service's internal error, not the end of the service
            _log.exception("job %s", self._job.name)
            self._fail(INTERNAL_ERROR)
        finally:
            if self._sync is not None:
                self._sync.finish(complete=False)
            self._folder.remove()
        return False

    def _run(self) -> bool:
        self._began = self._site.clock.now()
        self._job.enter(Phase.downloading)
        try:
            self._prepare()
        except StoreFailed as error:
            self._fail(f"ClientError: Data download failed: {error}")
            return False
        program = self._program()
        if program is None:
            self._fail(
                "ClientError: The emulator runs no container images. Give a ContainerEntrypoint, or install the "
                "package sagemaker-training, whose program 'train' stands in for a framework's image."
            )
            return False
        self._read_inbox()
        return self._conclude(self._train(program) if self._cause is None else 0)

    def _prepare(self) -> None:
        request, folder = self._job.request, self._folder
        folder.create()
        root = self._site.isolation.ml_root(folder)
        parameters = {key: relocated(value, root) for key, value in request.get("HyperParameters", {}).items()}
        write_configuration(folder, request, parameters)
        download_channels(folder, request, self._site.store)
        if "CheckpointConfig" in request:
            self._sync = CheckpointSync(
                self._site.store,
                request["CheckpointConfig"]["S3Uri"],
                checkpoint_folder(folder, request),
                self._site.settings.checkpoint_interval_s,
            )
            self._sync.restore()

    def _program(self) -> list[str] | None:
        """The job's command; None if there is nothing to run."""
        algorithm = self._job.request["AlgorithmSpecification"]
        entrypoint = algorithm.get("ContainerEntrypoint")
        if entrypoint is None:
            if importlib.util.find_spec("sagemaker_training") is None:
                return None
            entrypoint = ["train"]
        root = self._site.isolation.ml_root(self._folder)
        return [relocated(part, root) for part in [*entrypoint, *algorithm.get("ContainerArguments", [])]]

    def _train(self, program: list[str]) -> int:
        """Runs the program to its end; returns its exit code."""
        site = self._site
        logs = LogStore(ACCOUNT_ID, self._job.region)
        executables = f"{make_interpreter(self._folder)}:{site.scripts.path}"
        container = Container.start(
            site.isolation.command(self._folder, program),
            job_environment(self._job, self._folder, site.isolation, executables, site.endpoint_url),
            self._name,
            site.isolation.first_process,
            site.keeper,
        )
        try:
            return self._accompany(container, logs)
        finally:  # whatever goes wrong here, nothing of the job is left
            container.reap()
            container.close()

    def _accompany(self, container: Container, logs: LogStore) -> int:
        """From the program's start to its end."""
        self._training_began = self._site.clock.now()
        self._job.enter(Phase.training)
        stream = logs.new_stream(self._job.name)
        shipper = LogShipper(container.output, logs, stream, self._metrics)
        shipper.start()
        if self._sync is not None:
            self._sync.start()
        threading.Thread(target=self._await_exit, args=(container,), name="await-exit", daemon=True).start()
        self._watch(container)
        code = container.reap()
        shipper.finish()
        return code

    def _await_exit(self, container: Container) -> None:
        container.wait_end()
        self._inbox.put(_Exited())

    def _watch(self, container: Container) -> None:
        """Returns when the program has ended."""
        while True:
            try:
                message = self._inbox.get(timeout=self._site.clock.timeout(self._next_deadline()))
            except queue.Empty:
                self._on_time(container, self._site.clock.now())
                continue
            if isinstance(message, _Exited):
                return
            self._act(message, container)

    def _next_deadline(self) -> float:
        if self._cause is not None:
            return self._kill_at
        rule = self._site.faults.next_interruption(self._job.name) if self._job.is_spot else None
        interruption = math.inf if rule is None else self._training_began + rule[1].after_s
        return min(self._runtime_ends(), self._wait_ends(), interruption)

    def _runtime_ends(self) -> float:
        return self._began + self._job.max_runtime_s - self._job.seconds_used

    def _wait_ends(self) -> float:
        return self._job.created + self._job.max_wait_s

    def _on_time(self, container: Container, now: float) -> None:
        if self._cause is not None:
            if now >= self._kill_at:
                self._kill_at = math.inf
                container.kill()
        elif now >= self._wait_ends():
            self._act(_Request(Cause.max_wait), container)
        elif now >= self._runtime_ends():
            self._act(_Request(Cause.max_runtime), container)
        elif self._job.is_spot:
            rule = self._site.faults.next_interruption(self._job.name)
            if rule is not None and now >= self._training_began + rule[1].after_s:
                self._site.faults.fired(rule[0], self._job.name)
                self._act(_Request(Cause.interrupted, rule[1].notice), container)

    def _act(self, request: _Request, container: Container) -> None:
        was_ending = self._cause is not None
        if not self._take(request):
            return
        if self._cause in _LAST_PHASE:
            self._job.enter(Phase.stopping)
        if not request.notice:
            container.kill()
        elif not was_ending:
            container.terminate()
            self._kill_at = self._site.clock.now() + self._site.settings.stop_grace_s

    def _take(self, request: _Request) -> bool:
        """Notes why the attempt is to end; False if there is nothing new."""
        cause = request.cause
        if cause is None or (self._cause is not None and cause.strength <= self._cause.strength):
            return False
        self._cause = cause
        self._with_notice = request.notice
        return True

    def _read_inbox(self) -> None:
        """Takes note of what was asked before the program has started."""
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, _Request):
                self._take(message)

    def _conclude(self, code: int) -> bool:
        """From the end of the program to the end of the attempt."""
        cause = self._cause
        trained = math.isfinite(self._training_began)
        if self._sync is not None and trained:
            self._sync.finish(complete=cause is None or (self._with_notice and cause is not Cause.aborted))
        if cause in (Cause.interrupted, Cause.aborted):
            self._account()
            if cause is Cause.interrupted:
                self._job.enter(Phase.interrupted)
            return cause is Cause.interrupted
        if cause is None and code != 0:
            self._fail(f"AlgorithmError: {self._failure_text(code)}")
            return False
        self._job.enter(Phase.uploading)
        try:
            uri = self._upload()
        except (StoreFailed, OSError) as error:
            self._fail(f"ClientError: Artifact upload failed: {error}")
            return False
        self._job.set_result(uri, self._metrics.final())
        self._account()
        was_stopped = self._job.status is JobStatus.stopping
        self._job.enter(_LAST_PHASE[cause or Cause.stopped] if cause or was_stopped else Phase.completed)
        return False

    def _upload(self) -> str | None:
        compressed = self._job.request["OutputDataConfig"].get("CompressionType", "GZIP") == "GZIP"
        return upload_results(self._folder, self._job.output_prefix, compressed, self._site.store)

    def _failure_text(self, code: int) -> str:
        suffix = f", exit code: {code}"
        room = 1024 - len("AlgorithmError: ") - len(suffix)
        return self._folder.read_failure()[:room] + suffix

    def _fail(self, reason: str) -> None:
        self._job.set_result(None, self._metrics.final())
        self._account()
        self._job.fail(reason)

    def _account(self) -> None:
        self._job.add_attempt(self._site.clock.now() - self._began)
