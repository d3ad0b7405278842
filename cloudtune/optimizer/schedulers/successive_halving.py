"""Successive halving in rounds (Jamieson and Talwalkar, AISTATS 2016), as the d2l.ai book builds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.optimizer.problem import Problem
from cloudtune.optimizer.scheduler import SchedulerDecision, TrialSuggestion
from cloudtune.optimizer.schedulers.levels import (
    check_factor,
    geometric_levels,
    positive_int,
    require_max_level,
)
from cloudtune.optimizer.searchers.registry import make_searcher
from cloudtune.optimizer.searchers.searcher import Searcher
from cloudtune.trial import Config, Metrics, Outcome, Trial


class SuccessiveHalvingScheduler:
    """Trains ``prefact * eta**K`` configurations to the lowest rung, the best ``1 / eta`` of them to the next, and
    so on, then begins the next round.

    Rungs are ``r_min * eta**k`` below ``r_max``, and ``r_max``; K is the number of rungs minus 1. A worker that
    would have to wait for a rung to fill begins the next round instead. Trials that were promoted are resumed
    before any other is started, those of the rung that filled last first, the best of them first. (The book
    says so in words; its code takes from the other end of the queue.) Trials that fail, or end by
    themselves below their rung, fill their places as the worst: nothing waits for them.

    Args:
        config_space: Domains and constants by name; not needed with a searcher object, which may also stand here.
        metric: Key in reports of the objective. NaN counts as the worst value.
        mode: ``"min"`` or ``"max"``.
        eta: Halving constant, at least 2.
        r_min: The lowest rung.
        r_max: The highest rung; default ``config_space[max_resource_attr]``.
        prefact: Scales the number of trials in each rung.
        searcher: ``"random"``, ``"grid"``, or a searcher object.
        search_options: Further arguments for a searcher given by name.
        points_to_evaluate: Configurations to try first; likewise.
        random_seed: None draws one.
        max_resource_attr: Key of the configuration that tells the script how far to train; it is added to the
            configuration where the space has none. None: the script is not told, only paused.
        resource_attr: Key in reports of the resource spent: 1, 2, ...
        reduction_factor: Another name for ``eta``.
    """

    def __init__(  # noqa: PLR0913 (the names that users know)
        self,
        config_space: dict[str, Any] | Searcher | None = None,
        *,
        metric: str = "validation_error",
        mode: str = "min",
        eta: float | None = None,
        r_min: int = 1,
        r_max: int | None = None,
        prefact: float = 1,
        searcher: str | Searcher = "random",
        search_options: Mapping[str, Any] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        random_seed: int | None = None,
        max_resource_attr: str | None = "max_epochs",
        resource_attr: str = "epoch",
        reduction_factor: float | None = None,
    ) -> None:
        space, searcher = _space_and_searcher(config_space, searcher)
        self._problem = Problem(space, metric, mode, random_seed, resource_attr)
        self._problem.require_level("SuccessiveHalvingScheduler")
        self.config_space = self._problem.config_space
        self.resource_attr = resource_attr
        self.max_resource_attr = max_resource_attr
        self.eta = _choose_eta(eta, reduction_factor)
        self._levels = _choose_rungs(self.config_space, max_resource_attr, r_min, r_max, self.eta)
        if max_resource_attr is not None:
            self.config_space.setdefault(max_resource_attr, self._levels[-1])
        self._tournament = _Tournament(_rung_sizes(len(self._levels), self.eta, prefact))
        self.searcher = make_searcher(
            searcher, self.config_space, points_to_evaluate, search_options, self.random_seed
        )
        self._configs: dict[int, Config] = {}
        #: For each rung level, configuration and value (as reported) of all that reached it, in order.
        self.all_observed_error_at_rungs: dict[int, list[tuple[Config, float]]] = {}

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
        promoted = self._tournament.next_promoted()
        if promoted is not None:
            level = self._levels[self._tournament.rung_of(promoted)]
            return TrialSuggestion.resume_suggestion(promoted, self._up_to(self._configs[promoted], level))
        new = self.searcher.suggest(trial_id)
        return None if new is None else TrialSuggestion(self._up_to(new, self._levels[0]))

    def on_start(self, trial: Trial) -> None:
        self._problem.seed.in_use = True
        if trial.trial_id in self._configs:
            self._tournament.on_resume(trial.trial_id)
        else:
            self.searcher.on_start(trial.trial_id, trial.config)
            self._tournament.on_start(trial.trial_id)
        self._configs[trial.trial_id] = trial.config

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        (value,) = self._problem.values(trial, metrics)
        level = self._problem.level(trial, metrics)
        if not self._tournament.is_running(trial.trial_id):
            return SchedulerDecision.PAUSE  # it was interrupted before its pause took effect
        rung = self._tournament.rung_of(trial.trial_id)
        if level < self._levels[rung]:
            return SchedulerDecision.CONTINUE
        config = self._configs[trial.trial_id]
        seen = self.all_observed_error_at_rungs.setdefault(self._levels[rung], [])
        seen.append((dict(config), float(metrics[self._problem.metrics[0]])))
        self.searcher.on_report(trial.trial_id, config, metrics)
        # A script that was not told how far to train may have gone past the last rung at once.
        is_last = self._tournament.observe(trial.trial_id, value) or level >= self._levels[-1]
        return SchedulerDecision.STOP if is_last else SchedulerDecision.PAUSE

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        self._tournament.on_end(trial.trial_id, outcome)
        if outcome not in (Outcome.paused, Outcome.interrupted):
            self.searcher.on_end(trial.trial_id, self._configs[trial.trial_id], outcome)

    def metadata(self) -> dict[str, Any]:
        return {
            "scheduler_name": type(self).__name__,
            "max_resource_attr": self.max_resource_attr,
            "max_t": self._levels[-1],
            "rung_levels": self.rung_levels(),
            "eta": self.eta,
            **self._problem.metadata(),
            **self.searcher.metadata(),
        }

    def _up_to(self, config: Config, level: int) -> Config:
        """``config``, told to train up to ``level``."""
        attr = self.max_resource_attr
        return dict(config) if attr is None else {**config, attr: level}


#: Takes the places for which not enough trials are left.
_NOBODY = -1


class _Phase(Enum):
    RUNNING = auto()  #: on its way to its rung, or interrupted there
    LEAVING = auto()  #: observed, asked to pause, not yet ended
    PAUSED = auto()
    OVER = auto()


@dataclass
class _Entrant:
    rung: int = 0  #: to which it trains; of a promoted one, the next
    phase: _Phase = _Phase.RUNNING
    observed: bool = False  #: at ``rung``


class _Tournament:
    """Who may go on: full rungs promote their best to the front of the queue.

    Args:
        sizes: Number of places in each rung.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._entrants: dict[int, _Entrant] = {}
        #: Filled places of each rung, ``(value, trial_id)``; emptied when the rung is full.
        self._places: list[list[tuple[float, int]]] = [[] for _ in sizes]
        #: Promoted, not yet resumed. Some may still be ending.
        self._queue: list[int] = []

    def next_promoted(self) -> int | None:
        """The first trial of the queue whose last attempt has ended."""
        ready = (i for i in self._queue if self._entrants[i].phase is _Phase.PAUSED)
        return next(ready, None)

    def rung_of(self, trial_id: int) -> int:
        return self._entrants[trial_id].rung

    def is_running(self, trial_id: int) -> bool:
        return self._entrants[trial_id].phase is _Phase.RUNNING

    def on_start(self, trial_id: int) -> None:
        self._entrants[trial_id] = _Entrant()

    def on_resume(self, trial_id: int) -> None:
        entrant = self._entrants[trial_id]
        if entrant.phase is _Phase.PAUSED and trial_id in self._queue:
            self._queue.remove(trial_id)
            entrant.phase = _Phase.RUNNING

    def observe(self, trial_id: int, value: float) -> bool:
        """The trial has arrived at its rung; returns whether that is the last."""
        entrant = self._entrants[trial_id]
        entrant.observed = True
        if entrant.rung == len(self._sizes) - 1:
            entrant.phase = _Phase.OVER
            return True
        entrant.phase = _Phase.LEAVING
        self._fill(entrant.rung, value, trial_id)
        return False

    def on_end(self, trial_id: int, outcome: Outcome) -> None:
        entrant = self._entrants[trial_id]
        if outcome is Outcome.interrupted or entrant.phase is _Phase.OVER:
            return
        # A script that was told how far to train ends by itself there: that is its pause.
        if entrant.phase is _Phase.LEAVING and outcome in (Outcome.paused, Outcome.completed):
            entrant.phase = _Phase.PAUSED
            return
        entrant.phase = _Phase.OVER
        if trial_id in self._queue:
            self._queue.remove(trial_id)
        if not entrant.observed:
            self._fill(entrant.rung, math.inf, trial_id)

    def _fill(self, rung: int, value: float, trial_id: int) -> None:
        if rung == len(self._sizes) - 1:
            return  # nobody is compared at the top
        places = self._places[rung]
        places.append((value, trial_id))
        if len(places) < self._sizes[rung]:
            return
        self._places[rung] = []
        able = [i for _, i in sorted(places) if i != _NOBODY and self._entrants[i].phase is not _Phase.OVER]
        promoted = able[: self._sizes[rung + 1]]
        for i in promoted:
            self._entrants[i].rung += 1
            self._entrants[i].observed = False
        self._queue[:0] = promoted
        for _ in range(self._sizes[rung + 1] - len(promoted)):
            self._fill(rung + 1, math.inf, _NOBODY)


