"""Where tuning stands: counts, times, cost and statistics of metrics, kept up to date event by event."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudtune.constants import ST_WORKER_COST, ST_WORKER_TIME
from cloudtune.experiment.cost_ledger import CostLedger
from cloudtune.experiment.events import (
    CostMeasured,
    Event,
    StopRequested,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from cloudtune.trial import Config, Status

if TYPE_CHECKING:
    import pandas as pd

#: US dollars; less would be shown as $0.0000.
MIN_SHOWN_COST = 0.00005
#: From here on, cents are enough.
_CENTS_ENOUGH = 0.0995


def dollars(usd: float) -> str:
    """``$12.34``, ``$0.0012``."""
    return f"${usd:,.2f}" if usd >= _CENTS_ENOUGH else f"${usd:.4f}"


def as_number(value: Any) -> float | None:
    """``value`` if it is a real number other than NaN, else None. Truth values are no numbers."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        return None
    return value  # type: ignore[return-value]  # an int stays an int, exactly


@dataclass
class MetricsStatistics:
    """Statistics of the metrics of some reports. Values that are no numbers, and NaN, count only as ``last``."""

    count: int = 0
    min_metrics: dict[str, float] = field(default_factory=dict)
    max_metrics: dict[str, float] = field(default_factory=dict)
    sum_metrics: dict[str, float] = field(default_factory=dict)
    last_metrics: dict[str, Any] = field(default_factory=dict)

    def add(self, metrics: Mapping[str, Any]) -> None:
        self.count += 1
        self.last_metrics = dict(metrics)
        for name, value in metrics.items():
            number = as_number(value)
            if number is not None:
                self.min_metrics[name] = min(self.min_metrics.get(name, number), number)
                self.max_metrics[name] = max(self.max_metrics.get(name, number), number)
                self.sum_metrics[name] = self.sum_metrics.get(name, 0) + number


@dataclass
class TrialRow:
    """One trial as the status table shows it."""

    trial_id: int
    #: Of the current attempt.
    config: Config
    status: Status = Status.in_progress
    attempt: int = 0
    #: Seconds, over all attempts.
    worker_time: float = 0.0
    #: US dollars, over all attempts: what the trial itself has reported, and what was measured, if it was.
    reported_cost: float = 0.0
    measured_cost: float | None = None
    #: Elapsed seconds of the experiment when its first attempt began.
    started_s: float = 0.0
    metrics: MetricsStatistics = field(default_factory=MetricsStatistics)

    @property
    def worker_cost(self) -> float:
        """US dollars, over all attempts: measured, else as reported."""
        return self.reported_cost if self.measured_cost is None else self.measured_cost

    @property
    def num_reports(self) -> int:
        return self.metrics.count

    @property
    def last_metrics(self) -> dict[str, Any]:
        return self.metrics.last_metrics


@dataclass(frozen=True)
class BestReport:
    """The best value of a metric, and where it was seen."""

    trial_id: int
    value: float
    config: Config


