"""When tuning ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from cloudtune.errors import SpecError

if TYPE_CHECKING:
    from cloudtune.tuning_status import TuningStatus

#: By how much sums may differ from what they should be, relatively.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class StoppingCriterion:
    """Tuning ends as soon as one of the conditions holds: at its limit, not beyond. What has arrived at the same
    moment, and what comes until running trials have stopped, is recorded as well, and costs what it costs.

    Args:
        max_wallclock_time: Seconds the experiment has been running (over all sessions).
        max_num_evaluations: Reports received.
        max_num_trials_started: New trials started. No further one is started, those that run are left to finish.
        max_num_trials_completed: Trials that ended by themselves, without error.
        max_cost: US dollars: measured where the backend can, else as reported by ``st_worker_cost``. Where it is
            measured, nothing is started that is expected to lead beyond it.
        max_num_trials_finished: Trials completed, stopped or failed.
        min_metric_value: Metric name to threshold; ends when a value at or below it was reported.
        max_metric_value: Likewise, at or above it.
    """

    max_wallclock_time: float | None = None
    max_num_evaluations: int | None = None
    max_num_trials_started: int | None = None
    max_num_trials_completed: int | None = None
    max_cost: float | None = None
    max_num_trials_finished: int | None = None
    min_metric_value: Mapping[str, float] | None = field(default=None)
    max_metric_value: Mapping[str, float] | None = field(default=None)

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        if not given:
            names = ", ".join(f.name for f in fields(self))
            raise SpecError(
                "StoppingCriterion() has no condition: tuning would never end.", f"Give one of {names}."
            )
        for name, value in given.items():
            limits = value.values() if isinstance(value, Mapping) else [value]
            for limit in limits:
                if isinstance(limit, bool) or not isinstance(limit, (int, float)) or math.isnan(limit):
                    raise SpecError(f"StoppingCriterion({name}={value!r}): not a number.")
                if not isinstance(value, Mapping) and limit <= 0:
                    raise SpecError(f"StoppingCriterion({name}={value!r}): must be positive.")

    def __call__(self, status: TuningStatus) -> bool:
        return self.reason(status) is not None

    def reason(self, status: TuningStatus) -> str | None:
        """Which condition holds, for people; None if none does. ``max_num_trials_started`` is not looked at
        here: see :meth:`may_start`."""
        counts = {
            "max_wallclock_time": status.wallclock_time,
            "max_num_evaluations": status.num_reports,
            "max_num_trials_completed": status.num_trials_completed,
            "max_cost": status.cost,
            "max_num_trials_finished": status.num_trials_finished,
        }
        for name, count in counts.items():
            limit = getattr(self, name)
            if limit is not None and count >= limit:
                return f"{name}={limit:g} is reached"
        return self._metric_reason(status)

    def _metric_reason(self, status: TuningStatus) -> str | None:
        statistics = status.overall_metric_statistics
        for name, threshold in (self.min_metric_value or {}).items():
            if statistics.min_metrics.get(name, math.inf) <= threshold:
                return f"{name} has reached min_metric_value={threshold:g}"
        for name, threshold in (self.max_metric_value or {}).items():
            if statistics.max_metrics.get(name, -math.inf) >= threshold:
                return f"{name} has reached max_metric_value={threshold:g}"
        return None

    def may_start(self, num_trials_started: int) -> bool:
        """Whether one more new trial may be started."""
        return self.max_num_trials_started is None or num_trials_started < self.max_num_trials_started

    def lacks_room(self, status: TuningStatus) -> str | None:
        """Why not one more attempt may be started, for people, although tuning goes on; None if it may. Only the
        cost can forbid it, if it is measured."""
        expected = status.cost_with_another_trial()
        if self.max_cost is None or expected is None or expected <= self.max_cost * (1 + _ROUNDING):
            return None
        return f"max_cost={self.max_cost:g} leaves no room for another trial"

    def seconds_left(self, elapsed_s: float) -> float:
        """Until ``max_wallclock_time``; infinity without it."""
        return math.inf if self.max_wallclock_time is None else self.max_wallclock_time - elapsed_s

    def to_json_dict(self) -> dict[str, Any]:
        """The conditions given."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
