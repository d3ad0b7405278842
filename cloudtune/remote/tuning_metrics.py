"""How the best result moves, as lines that the SageMaker console can plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtune.config_space import Domain
from cloudtune.optimizer.scheduler import Scheduler, SchedulerDecision
from cloudtune.remote.console_metrics import console_metrics
from cloudtune.report import Reporter
from cloudtune.trial import Status, Trial
from cloudtune.tuner import Tuner
from cloudtune.tuner_callback import TunerCallback
from cloudtune.tuning_status import as_number

VALUE = "best_metric_value"
TRIAL = "best_trial_id"
RESOURCE = "best_resource_value"
HYPERPARAMETER = "best_hp_"


class TuningMetrics(TunerCallback):
    """Prints a report of the tuner itself whenever a trial beats all before it."""

    def __init__(self) -> None:
        self._best: float | None = None
        self._metric, self._sign = "", 1.0
        self._resource_attr: str | None = None

    def on_tuning_start(self, tuner: Tuner) -> None:
        scheduler = tuner.scheduler
        self._metric = scheduler.metric_names()[0]
        self._sign = -1.0 if scheduler.metric_mode()[0] == "max" else 1.0
        self._resource_attr = scheduler.resource_attr
        best = tuner.tuning_status.best(self._metric, scheduler.metric_mode()[0])
        self._best = None if best is None else self._sign * best.value

    def on_trial_result(
        self, trial: Trial, status: Status, result: dict[str, Any], decision: SchedulerDecision
    ) -> None:
        value = as_number(result.get(self._metric))
        if value is None or (self._best is not None and self._sign * value >= self._best):
            return
        self._best = self._sign * value
        line: dict[str, Any] = {VALUE: value, TRIAL: trial.trial_id}
        if self._resource_attr and as_number(result.get(self._resource_attr)) is not None:
            line[RESOURCE] = result[self._resource_attr]
        line.update({f"{HYPERPARAMETER}{name}": number for name, number in _numbers(trial.config).items()})
        Reporter(add_time=False, add_cost=False)(**line)


def metric_definitions(scheduler: Scheduler) -> dict[str, str]:
    """Name to the regular expression that reads the number from a line of :class:`TuningMetrics`. Of
    hyperparameters, those that are tuned and numbers."""
    names = [VALUE, TRIAL]
    if scheduler.resource_attr:
        names.append(RESOURCE)
    tuned = (name for name, domain in scheduler.config_space.items() if isinstance(domain, Domain))
    names += [f"{HYPERPARAMETER}{name}" for name in tuned if _is_numeric(scheduler.config_space[name])]
    return console_metrics(names)


def _is_numeric(domain: Domain) -> bool:
    return domain.value_type in (int, float)


def _numbers(config: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: as_number(value) for name, value in config.items()}
    return {name: number for name, number in numbers.items() if number is not None}
