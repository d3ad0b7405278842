"""The real loop dies at every call, over every store, kind of backend, and scheduler."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from crash_lab import MAX_LEVEL, LaggingDisk, Promoting, file_disk, laboratory
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.config_space import choice, uniform
from cloudtune.experiment.core import CoreOptions
from cloudtune.optimizer.baselines import ASHA, GridSearch, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler, SchedulerDecision
from cloudtune.optimizer.schedulers.successive_halving import SuccessiveHalvingScheduler
from cloudtune.testing.crash_anywhere import (
    Laboratory,
    crash_anywhere,
    crash_often,
    error_anywhere,
    problems_of,
    relay,
)
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Outcome

SPACE = {"x": uniform(0, 1), "epochs": MAX_LEVEL}
COMMON: dict[str, Any] = {
    "metric": "loss",
    "max_resource_attr": "epochs",
    "resource_attr": "epoch",
    "random_seed": 7,
}


def grid() -> Scheduler:
    return GridSearch({"x": choice([0.1, 0.25, 0.4, 0.9]), "epochs": 3}, **COMMON)


SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "random": lambda: RandomSearch({**SPACE, "epochs": 3}, **COMMON),
    "grid": grid,
    "asha-stopping": lambda: ASHA(SPACE, type="stopping", **COMMON),
    "asha-promotion": lambda: ASHA(SPACE, type="promotion", **COMMON),
    "asha-two-brackets": lambda: ASHA(SPACE, type="promotion", brackets=2, **COMMON),
    "successive-halving": lambda: SuccessiveHalvingScheduler(SPACE, eta=3, r_max=MAX_LEVEL, **COMMON),
    "toy-without-targets": lambda: Promoting(tells_target=False),
    "toy-stopping": lambda: Promoting(SchedulerDecision.STOP, tells_target=False),
}
FAULTS = [
    Fault(0, 0, 2, Outcome.interrupted),
    Fault(1, 0, 1, Outcome.failed),
    Fault(2, 0, 1, Outcome.interrupted),
    Fault(2, 1, 1, Outcome.interrupted),
    Fault(4, 0, 3, Outcome.interrupted),
]
WORLDS: dict[str, dict[str, Any]] = {
    "checkpoints": {},
    "scratch": {"checkpointing": False},
    "faults": {"faults": FAULTS},
    "faults-scratch": {"faults": FAULTS, "checkpointing": False},
    "slow-stop": {"stop_delay_s": 2.6},
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_in_every_world(scheduler: str, world: str) -> None:
    lab = laboratory(SCHEDULERS[scheduler], max_trials=9, **WORLDS[world])
    crash_anywhere(lab, sample=12, seed=len(scheduler + world))


@pytest.mark.parametrize("scheduler", ["random", "asha-promotion"])
def test_every_point_in_memory(scheduler: str) -> None:
    lab = laboratory(SCHEDULERS[scheduler], max_trials=4, faults=FAULTS[:2])
    assert crash_anywhere(lab) > 100


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_on_disk(scheduler: str) -> None:
    lab = laboratory(SCHEDULERS[scheduler], make_disk=file_disk, max_trials=4, faults=FAULTS[:2])
    crash_anywhere(lab, sample=6)


OPTIONS = {
    "no-delay-off": CoreOptions(n_workers=2, start_jobs_without_delay=False),
    "synchronous": CoreOptions(n_workers=3, asynchronous_scheduling=False),
    "failures": CoreOptions(n_workers=2, max_failures=0),
    "failures-drain": CoreOptions(n_workers=3, max_failures=0, wait_trial_completion_when_stopping=True),
    "one-worker": CoreOptions(n_workers=1, max_failures=2),
    "many-workers": CoreOptions(n_workers=8, max_failures=2),
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("scheduler", ["random", "toy-without-targets"])
def test_every_way_of_running(scheduler: str, options: str) -> None:
    lab = laboratory(SCHEDULERS[scheduler], options=OPTIONS[options], faults=FAULTS[:2])
    crash_anywhere(lab, sample=40)


def test_slow_ends_and_impatience() -> None:
    """Deadlines depend on elapsed time, of which a crash takes away a bit: nothing is lost or doubled."""
    options = CoreOptions(n_workers=2, patience_s=2.0)
    lab = laboratory(
        SCHEDULERS["asha-promotion"], options=options, end_delay_s=3.0, stop_delay_s=0.5, max_trials=9
    )
    lab.compare = None
    crash_anywhere(lab, sample=40)


def test_long_silence() -> None:
    """Hours between two reports: elapsed time is recorded all the same."""
    lab = laboratory(SCHEDULERS["random"], epoch_s=45.0, start_delay_s=100.0, max_trials=3)
    crash_anywhere(lab, sample=40)


@pytest.mark.parametrize("world", ["checkpoints", "faults-scratch", "slow-stop"])
@pytest.mark.parametrize("scheduler", ["random", "asha-stopping", "asha-promotion", "toy-without-targets"])
def test_every_call_fails(scheduler: str, world: str) -> None:
    lab = laboratory(SCHEDULERS[scheduler], max_trials=5, **WORLDS[world])
    error_anywhere(lab, sample=40)


@pytest.mark.parametrize("world", ["checkpoints", "faults-scratch", "slow-stop"])
@pytest.mark.parametrize("scheduler", ["random", "asha-promotion", "toy-without-targets"])
def test_asked_to_end_again_and_again(scheduler: str, world: str) -> None:
    """After SIGTERM nothing runs; the next session goes on, and nothing is lost or doubled."""
    for seed in range(6):
        rng = random.Random(seed)
        turns = [rng.randrange(1, 12) for _ in range(40)] + [10**9] * 5
        lab = laboratory(SCHEDULERS[scheduler], turns=lambda left=turns: left.pop(0), **WORLDS[world])
        story = relay(lab)
        assert problems_of(story) == []
        assert len(story.lives) > 2


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_machine_is_lost_with_its_disk(scheduler: str, world: str) -> None:
    """Again and again. The next one has the checkpoints, and a journal whose last lines are missing."""
    for seed in range(3):
        disk = LaggingDisk()
        lab = laboratory(SCHEDULERS[scheduler], make_disk=disk.make, max_trials=9, **WORLDS[world])
        lab.lose_disk = disk.lose
        story = crash_often(lab, random.Random(seed), mean_calls=12.0, machine=0.5)
        assert problems_of(story) == []


def random_laboratory(rng: random.Random) -> Laboratory:
    faults = [
        Fault(trial, attempt, rng.randint(1, 9), rng.choice([Outcome.failed, Outcome.interrupted]))
        for trial in range(6)
        for attempt in range(3)
        if rng.random() < 0.3
    ]
    options = CoreOptions(
        n_workers=rng.randint(1, 5),
        asynchronous_scheduling=rng.random() < 0.8,
        max_failures=rng.choice([0, 1, 5]),
        wait_trial_completion_when_stopping=rng.random() < 0.5,
        start_jobs_without_delay=rng.random() < 0.5,
        patience_s=1000.0,
    )
    return laboratory(
        SCHEDULERS[rng.choice(sorted(SCHEDULERS))],
        options=options,
        faults=faults,
        checkpointing=rng.random() < 0.7,
        max_trials=rng.randint(1, 9),
        start_delay_s=rng.choice([0.01, 0.5, 40.0]),
        stop_delay_s=rng.choice([0.01, 0.3, 4.0]),
        end_delay_s=rng.choice([0.001, 0.1, 7.0]),
    )


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_random_experiments(seed: int) -> None:
    rng = random.Random(seed)
    lab = random_laboratory(rng)
    crash_anywhere(lab, sample=4, seed=seed)
    error_anywhere(lab, sample=4, seed=seed)
