"""Asynchronous successive halving (ASHA) and asynchronous Hyperband, by stopping or by promotion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.optimizer.problem import Problem
from cloudtune.optimizer.scheduler import SchedulerDecision, TrialSuggestion, generator
from cloudtune.optimizer.schedulers.levels import (
    bracket_probabilities,
    choose_levels,
    positive_int,
    require_max_level,
)
from cloudtune.optimizer.schedulers.rules import Brackets, PromotionRule, Rule, StoppingRule
from cloudtune.optimizer.searchers.registry import make_searcher
from cloudtune.optimizer.searchers.searcher import Searcher
from cloudtune.trial import Config, Metrics, Outcome, Trial

_RULES: dict[str, Callable[[Brackets], Rule]] = {"stopping": StoppingRule, "promotion": PromotionRule}
_SEARCHER_DATA = ("rungs", "all")


class HyperbandScheduler:
    """Compares trials at rung levels, and spends more on those that do well there.

    A trial does well at rung ``r`` if its value is within the quantile ``r / s`` of all values seen there, ``s``
    being the next level. With ``type="stopping"`` the others are stopped. With ``type="promotion"`` each trial is
    paused at its rung, and the best are resumed; the script is told how far to train by ``max_resource_attr``, but
    scripts that ignore it work as well.

    The cost of a decision does not grow with the number of trials but for one O(log n) search (see
    :mod:`~cloudtune.optimizer.schedulers.rungs`).

    Args:
        config_space: Domains and constants by name.
        searcher: ``"random"``, ``"grid"``, or a searcher object.
        search_options: Further arguments for a searcher given by name.
        metric: Key in reports of the objective. NaN counts as the worst value.
        mode: ``"min"`` or ``"max"``.
        points_to_evaluate: Configurations to try first, in order, partial ones completed. None for the middle of
            the space, ``[]`` for none.
        random_seed: None draws one.
        type: ``"stopping"`` or ``"promotion"``.
        resource_attr: Key in reports of the resource spent: 1, 2, ... A script may report every few levels only;
            its report counts for the highest rung that it has passed.
        max_resource_attr: Constant in ``config_space`` with the highest level, by which the script learns how far
            to train.
        max_t: The highest level; default ``config_space[max_resource_attr]``, else the first constant named
            ``epochs``, ``max_t`` or ``max_epochs``.
        grace_period: The lowest rung.
        reduction_factor: Ratio of rung levels, at least 2.
        rung_increment: Difference of rung levels, instead of their ratio.
        rung_levels: The rung levels themselves, instead of these three.
        brackets: Bracket 0 begins at the lowest rung, bracket 1 at the second, ...; that of a trial is drawn.
        rung_system_per_bracket: Trials of different brackets are not compared.
        searcher_data: What the searcher sees: ``"rungs"``, reports that count for a rung or are at the maximum, or
            ``"all"``.
    """

    def __init__(  # noqa: PLR0913 (the names that users know)
        self,
        config_space: dict[str, Any],
        *,
        metric: str,
        searcher: str | Searcher = "random",
        search_options: Mapping[str, Any] | None = None,
        mode: str = "min",
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        random_seed: int | None = None,
        type: str = "stopping",
        resource_attr: str = "epoch",
        max_resource_attr: str | None = None,
        max_t: int | None = None,
        grace_period: int = 1,
        reduction_factor: float = 3,
        rung_increment: int | None = None,
        rung_levels: Sequence[int] | None = None,
        brackets: int = 1,
        rung_system_per_bracket: bool = False,
        searcher_data: str = "rungs",
    ) -> None:
        _check_choice("type", type, tuple(_RULES))
        _check_choice("searcher_data", searcher_data, _SEARCHER_DATA)
        self._problem = Problem(config_space, metric, mode, random_seed, resource_attr)
        self._problem.require_level("HyperbandScheduler")
        self.config_space = self._problem.config_space
        self.resource_attr = resource_attr
        self.max_resource_attr = max_resource_attr
        self.type = type
        self.searcher_data = searcher_data
        self.max_t = require_max_level(self.config_space, max_resource_attr, max_t)
        levels = choose_levels(self.max_t, grace_period, reduction_factor, rung_increment, rung_levels)
        self._levels = [*(level for level in levels if level < self.max_t), self.max_t]
        self.num_brackets = min(positive_int(brackets, "brackets"), len(self._levels))
        self._rule = _RULES[type](Brackets(self._levels, self.num_brackets, rung_system_per_bracket))
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

    def rung_levels(self) -> list[int]:
        return list(self._levels)

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        bracket = self._bracket(trial_id)
        promotion = self._rule.suggest(bracket)
        if promotion is not None:
            config = self._up_to(self._configs[promotion.trial_id], promotion.level)
            return TrialSuggestion.resume_suggestion(promotion.trial_id, config)
        new = self.searcher.suggest(trial_id)
        return None if new is None else TrialSuggestion(self._up_to(new, self._rule.first_level(bracket)))

    def on_start(self, trial: Trial) -> None:
        self._problem.seed.in_use = True
        if trial.trial_id in self._configs:
            self._rule.on_resume(trial.trial_id)
        else:
            self.searcher.on_start(trial.trial_id, trial.config)
            self._rule.on_start(trial.trial_id, self._bracket(trial.trial_id))
        self._configs[trial.trial_id] = trial.config

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        (value,) = self._problem.values(trial, metrics)
        level = self._problem.level(trial, metrics)
        decision, recorded = self._rule.on_report(trial.trial_id, level, value)
        if recorded or self.searcher_data == "all":
            self.searcher.on_report(trial.trial_id, self._configs[trial.trial_id], metrics)
        return decision

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        self._rule.on_end(trial.trial_id, outcome)
        if outcome not in (Outcome.paused, Outcome.interrupted):
            self.searcher.on_end(trial.trial_id, self._configs[trial.trial_id], outcome)

    def metadata(self) -> dict[str, Any]:
        return {
            "scheduler_name": self.__class__.__name__,
            "scheduler_type": self.type,
            "max_resource_attr": self.max_resource_attr,
            "max_t": self.max_t,
            "rung_levels": self.rung_levels(),
            "brackets": self.num_brackets,
            **self._problem.metadata(),
            **self.searcher.metadata(),
        }

    def _bracket(self, trial_id: int) -> int:
        if self.num_brackets == 1:
            return 0
        rng = generator(self.random_seed, trial_id, stream="bracket")
        return int(rng.choice(self.num_brackets, p=bracket_probabilities(self._levels, self.num_brackets)))

    def _up_to(self, config: Config, level: int) -> Config:
        """``config``, told to train up to ``level``."""
        attr = self.max_resource_attr
        if attr is None or self.type == "stopping":
            return dict(config)
        return {**config, attr: level}


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(f"{name}={value!r} is not supported.", f"Choose one of: {', '.join(choices)}.")
