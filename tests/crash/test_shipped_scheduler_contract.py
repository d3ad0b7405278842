"""Schedulers pass the shipped contract, and the contract notices those that do not."""

from __future__ import annotations

from typing import Any

import pytest
from crash_lab import MAX_LEVEL, Promoting, curve

from cloudtune.config_space import choice, uniform
from cloudtune.optimizer.baselines import ASHA, GridSearch, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler, SchedulerDecision, TrialSuggestion
from cloudtune.optimizer.schedulers.successive_halving import SuccessiveHalvingScheduler
from cloudtune.testing.scheduler_contract import SCHEDULER_CHECKS, MakeScheduler, SchedulerCheck
from cloudtune.trial import Metrics, Outcome, Trial

SPACE = {"x": uniform(0, 1), "epochs": MAX_LEVEL}
GRID = {"x": choice([0.1, 0.25, 0.4, 0.9]), "epochs": 3}
COMMON: dict[str, Any] = {"metric": "loss", "max_resource_attr": "epochs", "resource_attr": "epoch"}

SCHEDULERS: dict[str, MakeScheduler] = {
    "toy": lambda seed: Promoting(random_seed=seed),
    "random": lambda seed: RandomSearch(SPACE, random_seed=seed, **COMMON),
    "random-finite": lambda seed: RandomSearch(GRID, random_seed=seed, **COMMON),
    "grid": lambda seed: GridSearch(GRID, random_seed=seed, **COMMON),
    "asha-stopping": lambda seed: ASHA(SPACE, type="stopping", random_seed=seed, **COMMON),
    "asha-promotion": lambda seed: ASHA(SPACE, type="promotion", random_seed=seed, **COMMON),
    "asha-brackets": lambda seed: ASHA(SPACE, type="promotion", brackets=3, random_seed=seed, **COMMON),
    "asha-max": lambda seed: ASHA(SPACE, type="stopping", mode="max", random_seed=seed, **COMMON),
    "successive-halving": lambda seed: SuccessiveHalvingScheduler(SPACE, eta=3, random_seed=seed, **COMMON),
}


@pytest.mark.parametrize("check", SCHEDULER_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_contract(scheduler: str, check: SchedulerCheck) -> None:
    check(SCHEDULERS[scheduler], curve)


class Counting(Promoting):
    """Its suggestions depend on how often it was asked."""

    asked = 0

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        self.asked += 1
        return super().suggest(trial_id + self.asked)


class Moody(Promoting):
    """Its decisions depend on what it was asked for last."""

    last = 0

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        self.last = trial_id
        return super().suggest(trial_id)

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        decision = super().on_report(trial, metrics)
        return SchedulerDecision.CONTINUE if self.last % 7 == 6 else decision


class Tainted(Promoting):
    """Keeps state in the class: a fresh one is not fresh."""

    ends = 0

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        Tainted.ends += 1
        super().on_end(trial, outcome)

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        return super().suggest(trial_id + Tainted.ends)


class Impatient(Promoting):
    """Resumes trials that still run."""

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        if trial_id == 3:
            return TrialSuggestion.resume_suggestion(2, {"x": 0.5, "epochs": 3})
        return super().suggest(trial_id)


class Incomplete(Promoting):
    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        return TrialSuggestion.start_suggestion({"x": 0.5})


class Forgetful(Promoting):
    """Resumes the same trial for ever."""

    def on_start(self, trial: Trial) -> None:
        self._configs[trial.trial_id] = trial.config

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        self._paused.add(trial.trial_id)


@pytest.mark.parametrize("broken", [Counting, Moody, Tainted, Impatient, Incomplete, Forgetful])
def test_contract_notices(broken: type[Promoting]) -> None:
    def make(seed: int) -> Scheduler:
        return broken(random_seed=seed)

    noticed = 0
    for check in SCHEDULER_CHECKS:
        try:
            check(make, curve)
        except (AssertionError, KeyError):
            noticed += 1
    assert noticed
