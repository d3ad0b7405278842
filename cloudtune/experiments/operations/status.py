"""Where one experiment stands: its tuner, its trials, its jobs, its cost, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cloudtune.aws.job_status import JobStatus
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.operations.costs import cost_so_far
from cloudtune.experiments.operations.jobs import ExperimentJobs
from cloudtune.experiments.operations.subject import Subject
from cloudtune.experiments.operations.tuner_life import Life, TunerLife, life_of
from cloudtune.trial import Status
from cloudtune.tuning_status import TrialRow


@dataclass(frozen=True)
class Problem:
    """What needs somebody, and the command that helps."""

    text: str
    command: str


@dataclass(frozen=True)
class JobLine:
    """One job as a table shows it. ``trial_id`` and ``attempt`` are None for a job of the tuner; ``instance`` is
    empty where only the description of the job would tell."""

    job: str
    trial_id: int | None
    attempt: int | None
    state: str
    phase: str
    instance: str
    age_s: float | None
    failure_reason: str


@dataclass(frozen=True)
class Best:
    """The best value so far."""

    metric: str
    value: float
    trial_id: int


@dataclass(frozen=True)
class ExperimentStatus:
    """One experiment, now.

    Args:
        name, tag: Which.
        where: Its folder on this machine, and its place in S3, as far as there are.
        life: Its tuner.
        tuner: The same, for people.
        silent_s: Seconds since the tuner has recorded something.
        trials: By status.
        n_workers: Trials that may run at the same time; 0 if not known.
        num_reports: So far.
        wallclock_s: For how long it has been tuned.
        best: None before the first report.
        jobs: Those that run, then those that have ended, the newest first.
        usd: Cost so far, as far as it is known without asking for each job.
        outcome: Why it is over; empty if it is not.
        error: Why that was too early; empty if all is well.
        problems: What somebody should do.
    """

    name: str
    tag: str | None
    where: Sequence[str]
    life: Life
    tuner: str
    silent_s: float | None
    trials: Mapping[str, int]
    n_workers: int
    num_reports: int
    wallclock_s: float
    best: Best | None
    jobs: Sequence[JobLine]
    usd: float | None
    outcome: str
    error: str
    problems: Sequence[Problem]

    def to_json_dict(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "life": str(self.life)}

    @property
    def num_running_jobs(self) -> int:
        return sum(line.state in ("InProgress", "Stopping") for line in self.jobs)


def experiment_status(subject: Subject) -> ExperimentStatus:
    """Looks at everything that is known now."""
    life, jobs, result = life_of(subject), subject.jobs, subject.result
    now = subject.access.clock.now()
    rows = result.status.trial_rows() if result is not None and result.status is not None else []
    ended = subject.ended
    return ExperimentStatus(
        name=subject.name,
        tag=subject.tag,
        where=_places(subject),
        life=life.life,
        tuner=_describe(life),
        silent_s=_silence(subject, life, now),
        trials=_counts(rows),
        n_workers=int(result.metadata.get("n_workers", 0)) if result is not None else 0,
        num_reports=result.num_reports if result is not None else 0,
        wallclock_s=result.wallclock_time if result is not None else 0.0,
        best=_best(result),
        jobs=job_lines(jobs, now, {row.trial_id: row for row in rows}),
        usd=cost_so_far(subject),
        outcome=ended.reason if ended is not None else "",
        error=ended.error if ended is not None else "",
        problems=problems_of(subject.name, life, jobs, rows),
    )


def job_lines(jobs: ExperimentJobs, now: float, rows: Mapping[int, TrialRow]) -> list[JobLine]:
    """The jobs that run, the tuner's first, then those that have ended, the newest first."""
    lines = [_line(job, None, None, job.instance_type, now) for job in jobs.tuner]
    for job in jobs.trials:
        config = rows[job.trial_id].config if job.trial_id in rows else {}
        lines.append(_line(job.status, job.trial_id, job.attempt, str(config.get("st_instance_type", "")), now))
    running = [line for line in lines if line.state in ("InProgress", "Stopping")]
    ended = [line for line in lines if line.state not in ("InProgress", "Stopping")]
    return running + sorted(ended, key=lambda line: line.age_s or 0.0)


def problems_of(name: str, life: TunerLife, jobs: ExperimentJobs, rows: Sequence[TrialRow]) -> list[Problem]:
    """What is wrong with an experiment; empty if all is well."""
    found = []
    orphans = len(jobs.running_trials) if not life.life.is_alive else 0
    if orphans:
        noun = "job runs" if orphans == 1 else "jobs run"
        why = "its experiment is over" if life.life is Life.ended else "no tuner watches"
        found.append(
            Problem(f"{orphans} {noun} and {'is' if orphans == 1 else 'are'} paid for, and {why}.", _stop(name))
        )
    if life.life is Life.dead:
        found.append(Problem(_death(life, rows), _resume(name, life)))
    return found


def _stop(name: str) -> str:
    return f"cloudtune stop {name}"


def _resume(name: str, life: TunerLife) -> str:
    return f"cloudtune resume {name}{' --takeover' if life.must_take_over else ''}"


def _death(life: TunerLife, rows: Sequence[TrialRow]) -> str:
    unfinished = sum(not row.status.is_final for row in rows)
    trials = f" {unfinished} trials are not finished." if unfinished else ""
    if life.job is not None:
        reason = f": {life.job.failure_reason}" if life.job.failure_reason else ""
        return (
            f"The tuner's job {life.job.name} is {life.job.state}, and the experiment is not over{reason}.{trials}"
        )
    last = f" (the last was {life.holder})" if life.holder else ""
    return f"Nobody tunes it{last}, and it is not over.{trials}"


def _describe(life: TunerLife) -> str:
    if life.life is Life.job and life.job is not None and life.job.instance_type:
        spot = ", spot" if life.job.spot else ""
        return f"{life} on {life.job.instance_type}{spot}"
    return str(life)


def _silence(subject: Subject, life: TunerLife, now: float) -> float | None:
    if life.silent_s is not None:
        return life.silent_s
    if not subject.is_from_here or not subject.events:
        return None
    return max(0.0, now - subject.events[-1].time)


def _places(subject: Subject) -> list[str]:
    places = [str(subject.paths.dir)] if subject.is_from_here else []
    if subject.result is not None and subject.located is not None:
        places.append(str(subject.located.paths.root))
    return places


def _counts(rows: Sequence[TrialRow]) -> dict[str, int]:
    counts = Counter(str(row.status) for row in rows)
    return {str(status): counts[str(status)] for status in Status if counts[str(status)]}


def _best(result: ExperimentResult | None) -> Best | None:
    if result is None or result.status is None or not result.metric_names():
        return None
    metric = result.metric_name(0)
    best = result.status.best(metric, result.mode_of(0))
    return None if best is None else Best(metric, best.value, best.trial_id)


def _line(job: JobStatus, trial_id: int | None, attempt: int | None, instance: str, now: float) -> JobLine:
    age_s = None if job.created is None else max(0.0, now - job.created)
    return JobLine(job.name, trial_id, attempt, str(job.state), job.phase, instance, age_s, job.failure_reason)