class TuningStatus:
    """Fed with the events of an experiment, each once and in order; each costs constant time.

    Args:
        metric_names: What the scheduler optimises.
        events: To begin with.
    """

    def __init__(self, metric_names: list[str], events: Iterable[Event] = ()) -> None:
        self.metric_names = list(metric_names)
        self.overall_metric_statistics = MetricsStatistics()
        #: By trial id, for each trial that was started.
        self.trial_metric_statistics: dict[int, MetricsStatistics] = {}
        #: Seconds of training, summed over all attempts.
        self.user_time = 0.0
        #: What was measured.
        self.costs = CostLedger()
        # ``st_worker_cost`` (which begins at 0 with each attempt) of trials of which nothing was measured.
        self._reported_cost = 0.0
        self._unmeasured: set[int] = set()
        self.wallclock_time = 0.0
        self._trials: dict[int, TrialRow] = {}
        self._running: dict[int, TrialRow] = {}
        self._by_status: Counter[Status] = Counter()
        # Highest worker time and cost seen of the attempts that run.
        self._attempt_time: dict[int, float] = {}
        self._attempt_cost: dict[int, float] = {}
        self._extremes: dict[tuple[str, str], BestReport] = {}
        for event in events:
            self.observe(event)

    def observe(self, event: Event) -> None:
        """Takes notice of ``event``."""
        self.advance(event.elapsed_s)
        if isinstance(event, TrialReported):
            self._report(event)
        elif isinstance(event, TrialStarted):
            self._start(event)
        elif isinstance(event, CostMeasured):
            self._measure(event)
        elif isinstance(event, StopRequested):
            row = self._running.get(event.trial_id)
            if row is not None and row.attempt == event.attempt:
                self._set_status(row, Status.stopping)
        elif isinstance(event, TrialEnded):
            row = self._trials.get(event.trial_id)
            if row is not None and row.attempt == event.attempt:
                self._set_status(row, Status(event.outcome.capitalize()))

    def advance(self, elapsed_s: float) -> None:
        """Time passes although nothing happens; it never runs backwards."""
        self.wallclock_time = max(self.wallclock_time, elapsed_s)

    def _start(self, event: TrialStarted) -> None:
        row = self._trials.get(event.trial_id)
        if row is None:
            row = TrialRow(event.trial_id, event.config, started_s=event.elapsed_s)
            self._trials[event.trial_id] = row
            self.trial_metric_statistics[event.trial_id] = row.metrics
            self._by_status[row.status] += 1
        row.config, row.attempt = event.config, event.attempt
        self._attempt_time[event.trial_id] = self._attempt_cost[event.trial_id] = 0.0
        self._set_status(row, Status.in_progress)

    def _set_status(self, row: TrialRow, status: Status) -> None:
        self._by_status[row.status] -= 1
        self._by_status[status] += 1
        row.status = status
        if status.is_running:
            self._running[row.trial_id] = row
        else:
            self._running.pop(row.trial_id, None)

    def _report(self, event: TrialReported) -> None:
        row = self._trials.get(event.trial_id)
        if row is None:
            return  # no journal holds a report of a trial that was not started
        row.metrics.add(event.metrics)
        self.overall_metric_statistics.add(event.metrics)
        row.worker_time += (gain := _gain(self._attempt_time, event, ST_WORKER_TIME))
        self.user_time += gain
        row.reported_cost += (gain := _gain(self._attempt_cost, event, ST_WORKER_COST))
        if row.measured_cost is None and gain > 0:
            self._reported_cost += gain
            self._unmeasured.add(row.trial_id)
        for name in self.metric_names:
            value = as_number(event.metrics.get(name))
            if value is not None:
                self._note_extremes(name, BestReport(event.trial_id, value, row.config))

    def _measure(self, event: CostMeasured) -> None:
        self.costs.note(event)
        row = None if event.trial_id is None else self._trials.get(event.trial_id)
        if row is not None:
            if row.measured_cost is None:
                self._unmeasured.discard(row.trial_id)
                # With the last one go the errors of rounding.
                self._reported_cost = self._reported_cost - row.reported_cost if self._unmeasured else 0.0
            row.measured_cost = self.costs.of_trial(row.trial_id)

    @property
    def cost(self) -> float:
        """US dollars: what was measured, and what trials report of which nothing was measured."""
        return self.costs.usd + self._reported_cost

    @property
    def cost_is_estimated(self) -> bool:
        """Whether some of :attr:`cost` is not as billed."""
        return self.costs.is_estimated or bool(self._unmeasured)

    def cost_text(self) -> str:
        """``$1.25 (trials $1.05, other $0.20; estimated)``."""
        notes = []
        if self.costs.other_usd >= MIN_SHOWN_COST:
            notes.append(
                f"trials {dollars(self.cost - self.costs.other_usd)}, other {dollars(self.costs.other_usd)}"
            )
        elif self.costs.is_empty:
            notes.append("of the trials")
        notes.append("estimated" if self.cost_is_estimated else "as billed")
        return f"{dollars(self.cost)} ({'; '.join(notes)})"

    def cost_with_another_trial(self) -> float | None:
        """What everything that runs and one more attempt are expected to come to, US dollars: an attempt costs as
        much as the mean of those that have ended. None as long as none has whose cost was measured."""
        expected = self.costs.expected_of_job()
        if not expected:
            return None
        return self.cost + sum(map(self.costs.expected_to_come, self._running)) + expected

    def _note_extremes(self, name: str, report: BestReport) -> None:
        lowest, highest = self._extremes.get((name, "min")), self._extremes.get((name, "max"))
        if lowest is None or report.value < lowest.value:
            self._extremes[name, "min"] = report
        if highest is None or report.value > highest.value:
            self._extremes[name, "max"] = report

    @property
    def num_trials_started(self) -> int:
        return len(self._trials)

    @property
    def num_trials_running(self) -> int:
        """Trials that occupy a worker, those that are being stopped included."""
        return len(self._running)

    @property
    def num_trials_completed(self) -> int:
        return self._by_status[Status.completed]

    @property
    def num_trials_failed(self) -> int:
        return self._by_status[Status.failed]

    @property
    def num_trials_stopped(self) -> int:
        return self._by_status[Status.stopped]

    @property
    def num_trials_paused(self) -> int:
        return self._by_status[Status.paused]

    @property
    def num_trials_interrupted(self) -> int:
        """Trials that lost their machine and wait to be resumed."""
        return self._by_status[Status.interrupted]

    @property
    def num_trials_finished(self) -> int:
        """Trials that have ended for good: completed, stopped or failed."""
        return self.num_trials_completed + self.num_trials_stopped + self.num_trials_failed

    @property
    def num_reports(self) -> int:
        return self.overall_metric_statistics.count

    def best(self, metric: str, mode: str) -> BestReport | None:
        """The best report so far (the first of equal ones); None if ``metric`` is not among ``metric_names`` or
        was never a number."""
        return self._extremes.get((metric, mode))

    def trial_rows(self) -> list[TrialRow]:
        """All trials, in the order of their start."""
        return list(self._trials.values())

    def running_rows(self) -> list[TrialRow]:
        """The trials that occupy workers."""
        return sorted(self._running.values(), key=lambda row: row.trial_id)

    def get_dataframe(self) -> pd.DataFrame:
        """One row a trial: ``trial_id, status, iter``, hyperparameters, last metrics, worker time and cost."""
        import pandas as pd

        names = self.metric_names
        records = [
            {
                "trial_id": row.trial_id,
                "status": str(row.status),
                "iter": row.num_reports,
                **row.config,
                **{name: row.last_metrics.get(name) for name in names},
                "worker-time": row.worker_time,
                "worker-cost": row.worker_cost,
            }
            for row in self._trials.values()
        ]
        table: pd.DataFrame = pd.DataFrame.from_records(records)
        return table

    def __str__(self) -> str:
        parts = [
            f"{self.num_trials_running} trials running",
            f"{self.num_trials_finished} finished ({self.num_trials_completed} until the end)",
            f"{self.wallclock_time:.2f}s wallclock-time",
        ]
        if self.num_trials_failed:
            parts.insert(2, f"{self.num_trials_failed} failed")
        if self.cost >= MIN_SHOWN_COST:
            parts.append(f"{dollars(self.cost)} {'estimated cost' if self.cost_is_estimated else 'cost'}")
        return ", ".join(parts)


def _gain(highest: dict[int, float], event: TrialReported, name: str) -> float:
    """By how much the report exceeds the highest value of its attempt, which it then becomes."""
    value, before = as_number(event.metrics.get(name)), highest.get(event.trial_id, 0.0)
    if value is None or value <= before:
        return 0.0
    highest[event.trial_id] = value
    return value - before
