"""Jobs that have their instances: download, train, upload; and how they are stopped, interrupted, timed out. What
:mod:`cloudtune.emulator.machine` does for real programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cloudtune.emulator.faults import Faults
from cloudtune.emulator.faults.draws import uniform
from cloudtune.emulator.fleet.fleet import Fleet
from cloudtune.emulator.fleet.job_states import INTERNAL_ERROR, JobStatus, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.machine.deadlines import Cause, Deadlines, Due
from cloudtune.errors import SpecError
from cloudtune.simulated_cloud.agenda import Agenda
from cloudtune.simulated_cloud.bucket import Bucket
from cloudtune.simulated_cloud.clocks import EventClock
from cloudtune.simulated_cloud.report_objects import JobStream, Tear
from cloudtune.simulated_cloud.settings import CloudSettings
from cloudtune.simulated_cloud.trial_process import Beginning, TrialProcess
from cloudtune.simulated_cloud.trial_script import TrialOrder, TrialScript
from cloudtune.simulated_cloud.witness import Witness
from cloudtune.trial import Outcome

_LAST_PHASE = {
    Cause.stopped: Phase.stopped,
    Cause.max_runtime: Phase.max_runtime_exceeded,
    Cause.max_wait: Phase.max_wait_exceeded,
}


@dataclass
class _Stay:
    """A job on its instances, from Downloading to the end of that."""

    job: TrainingJob
    deadlines: Deadlines
    process: TrialProcess | None = None
    #: Why it has to end, if not by itself.
    cause: Cause | None = None
    kill_at: float = math.inf
    is_uploading: bool = False
    #: Number of the event that it waits for; others are void.
    serial: int = 0


@dataclass(frozen=True)
class Hall:
    """What machines share."""

    fleet: Fleet
    faults: Faults
    agenda: Agenda
    clock: EventClock
    bucket: Bucket
    witness: Witness


class Machines:
    """Plays what jobs do.

    Args:
        hall: What machines share.
        script: What runs in each.
        settings: How long things take, and what goes wrong with files.
    """

    def __init__(self, hall: Hall, script: TrialScript, settings: CloudSettings) -> None:
        self._hall = hall
        self._script = script
        self._settings = settings
        self._stays: dict[TrainingJob, _Stay] = {}
        #: All runs of each job's container.
        self._runs: dict[str, list[TrialProcess]] = {}

    def begin(self, job: TrainingJob) -> None:
        """The instances are up."""
        types = tuple(name for name, count in job.cluster for _ in range(count))
        deadlines = Deadlines(job, job.attempt, types, self._hall.faults)
        deadlines.began = self._now
        job.enter(Phase.downloading)
        stay = self._stays[job] = _Stay(job, deadlines)
        self._next(stay, self._now + self._settings.download_s, self._train)

    def stop(self, job: TrainingJob) -> None:
        """StopTrainingJob."""
        job.enter(Phase.stopping)
        stay = self._stays.get(job)
        if stay is None:
            self._hall.fleet.stop(job)
        elif not stay.is_uploading:
            self._ask_to_end(stay, Cause.stopped)

    def runs(self, job_name: str) -> list[TrialProcess]:
        """Every start of the job's container, in order."""
        return self._runs.get(job_name, [])

    def sync_checkpoints(self, folder: str) -> None:
        """Brings what S3 has of a trial's checkpoints up to the present."""
        for stay in self._stays.values():
            if stay.process is not None and stay.process.order.checkpoints == folder:
                self._store(stay.process, self._now - self._settings.checkpoint_delay_s)

    def next_report(self) -> float:
        """When S3 next has more of any job; infinity if no job is going on."""
        found = [stay.process.next_upload(self._now) for stay in self._stays.values() if stay.process is not None]
        return min((when for when in found if when is not None), default=math.inf)

    # -- phases

    def _train(self, stay: _Stay) -> None:
        try:
            process = self._start_process(stay.job)
        except SpecError as error:
            self._end_attempt(stay)
            stay.job.fail(f"AlgorithmError: {error.message}, exit code: 1")
            return
        stay.process = process
        stay.deadlines.training_began = self._now
        stay.job.enter(Phase.training)
        self._next(stay, process.ends_at, self._exit)

    def _start_process(self, job: TrainingJob) -> TrialProcess:
        order, now = TrialOrder.of(job.request), self._now
        earlier = self._runs.setdefault(job.name, [])
        reports = self._hall.bucket.reports(order.reports_root)
        stream = reports.get(order.label) or JobStream(order.label, order.resource_attr)
        reports.begin(stream, now)
        repetitions = stream.earlier(now)
        seen = None if order.resource_attr is None else max(order.seen_level, repetitions.level)
        stored = self._hall.bucket.levels(order.checkpoints) if order.checkpoints else set()
        beginning = Beginning(len(earlier), now, frozenset(stored), seen)
        process = TrialProcess(order, self._script, beginning, self._settings.report_delay_s)
        stored &= process.local  # the script removes the others from its disk, and the platform from S3
        earlier.append(process)
        stream.begin(process, repetitions, self._tear(process), now)
        self._hall.witness.launched(process)
        return process

    def _exit(self, stay: _Stay) -> None:
        """The container has ended by itself, or as it was asked to; or the script wants the platform to fail."""
        fails = stay.process is not None and stay.process.outcome is Outcome.interrupted
        process = self._finish(stay, flushed=not fails)
        if stay.cause is Cause.interrupted:
            self._lose(stay)
        elif stay.cause is not None or process.outcome is Outcome.completed:
            self._upload(stay)
        elif process.outcome is Outcome.interrupted:
            self._platform_failed(stay)
        else:
            self._end_attempt(stay)
            stay.job.fail(f"AlgorithmError: exit code 1\n{process.error}, exit code: 1")

    def _upload(self, stay: _Stay) -> None:
        stay.is_uploading = True
        stay.job.enter(Phase.uploading)
        self._next(stay, self._now + self._settings.upload_s, self._leave, watched=False)

    def _leave(self, stay: _Stay) -> None:
        self._end_attempt(stay)
        if stay.job.status is JobStatus.stopping:
            self._hall.fleet.take_down(stay.job, _LAST_PHASE.get(stay.cause or Cause.stopped, Phase.stopped))
        else:
            stay.job.enter(Phase.completed)

    # -- ends

    def _strike(self, stay: _Stay, due: Due) -> None:
        stay.deadlines.struck(due)
        if due.cause in _LAST_PHASE:
            stay.job.enter(Phase.stopping)
        if due.notice:
            self._ask_to_end(stay, due.cause)
        else:
            stay.cause = due.cause
            self._kill(stay)

    def _ask_to_end(self, stay: _Stay, cause: Cause) -> None:
        """SIGTERM, and SIGKILL later. A stronger cause takes the place of a weaker one."""
        if stay.cause is not None:
            if cause.strength > stay.cause.strength:
                stay.cause = cause
            return
        stay.cause = cause
        if stay.process is None:  # nothing runs yet
            self._kill(stay)
            return
        stay.process.terminate(self._now)
        stay.kill_at = self._now + self._settings.grace_s
        if stay.process.ends_at <= stay.kill_at:
            self._next(stay, stay.process.ends_at, self._exit)
        else:
            self._next(stay, stay.kill_at, self._kill)

    def _kill(self, stay: _Stay) -> None:
        if stay.process is not None:
            self._finish(stay, flushed=False)
        if stay.cause is Cause.interrupted:
            self._lose(stay)
        elif stay.cause is Cause.internal_error:
            self._platform_failed(stay)
        else:
            self._upload(stay)

    def _lose(self, stay: _Stay) -> None:
        """The spot instance is gone; the job is to run again."""
        self._end_attempt(stay)
        stay.job.enter(Phase.interrupted)
        self._run_again(stay.job)

    def _platform_failed(self, stay: _Stay) -> None:
        runs_again = stay.job.restart()
        self._end_attempt(stay)
        if runs_again:
            self._run_again(stay.job)
        else:
            stay.job.fail(INTERNAL_ERROR)

    def _run_again(self, job: TrainingJob) -> None:
        job.enter(Phase.starting)
        self._hall.fleet.relaunch(job)

    def _end_attempt(self, stay: _Stay) -> None:
        stay.job.end_attempt()
        stay.serial += 1
        del self._stays[stay.job]
        if stay.process is not None:
            order = stay.process.order
            self._hall.bucket.reports(order.reports_root).end(order.label, self._now)

    # -- files

    def _finish(self, stay: _Stay, flushed: bool) -> TrialProcess:
        process = stay.process
        if process is None:
            raise ValueError(f"{stay.job.name} has no process")
        process.finish(self._now, flushed)
        self._store(process, self._now if flushed else self._now - self._settings.checkpoint_delay_s)
        faults = self._settings.file_faults
        if self._draw("late checkpoint", process) < faults.late_checkpoint and process.local:
            newest, stored = max(process.local), self._hall.bucket.levels(process.order.checkpoints)

            def upload_late() -> None:
                self._hall.faults.record("late_checkpoint", job=process.order.job, level=newest)
                stored.add(newest)

            self._hall.agenda.at(self._now + faults.late_checkpoint_s, upload_late)
        return process

    def _store(self, process: TrialProcess, until: float) -> None:
        order = process.order
        if not order.checkpoints:
            return
        stored = self._hall.bucket.levels(order.checkpoints)

        def upload(level: int, removed: set[int]) -> None:
            if not self._hall.faults.checkpoint_upload_lost(order.job, f"{order.checkpoints}/{level}"):
                stored.add(level)
            stored.difference_update(removed)

        process.store(until, upload)

    def _tear(self, process: TrialProcess) -> Tear | None:
        faults = self._settings.file_faults
        if self._draw("torn", process) >= faults.torn_reports:
            return None

        def strikes() -> None:
            self._hall.faults.record("torn_reports", job=process.order.job, run=process.run)

        return Tear(int(self._draw("torn line", process) * (len(process.times) + 2)), faults.repair_s, strikes)

    def _draw(self, what: str, process: TrialProcess) -> float:
        return uniform(self._settings.seed, what, process.order.job, process.run)

    # -- time

    @property
    def _now(self) -> float:
        return self._hall.clock.now()

    def _next(self, stay: _Stay, when: float, then: Callable[[_Stay], None], watched: bool = True) -> None:
        """What comes next, unless a deadline comes before (where these are ``watched``)."""
        stay.serial += 1
        serial = stay.serial
        due = stay.deadlines.first() if watched and stay.cause is None else None

        def act() -> None:
            if stay.serial != serial:
                return
            if due is not None and due.when < when:
                self._strike(stay, due)
            else:
                then(stay)

        self._hall.agenda.at(when if due is None else min(when, max(due.when, self._now)), act)
