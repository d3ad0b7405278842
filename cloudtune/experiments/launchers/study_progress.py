"""How far a study is: numbers made from the states of its jobs and from their results so far."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.launchers.launch_plan import PlannedExperiment

#: Starting and ending a job takes this long besides tuning, until jobs have ended and tell better.
_OVERHEAD_S = 5.0
_AT_WORK = ("Training", "Uploading")


class Stage(StrEnum):
    """What a person wants to know of a job."""

    waiting = "waiting"
    training = "training"
    completed = "completed"
    failed = "failed"  #: or stopped by somebody


def stage_of(status: JobStatus | None, has_results: bool) -> Stage:
    """A job that is not listed yet is waiting."""
    if status is None:
        return Stage.waiting
    if status.state is JobState.completed:
        return Stage.completed
    if status.state.is_final:
        return Stage.failed
    # Not every listing says the phase.
    at_work = status.phase in _AT_WORK if status.phase else has_results
    return Stage.training if at_work else Stage.waiting


@dataclass(frozen=True)
class ExperimentProgress:
    """One experiment now. ``best`` is None before its first report."""

    experiment: PlannedExperiment
    stage: Stage
    status: JobStatus | None
    elapsed_s: float = 0.0
    num_trials: int = 0
    num_reports: int = 0
    best: float | None = None
    #: How often its job was interrupted and restarted.
    num_interruptions: int = 0

    @property
    def label(self) -> str:
        return f"{self.experiment.method} seed {self.experiment.seed}"


@dataclass(frozen=True)
class MethodProgress:
    """One method over its seeds."""

    method: str
    num_jobs: int
    stages: Mapping[Stage, int]
    num_trials: int
    num_reports: int
    best: float | None


@dataclass(frozen=True)
class StudyProgress:
    """A study now.

    Args:
        experiments: In the order of the plan.
        metric, mode: The objective; empty before the first results.
        limit_s: Seconds that each experiment tunes.
        most_training: Jobs that have been seen training at once.
    """

    experiments: Sequence[ExperimentProgress]
    limit_s: float
    metric: str = ""
    mode: str = "min"
    most_training: int = 0
    stages: Counter[Stage] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", Counter(e.stage for e in self.experiments))

    @property
    def num_done(self) -> int:
        return self.stages[Stage.completed] + self.stages[Stage.failed]

    @property
    def num_reports(self) -> int:
        return sum(e.num_reports for e in self.experiments)

    @property
    def num_interruptions(self) -> int:
        return sum(e.num_interruptions for e in self.experiments)

    def at(self, stage: Stage) -> list[ExperimentProgress]:
        return [e for e in self.experiments if e.stage is stage]

    def best(self) -> ExperimentProgress | None:
        """The experiment with the best value so far."""
        found = [e for e in self.experiments if e.best is not None]
        if not found:
            return None
        sign = -1.0 if self.mode == "max" else 1.0
        return min(found, key=lambda e: sign * (e.best or 0.0))

    def methods(self) -> list[MethodProgress]:
        """In the order of the plan."""
        groups: dict[str, list[ExperimentProgress]] = {}
        for progress in self.experiments:
            groups.setdefault(progress.experiment.method, []).append(progress)
        return [self._method(method, group) for method, group in groups.items()]

    def waiting_phases(self) -> list[tuple[str, int]]:
        """What the jobs that wait are in, as the service calls it, the most frequent first."""
        phases = Counter(
            e.status.phase or "Starting" if e.status else "not listed yet" for e in self.at(Stage.waiting)
        )
        return phases.most_common()

    def remaining_s(self) -> float | None:
        """About how long until all jobs have ended; None before anything trains."""
        if self.most_training == 0:
            return None
        each = self._job_s()
        left = [max(0.0, each - e.elapsed_s) for e in (*self.at(Stage.waiting), *self.at(Stage.training))]
        return max(sum(left) / self.most_training, max(left, default=0.0))

    def _job_s(self) -> float:
        times = [
            e.status.ended - e.status.started
            for e in self.at(Stage.completed)
            if e.status and e.status.ended is not None and e.status.started is not None
        ]
        return statistics.median(times) if times else self.limit_s + _OVERHEAD_S

    def _method(self, method: str, group: Sequence[ExperimentProgress]) -> MethodProgress:
        values = [e.best for e in group if e.best is not None]
        choose = max if self.mode == "max" else min
        return MethodProgress(
            method,
            len(group),
            Counter(e.stage for e in group),
            sum(e.num_trials for e in group),
            sum(e.num_reports for e in group),
            choose(values) if values else None,
        )


def study_progress(
    experiments: Sequence[PlannedExperiment],
    statuses: Mapping[str, JobStatus],
    results: Mapping[str, ExperimentResult],
    limit_s: float,
    most_training: int = 0,
) -> StudyProgress:
    """Puts together what is known; ``statuses`` and ``results`` are by experiment."""
    found = [_experiment_progress(e, statuses.get(e.name), results.get(e.name)) for e in experiments]
    training = sum(e.stage is Stage.training for e in found)
    known = next((result for result in results.values() if result.metric_names()), None)
    metric, mode = (known.metric_name(0), known.mode_of(0)) if known else ("", "min")
    return StudyProgress(found, limit_s, metric, mode, max(training, most_training))


def _experiment_progress(
    experiment: PlannedExperiment, status: JobStatus | None, result: ExperimentResult | None
) -> ExperimentProgress:
    if result is None:
        return ExperimentProgress(experiment, stage_of(status, False), status)
    return ExperimentProgress(
        experiment,
        stage_of(status, result.num_reports > 0),
        status,
        result.wallclock_time,
        result.num_trials,
        result.num_reports,
        best_value(result),
        result.num_interruptions,
    )


def best_value(result: ExperimentResult) -> float | None:
    """The best value of the objective; None without any."""
    import pandas as pd

    if not result.metric_names() or result.metric_name(0) not in result.results:
        return None
    column = pd.to_numeric(result.results[result.metric_name(0)], errors="coerce")
    value = float(column.max() if result.mode_of(0) == "max" else column.min())
    return None if value != value else value
