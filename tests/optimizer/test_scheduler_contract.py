"""Every scheduler, in a world of random order, accidents and missing reports."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from contract import DRAWING_AT_RANDOM, FACTORIES, SMALL_SPACE, SPACE, World, check_replay
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.errors import SpecError
from cloudtune.optimizer.scheduler import HasDrawnSeed, HasRungLevels, SchedulerDecision
from cloudtune.trial import Outcome, Trial

every_scheduler = pytest.mark.parametrize("name", FACTORIES)


@every_scheduler
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_workers=st.integers(1, 5),
    every=st.sampled_from([1, 1, 2, 4]),
    small=st.booleans(),
)
def test_replay_gives_the_same_decisions_and_suggestions(
    name: str, seed: int, n_workers: int, every: int, small: bool
) -> None:
    space = SMALL_SPACE if small else SPACE
    world = World(
        FACTORIES[name](space, random_seed=seed), np.random.default_rng(seed), n_workers, report_every=every
    )
    steps = world.run(150)
    check_replay(steps, FACTORIES[name](space, random_seed=seed))


@every_scheduler
def test_small_space_is_tried_once_each_and_ends(name: str) -> None:
    world = World(FACTORIES[name](SMALL_SPACE, random_seed=3), np.random.default_rng(0), accidents=0.0)
    world.run(2000)
    assert world.exhausted
    configs = {(run.trial.config["units"], run.trial.config["act"]) for run in world.runs.values()}
    assert len(configs) == len(world.runs) == 6


@every_scheduler
def test_failures_block_nothing(name: str) -> None:
    """With many turns ending in an accident, the scheduler still runs trials to the end of the space."""
    world = World(FACTORIES[name](random_seed=1), np.random.default_rng(1), accidents=0.4, max_trials=40)
    world.run(4000)
    assert len(world.runs) == 40
    assert world.exhausted


@every_scheduler
def test_points_to_evaluate_come_first_in_order(name: str) -> None:
    points: list[dict[str, Any]] = [{"lr": 0.5, "units": 3, "act": "tanh"}, {"units": 7}, {"act": "tanh"}]
    scheduler = FACTORIES[name](random_seed=0, points_to_evaluate=points)
    seen = []
    for trial_id in range(4):
        config = scheduler.suggest(trial_id).config
        scheduler.on_start(Trial(trial_id, config))
        seen.append(config)
    assert all(point.items() <= config.items() for point, config in zip(points, seen, strict=False))
    assert seen[1]["lr"] == seen[2]["lr"] == SPACE["lr"].default_value()
    assert seen[3]["lr"] != seen[2]["lr"]


def test_same_seed_gives_the_same_first_configurations() -> None:
    firsts = []
    for name in DRAWING_AT_RANDOM:
        scheduler = FACTORIES[name](random_seed=17)
        configs = []
        for trial_id in range(5):
            config = scheduler.suggest(trial_id).config
            scheduler.on_start(Trial(trial_id, config))
            configs.append({key: value for key, value in config.items() if key != "epochs"})
        firsts.append(configs)
    assert all(configs == firsts[0] for configs in firsts)
    assert len({config["lr"] for config in firsts[0]}) == 5


@every_scheduler
def test_drawn_seed_can_be_replaced_until_the_first_trial(name: str) -> None:
    drawn, chosen = FACTORIES[name](), FACTORIES[name](random_seed=5)
    assert not drawn.random_seed_given
    assert chosen.random_seed_given
    assert isinstance(drawn, HasDrawnSeed)
    drawn.reseed(5)
    assert drawn.random_seed == 5
    for trial_id in range(4):
        suggestion = drawn.suggest(trial_id)
        assert suggestion == chosen.suggest(trial_id)
        for scheduler in (drawn, chosen):
            scheduler.on_start(Trial(trial_id, suggestion.config))
    drawn.reseed(5)  # the same one is no change
    with pytest.raises(SpecError, match="seed"):
        drawn.reseed(6)


def test_different_seeds_give_different_configurations() -> None:
    first, second = (FACTORIES["random"](random_seed=seed, points_to_evaluate=[]).suggest(0) for seed in (1, 2))
    assert first != second
    assert FACTORIES["random"]().random_seed != FACTORIES["random"]().random_seed


@every_scheduler
def test_metadata_is_json(name: str) -> None:
    scheduler = FACTORIES[name](random_seed=4)
    facts = json.loads(json.dumps(scheduler.metadata()))
    assert facts["metric_names"] == ["loss"]
    assert facts["random_seed"] == 4
    assert facts["scheduler_name"] == type(scheduler).__name__


@pytest.mark.parametrize("name", [n for n in FACTORIES if isinstance(FACTORIES[n](), HasRungLevels)])
@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"epoch": 1}, ["Trial 0", "'loss'", "It has: epoch"]),
        ({"loss": 1.0}, ["Trial 0", "'epoch'", "It has: loss"]),
        ({"loss": "low", "epoch": 1}, ["loss='low'"]),
        ({"loss": None, "epoch": 1}, ["loss=None"]),
        ({"loss": True, "epoch": 1}, ["loss=True"]),
        ({"loss": 1.0, "epoch": 0}, ["epoch=0"]),
        ({"loss": 1.0, "epoch": 1.5}, ["epoch=1.5"]),
        ({"loss": 1.0, "epoch": float("nan")}, ["epoch=nan"]),
        ({"loss": 1.0, "epoch": float("inf")}, ["epoch=inf"]),
        ({"loss": 1.0, "epoch": "1"}, ["epoch='1'"]),
    ],
)
def test_bad_reports_are_refused_and_leave_no_trace(name: str, report: dict[str, Any], words: list[str]) -> None:
    scheduler, other = (FACTORIES[name](random_seed=0) for _ in range(2))
    trial = Trial(0, scheduler.suggest(0).config)
    for each in (scheduler, other):
        each.on_start(trial)
    with pytest.raises(SpecError) as caught:
        scheduler.on_report(trial, report)
    for word in words:
        assert word in str(caught.value)
    good = {"loss": np.float32(0.5), "epoch": np.int64(2)}
    assert scheduler.on_report(trial, good) == other.on_report(trial, good)
    assert scheduler.suggest(1) == other.suggest(1)


def test_fifo_never_stops_and_checks_every_metric() -> None:
    from cloudtune.optimizer.schedulers import FIFOScheduler

    scheduler = FIFOScheduler(SPACE, metric=["loss", "cost"], mode=["min", "max"], random_seed=0)
    assert scheduler.metric_names() == ["loss", "cost"]
    assert scheduler.metric_mode() == ["min", "max"]
    assert FIFOScheduler(SPACE, metric=["a", "b"], mode="max").metric_mode() == ["max", "max"]
    trial = Trial(0, scheduler.suggest(0).config)  # type: ignore[union-attr]
    scheduler.on_start(trial)
    for loss in (1.0, float("nan"), 1e9):
        assert scheduler.on_report(trial, {"loss": loss, "cost": 1}) is SchedulerDecision.CONTINUE
    with pytest.raises(SpecError, match="'cost'"):
        scheduler.on_report(trial, {"loss": 1.0})
    scheduler.on_end(trial, Outcome.completed)


def test_cost_of_a_decision_does_not_grow() -> None:
    """10,000 trials at all rungs in seconds: quadratic cost would take minutes."""
    scheduler = FACTORIES["asha_stopping"](random_seed=0)
    rng = np.random.default_rng(0)
    for trial_id in range(10_000):
        trial = Trial(trial_id, scheduler.suggest(trial_id).config)
        scheduler.on_start(trial)
        for epoch in range(1, 10):
            decision = scheduler.on_report(trial, {"loss": rng.random(), "epoch": epoch})
            if decision is SchedulerDecision.STOP:
                break
        scheduler.on_end(trial, Outcome.stopped)
