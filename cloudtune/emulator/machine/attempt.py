"""One run of one job: download, train, upload; and how it is stopped, interrupted, timed out."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import secrets
from dataclasses import dataclass

from cloudtune.emulator.fleet.job_states import INTERNAL_ERROR, JobStatus, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.machine.artifacts import upload_results
from cloudtune.emulator.machine.deadlines import Cause, Deadlines
from cloudtune.emulator.machine.hosts import hosts_of
from cloudtune.emulator.machine.instance import Instance
from cloudtune.emulator.machine.job_environment import program_of
from cloudtune.emulator.machine.log_shipper import MetricExtractor
from cloudtune.emulator.machine.ml_folder import JobFolder
from cloudtune.emulator.machine.processes import Container, SetupFailed
from cloudtune.emulator.machine.site import Site
from cloudtune.emulator.object_store import StoreFailed

__all__ = ["Attempt", "Site"]

_log = logging.getLogger(__name__)
_NO_PROGRAM = (
    "ClientError: The emulator runs no container images. Give a ContainerEntrypoint, or install the package "
    "sagemaker-training, whose program 'train' stands in for a framework's image."
)
_NO_NETWORK_ISOLATION = (
    "ClientError: The emulator cannot isolate the network with its isolation {!r}: that takes Linux namespaces "
    "and the program nsenter (package util-linux). Set EnableNetworkIsolation to false here."
)
_MAX_REASON = 1024


_LAST_PHASE = {
    Cause.stopped: Phase.stopped,
    Cause.max_runtime: Phase.max_runtime_exceeded,
    Cause.max_wait: Phase.max_wait_exceeded,
}
_LOSSES = (Cause.interrupted, Cause.internal_error, Cause.aborted)


class _CutError(Exception):
    """The attempt has to end before its download or its upload."""


@dataclass(frozen=True)
class _Request:
    cause: Cause | None  # None: look at the rules again
    notice: bool = True


@dataclass(frozen=True)
class Exit:
    """How a host's program failed: its exit code, and what it wrote to ``/opt/ml/output/failure``."""

    code: int
    text: str

    def reason(self) -> str:
        """FailureReason."""
        suffix = f", exit code: {self.code}"
        room = _MAX_REASON - len("AlgorithmError: ") - len(suffix)
        return f"AlgorithmError: {self.text[:room]}{suffix}"


@dataclass(frozen=True)
class _Exited:
    instance: Instance


@dataclass(frozen=True)
class _LostInput:
    reason: str


