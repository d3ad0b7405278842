"""How jobs go: told by listings of what has changed, whose number does not grow with the number of trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloudtune import names
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.errors import ResourceNotFound
from cloudtune.experiment.ports import AttemptKey
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.patience import each_in_turn
from cloudtune.sagemaker_backend.reading import Reader
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun

#: Listings are asked for what has changed since so long before the newest change known, seconds: they lag.
_OVERLAP_S = 180.0
#: A job whose status was not heard of for so long is looked at by itself, one at a time, seconds; one whose script
#: has ended, sooner.
_STALE_S, _OVERDUE_S = 120.0, 30.0
#: For so long, a job may run that no run is known of, seconds: its creation may not have been answered yet.
_STRAY_S = 60.0
#: A job that is not to be found so long after it was created is gone, seconds.
_GONE_S = 300.0


@dataclass
class _Unclaimed:
    """A job of this experiment that runs and belongs to no run, and since when that is known."""

    status: JobStatus
    since: float


class Watcher:
    """Keeps the status of the runs' jobs up to date, and has their reports read.

    Args:
        on_status: Called with what a listing says of any job, and when.
    """

    def __init__(self, desk: Desk, on_status: Callable[[JobStatus, float], None]) -> None:
        self._desk = desk
        self._on_status = on_status
        self._reader = Reader(desk)
        self._listing = Activity("list training jobs", desk.pace.jobs_s)
        self._describing = Activity("describe training jobs")
        self._looking = Activity("look at training jobs", desk.pace.jobs_s)
        #: The newest change that was heard of, by the service's clock.
        self._newest: float | None = None
        self._runs: Sequence[TrialRun] = ()
        self._unclaimed: dict[str, _Unclaimed] = {}

    def step(self, now: float) -> None:
        self._runs = runs = list(self._desk.in_phase(Phase.created))
        live = [run for run in runs if run.terminal_at is None]
        if (live or self._unclaimed or self._newest is None) and self._listing.is_due(now):
            self._listing.attempt(now, lambda: self._list(now))
        if self._describing.is_due(now) and (wanted := self._without_details(now)):
            self._describing.attempt(now, lambda: self._describe(wanted, now))
        if self._looking.is_due(now) and (stale := _stalest(live, now)):
            self._looking.attempt(now, lambda: self._describe([stale], now))
        self._reader.step(runs, now)

    def next_at(self) -> float:
        """When something is due, if there is any job."""
        times = [self._reader.next_at(self._runs, self._desk.clock.now())]
        if any(run.terminal_at is None for run in self._runs):
            times.append(self._listing.next_at())
        ended = [run for run in self._runs if run.terminal_at is not None and not run.has_details]
        if ended:
            first = min(run.describing.not_before for run in ended)
            times.append(max(first, self._describing.next_at(), self._desk.describe_budget.ready_at()))
        return min(times)

    def learn(self, run: TrialRun, status: JobStatus, now: float, details: bool) -> None:
        """Takes notice of what the service says of a run's job. What it says later of earlier times is ignored."""
        if status.instance_type:
            run.instance_type, run.instance_count = status.instance_type, status.instance_count or 1
        if run.status is not None and run.status.state.is_final and not status.state.is_final:
            return
        if details or not run.has_details:
            run.status = status
        run.looked_at = now
        run.has_details = run.has_details or (details and status.state.is_final)
        if status.state.is_final and run.terminal_at is None:
            run.terminal_at = now

    def is_done(self, run: TrialRun, now: float) -> bool:
        """Whether all is known of a run: its job has ended, and all its reports have been read."""
        return run.terminal_at is not None and run.has_details and self._reader.is_done(run, now)

    def forget(self, job: str) -> None:
        self._reader.forget(job)

    # -- jobs without a run

    def unclaimed(self) -> dict[AttemptKey, JobStatus]:
        """Jobs that run, as listed, and that no run has: the last one of each attempt."""
        found: dict[AttemptKey, tuple[int, JobStatus]] = {}
        for name, job in self._unclaimed.items():
            key, number = self._attempt_of(name)
            if key not in found or number > found[key][0]:
                found[key] = number, job.status
        return {key: status for key, (_, status) in found.items()}

    def claim(self, name: str) -> None:
        """The job has a run."""
        self._unclaimed.pop(name, None)

    def strays(self, now: float) -> list[str]:
        """Jobs of the experiment that nobody wants: no tuner has asked for them for a while. Told once."""
        found = [
            name
            for name, job in self._unclaimed.items()
            if now - job.since >= _STRAY_S and not self.is_wanted(name)
        ]
        for name in found:
            del self._unclaimed[name]
        return found

    def is_wanted(self, name: str) -> bool:
        """Whether a run has the job, or may find that it has."""
        run = self._desk.runs.get(self._attempt_of(name)[0])
        return run is not None and (run.phase is Phase.queued or run.job == name)

    def _attempt_of(self, name: str) -> tuple[AttemptKey, int]:
        trial_id, attempt, number = names.parse_trial_job_name(self._desk.place.tuner_name, name) or (-1, 0, 0)
        return AttemptKey(trial_id, attempt), number

    # -- status

    def _list(self, now: float) -> None:
        since = None if not self._newest else self._newest - _OVERLAP_S
        by_job = {run.job: run for run in self._runs}
        for status in self._desk.jobs.changed(self._desk.suffix, since):
            self._newest = max(self._newest or 0.0, status.last_modified or 0.0)
            self._on_status(status, now)
            run = by_job.get(status.name)
            if run is not None:
                self.learn(run, status, now, details=False)
            known = self._unclaimed.pop(status.name, None)
            is_ours = names.parse_trial_job_name(self._desk.place.tuner_name, status.name) is not None
            if run is None and is_ours and status.state is JobState.running:
                self._unclaimed[status.name] = _Unclaimed(status, now if known is None else known.since)
        self._newest = self._newest or 0.0

    def _without_details(self, now: float) -> list[TrialRun]:
        """Those whose jobs have ended, and one of those of which a listing has told too little."""
        runs = [run for run in self._runs if run.terminal_at is not None and not run.has_details]
        unknown = (run for run in self._runs if run.is_live and not run.instance_type)
        return [*runs, *sorted(unknown, key=lambda run: run.describing.not_before)[:1]]

    def _describe(self, runs: Sequence[TrialRun], now: float) -> None:
        each_in_turn(runs, lambda run: run.describing, now, lambda run: self._describe_one(run, now))

    def _describe_one(self, run: TrialRun, now: float) -> bool:
        if not self._desk.describe_budget.try_take():
            return False
        try:
            status = self._desk.jobs.describe(run.job)
        except ResourceNotFound:
            run.looked_at = now
            if now - run.created_at > _GONE_S:  # deleted
                run.terminal_at, run.has_details = run.terminal_at or now, True
                return True
            run.describing.failed(now)
            return False
        self.learn(run, status, now, details=True)
        if run.terminal_at is not None and not run.has_details:  # what it says is older than what we know
            run.describing.failed(now)
            return False
        return True


def _stalest(live: Sequence[TrialRun], now: float) -> TrialRun | None:
    """The one to look at, if any."""
    overdue = [run for run in live if run.reports.end is not None and now - run.looked_at > _OVERDUE_S]
    stale = [run for run in live if now - run.looked_at > _STALE_S]
    return min(overdue or stale, key=lambda run: run.looked_at, default=None)
