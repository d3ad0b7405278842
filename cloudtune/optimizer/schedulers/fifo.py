"""Trials run as they come, to their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.optimizer.problem import Problem
from cloudtune.optimizer.scheduler import SchedulerDecision, TrialSuggestion
from cloudtune.optimizer.schedulers.levels import max_resource_level
from cloudtune.optimizer.searchers.registry import make_searcher
from cloudtune.optimizer.searchers.searcher import Searcher
from cloudtune.trial import Config, Metrics, Outcome, Trial


class FIFOScheduler:
    """Runs one trial for each configuration of the searcher; never stops or pauses one.

    Args:
        config_space: Domains and constants by name.
        searcher: ``"random"``, ``"grid"``, or a searcher object.
        search_options: Further arguments for a searcher given by name.
        metric: Key in reports of the objective, or a list of keys.
        mode: ``"min"`` or ``"max"``; a list for several objectives.
        points_to_evaluate: Configurations to try first, in order, partial ones completed. None for the middle of
            the space, ``[]`` for none.
        random_seed: None draws one; see ``random_seed``.
        max_resource_attr: Constant in ``config_space`` that tells the script how far to train.
        max_t: Highest resource level, for the record; default ``config_space[max_resource_attr]``.
        resource_attr: Key in reports of the resource spent; None if there is none.
    """

    def __init__(  # noqa: PLR0913 (the names that users know)
        self,
        config_space: dict[str, Any],
        *,
        metric: str | Sequence[str],
        searcher: str | Searcher = "random",
        search_options: Mapping[str, Any] | None = None,
        mode: str | Sequence[str] = "min",
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        random_seed: int | None = None,
        max_resource_attr: str | None = None,
        max_t: int | None = None,
        resource_attr: str | None = None,
    ) -> None:
        self._problem = Problem(config_space, metric, mode, random_seed, resource_attr)
        self.config_space = self._problem.config_space
        self.resource_attr = resource_attr
        self.max_resource_attr = max_resource_attr
        self.max_t = max_resource_level(self.config_space, max_resource_attr, max_t)
        self.searcher = make_searcher(
            searcher, self.config_space, points_to_evaluate, search_options, self.random_seed
        )
        self._configs: dict[int, Config] = {}

    @property
    def random_seed(self) -> int:
        """Every decision is a function of it and of what was observed."""
        return self._problem.seed.value

    @property
    def random_seed_given(self) -> bool:
        """Whether it was an argument; otherwise it was drawn from the operating system."""
        return self._problem.seed.given

    def reseed(self, random_seed: int) -> None:
        """Continues with another seed. SpecError after the first ``on_start``."""
        self._problem.reseed(random_seed, self.searcher)

    def metric_names(self) -> list[str]:
        return list(self._problem.metrics)

    def metric_mode(self) -> list[str]:
        return list(self._problem.modes)

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        config = self.searcher.suggest(trial_id)
        return None if config is None else TrialSuggestion.start_suggestion(config)

    def on_start(self, trial: Trial) -> None:
        self._problem.seed.in_use = True
        if trial.trial_id not in self._configs:
            self.searcher.on_start(trial.trial_id, trial.config)
        self._configs[trial.trial_id] = trial.config

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        self._problem.values(trial, metrics)
        if self.resource_attr is not None:
            self._problem.level(trial, metrics)
        self.searcher.on_report(trial.trial_id, self._configs[trial.trial_id], metrics)
        return SchedulerDecision.CONTINUE

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        if outcome not in (Outcome.paused, Outcome.interrupted):
            self.searcher.on_end(trial.trial_id, self._configs[trial.trial_id], outcome)

    def metadata(self) -> dict[str, Any]:
        return {
            "scheduler_name": type(self).__name__,
            "max_resource_attr": self.max_resource_attr,
            "max_t": self.max_t,
            **self._problem.metadata(),
            **self.searcher.metadata(),
        }