def _space_and_searcher(
    config_space: dict[str, Any] | Searcher | None, searcher: str | Searcher
) -> tuple[dict[str, Any], str | Searcher]:
    if isinstance(config_space, Mapping):
        return config_space, searcher
    if config_space is not None:
        searcher = config_space
    space = getattr(searcher, "config_space", None)
    if not isinstance(space, Mapping):
        raise SpecError(
            "SuccessiveHalvingScheduler has no config_space.",
            "Pass config_space, or searcher=RandomSearcher(config_space).",
        )
    return dict(space), searcher


def _choose_eta(eta: float | None, reduction_factor: float | None) -> float:
    if eta is not None and reduction_factor is not None and eta != reduction_factor:
        raise SpecError(f"eta={eta} and reduction_factor={reduction_factor} are one thing.", "Pass one of them.")
    chosen = eta if eta is not None else reduction_factor
    return check_factor(3 if chosen is None else chosen, "eta")


def _choose_rungs(
    config_space: Mapping[str, Any], max_resource_attr: str | None, r_min: int, r_max: int | None, eta: float
) -> list[int]:
    if r_max is None:
        attr = max_resource_attr if max_resource_attr in config_space else None
        r_max = require_max_level(config_space, attr, None)
    top = positive_int(r_max, "r_max")
    lowest = positive_int(r_min, "r_min")
    if lowest > top:
        raise SpecError(f"r_min={lowest} is above r_max={top}.", f"Choose r_min from 1 to {top}.")
    return [*geometric_levels(lowest, eta, top), top]


def _rung_sizes(number: int, eta: float, prefact: float) -> list[int]:
    if isinstance(prefact, bool) or not isinstance(prefact, int | float) or not 0 < prefact < math.inf:
        raise SpecError(f"prefact={prefact!r} must be a positive number.", "1 is the default.")
    return [max(1, int(prefact * eta ** (number - 1 - k))) for k in range(number)]