class Attempt:
    """Runs the job once, on all its hosts. :meth:`run` belongs to one thread; the other methods may be called from
    any.

    Args:
        job: What to run.
        number: 0 for the first attempt.
        site: What it shares with others.
    """

    def __init__(self, job: TrainingJob, number: int, site: Site) -> None:
        self._job = job
        self._number = number
        self._site = site
        # A name may be used again while its last job is still being cleaned up.
        token = secrets.token_hex(6)
        self._name = f"{job.name}-{number}-{token}"
        # Short: sockets, such as Python's multiprocessing makes below TMPDIR, have paths of at most 107 bytes.
        self._folder = JobFolder(site.folder / token)
        self._inbox: queue.SimpleQueue[_Request | _Exited | _LostInput] = queue.SimpleQueue()
        self._cause: Cause | None = None
        #: Of a job that was stopped; to be entered when its instances are gone.
        self.last_phase: Phase | None = None
        self._lost_input: str | None = None
        self._with_notice = True
        self._kill_at = math.inf
        definitions = job.request["AlgorithmSpecification"].get("MetricDefinitions", [])
        self._metrics = MetricExtractor(definitions, site.clock.now)
        self._instances = [
            Instance(job, host, JobFolder(self._folder.root / host.name), f"{self._name}/{host.name}", site)
            for host in hosts_of(job.request, job.cluster)
        ]
        types = tuple(instance.host.instance_type for instance in self._instances)
        self._deadlines = Deadlines(job, number, types, site.faults)

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
        """Returns whether the job has to run again: it was interrupted, or is to be tried again."""
        try:
            return self._run()
        except (StoreFailed, SetupFailed) as error:
            _log.error("job %s: %s", self._job.name, error)
            return self._platform_failed()
        except Exception:  # noqa: BLE001 - a defect here is the service's internal error, not the end of the service
            _log.exception("job %s", self._job.name)
            return self._platform_failed()
        finally:
            for instance in self._instances:
                instance.end_sync(complete=False)
            self._folder.remove()

    def _run(self) -> bool:
        self._deadlines.began = self._site.clock.now()
        self._job.enter(Phase.downloading)
        addresses = self._site.addresses.take(len(self._instances))
        hosts = [instance.host for instance in self._instances]
        try:
            for instance in self._instances:
                instance.prepare(hosts, addresses, self._while_downloading)
            self._while_downloading()
        except StoreFailed as error:
            self._fail(f"ClientError: Data download failed: {error}")
            return False
        except _CutError:
            return self._conclude(None)
        program = program_of(self._job.request, self._site.scripts)
        if program is None:
            self._fail(_NO_PROGRAM)
            return False
        if self._is_isolated and self._site.isolation.network_command() is None:
            self._fail(_NO_NETWORK_ISOLATION.format(self._site.isolation.name))
            return False
        return self._conclude(self._train(program))

    def _train(self, program: list[str]) -> Exit | None:
        """Runs the program to its end; returns how it failed."""
        network: Container | None = None
        try:
            if self._is_isolated:
                network = self._start_network()
            joined = None if network is None else network.leader
            for instance in self._instances:
                instance.start(program, joined, self._ended, self._lose_input)
            self._deadlines.training_began = self._site.clock.now()
            self._job.enter(Phase.training)
            for instance in self._instances:
                instance.accompany(self._metrics)
            return self._watch()
        finally:  # whatever goes wrong here, nothing of the job is left
            for instance in self._instances:
                instance.end()
            if network is not None:
                network.reap()
                network.close()

    @property
    def _is_isolated(self) -> bool:
        return bool(self._job.request.get("EnableNetworkIsolation"))

    def _start_network(self) -> Container:
        """Of the job's hosts alone, which reach one another and nothing else. Raises SetupFailed."""
        site = self._site
        command = site.isolation.network_command() or []
        return Container.start(command, {}, f"{self._name}:network", site.isolation.first_process, site.keeper)

    def _lose_input(self, reason: str) -> None:
        self._inbox.put(_LostInput(reason))

    def _ended(self, instance: Instance) -> None:
        self._inbox.put(_Exited(instance))

    def _watch(self) -> Exit | None:
        """Returns when the program has ended on all hosts: how it failed on the first that did."""
        running = len(self._instances)
        failed: Exit | None = None
        while running:
            try:
                message = self._inbox.get(timeout=self._site.clock.timeout(self._next_deadline()))
            except queue.Empty:
                self._on_time(self._site.clock.now())
                continue
            if isinstance(message, _Request):
                self._act(message)
                continue
            if isinstance(message, _LostInput):
                self._lost_input = self._lost_input or message.reason
                self._kill()
                continue
            running -= 1
            code = message.instance.end()
            if code != 0 and failed is None:
                failed = Exit(code, message.instance.folder.read_failure())
                if self._cause is None:  # nobody waits for the hosts that are left
                    self._kill()
        return failed

    def _next_deadline(self) -> float:
        return self._deadlines.first().when if self._cause is None else self._kill_at

    def _on_time(self, now: float) -> None:
        if self._cause is not None:
            if now >= self._kill_at:
                self._kill_at = math.inf
                self._kill()
            return
        due = self._deadlines.first()
        if now >= due.when:
            self._deadlines.struck(due)
            self._act(_Request(due.cause, due.notice))

    def _act(self, request: _Request) -> None:
        was_ending = self._cause is not None
        if not self._take(request):
            return
        if self._cause in _LAST_PHASE:
            self._job.enter(Phase.stopping)
        if not request.notice:
            self._kill()
        elif not was_ending:
            for instance in self._instances:
                instance.terminate()
            self._kill_at = self._site.clock.now() + self._site.settings.stop_grace_s

    def _kill(self) -> None:
        for instance in self._instances:
            instance.kill()

    def _take(self, request: _Request) -> bool:
        """Notes why the attempt is to end; False if there is nothing new."""
        cause = request.cause
        if cause is None or (self._cause is not None and cause.strength <= self._cause.strength):
            return False
        self._cause = cause
        self._with_notice = self._with_notice and request.notice
        return True

    def _look_up(self) -> None:
        """Outside of training: takes note of what was asked, and of the time."""
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._inbox.get_nowait()
                if isinstance(message, _Request):
                    self._act(message)
        if self._cause is None:
            self._on_time(self._site.clock.now())

    def _while_downloading(self) -> None:
        self._look_up()
        if self._cause is not None:
            raise _CutError

    def _while_uploading(self) -> None:
        """Only the loss of the machine is the end of an upload; who stops a job gets its results."""
        self._look_up()
        in_time = self._cause is Cause.interrupted and self._with_notice and self._site.clock.now() < self._kill_at
        if self._cause in _LOSSES and not in_time:
            raise _CutError

    def _conclude(self, failed: Exit | None) -> bool:
        """From the end of the program to the end of the attempt."""
        cause = self._cause
        if math.isfinite(self._deadlines.training_began):
            for instance in self._instances:
                instance.end_sync(complete=cause is None or self._with_notice)
        if cause in _LOSSES:
            return self._lose()
        if cause is None and self._lost_input is not None:
            self._fail(f"ClientError: Data download failed: {self._lost_input}")
            return False
        if cause is None and failed is not None:
            self._fail(failed.reason())
            return False
        self._job.enter(Phase.uploading)
        try:
            uri = self._upload()
        except _CutError:
            return self._lose()
        except (StoreFailed, OSError) as error:
            self._fail(f"ClientError: Artifact upload failed: {error}")
            return False
        self._job.set_result(uri, self._metrics.final())
        self._account()
        if self._job.status is JobStatus.stopping:
            self.last_phase = _LAST_PHASE.get(self._cause or Cause.stopped, Phase.stopped)
        else:
            self._job.enter(Phase.completed)
        return False

    def _lose(self) -> bool:
        """Ends an attempt that has lost its machine; True where the job is to run again."""
        if self._cause is Cause.internal_error:
            return self._platform_failed()
        self._account()
        if self._cause is Cause.interrupted:
            self._job.enter(Phase.interrupted)
        return self._cause is Cause.interrupted

    def _upload(self) -> str | None:
        if not self._with_notice:  # stopped after its machine was lost
            return None
        compressed = self._job.request["OutputDataConfig"].get("CompressionType", "GZIP") == "GZIP"
        folders = [instance.folder for instance in self._instances]
        prefix, store = self._job.output_prefix, self._site.store
        return upload_results(folders, prefix, compressed, store, self._while_uploading)

    def _platform_failed(self) -> bool:
        """Ends the attempt with the service's internal error; True where the job is to be tried again."""
        if self._job.restart():
            self._account()
            return True
        self._fail(INTERNAL_ERROR)
        return False

    def _fail(self, reason: str) -> None:
        self._job.set_result(None, self._metrics.final())
        self._account()
        self._job.fail(reason)

    def _account(self) -> None:
        self._job.end_attempt()
