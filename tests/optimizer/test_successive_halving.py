"""Successive halving in rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract import SPACE, World

from cloudtune.errors import SpecError
from cloudtune.optimizer.scheduler import SchedulerDecision
from cloudtune.optimizer.schedulers import SuccessiveHalvingScheduler
from cloudtune.optimizer.schedulers.searchers import RandomSearcher
from cloudtune.trial import Outcome, Trial

PAUSE, STOP = SchedulerDecision.PAUSE, SchedulerDecision.STOP


class Workers:
    """Runs attempts to the rung that the configuration names."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.trials: dict[int, Trial] = {}

    def start(self) -> tuple[int, int]:
        """The trial that was started or resumed, and the epochs it is to reach."""
        suggestion = self.scheduler.suggest(len(self.trials))
        trial_id, attempt = suggestion.resume_trial_id, 0
        if trial_id is None:
            trial_id = len(self.trials)
        else:
            attempt = self.trials[trial_id].attempt + 1
        trial = self.trials[trial_id] = Trial(trial_id, suggestion.config, attempt)
        self.scheduler.on_start(trial)
        return trial_id, suggestion.config["max_epochs"]

    def finish(self, trial_id: int, loss: float) -> SchedulerDecision:
        trial = self.trials[trial_id]
        decision = self.scheduler.on_report(trial, {"epoch": trial.config["max_epochs"], "validation_error": loss})
        self.scheduler.on_end(trial, Outcome.paused if decision is PAUSE else Outcome.stopped)
        return decision


def book_scheduler(**kwargs: Any) -> SuccessiveHalvingScheduler:
    """As the book calls it."""
    space = {key: value for key, value in SPACE.items() if key != "epochs"}
    return SuccessiveHalvingScheduler(
        searcher=RandomSearcher(space, random_seed=0), **{"eta": 2, "r_min": 2, "r_max": 10, **kwargs}
    )


def test_one_round_of_one_worker() -> None:
    scheduler = book_scheduler()
    assert scheduler.rung_levels() == [2, 4, 8, 10]
    workers = Workers(scheduler)
    losses = [0.8, 0.2, 0.7, 0.1, 0.6, 0.3, 0.5, 0.4]
    for trial_id, loss in enumerate(losses):
        assert workers.start() == (trial_id, 2)
        assert workers.finish(trial_id, loss) is PAUSE
    # The best half, the best first.
    for trial_id, loss in zip([3, 1, 5, 7], [0.4, 0.1, 0.2, 0.3], strict=True):
        assert workers.start() == (trial_id, 4)
        assert workers.finish(trial_id, loss) is PAUSE
    for trial_id in (1, 5):
        assert workers.start() == (trial_id, 8)
        assert workers.finish(trial_id, 1.0 - trial_id / 10) is PAUSE
    assert workers.start() == (5, 10)
    assert workers.trials[5].attempt == 3
    assert workers.finish(5, 0.1) is STOP
    assert workers.start() == (8, 2)  # the next round
    sizes = {level: len(seen) for level, seen in scheduler.all_observed_error_at_rungs.items()}
    assert sizes == {2: 8, 4: 4, 8: 2, 10: 1}
    assert [value for _, value in scheduler.all_observed_error_at_rungs[4]] == [0.4, 0.1, 0.2, 0.3]


def test_promoted_trials_come_before_the_next_round() -> None:
    workers = Workers(book_scheduler(r_max=4))  # rungs 2 and 4; two trials, then one
    assert [workers.start()[0] for _ in range(3)] == [0, 1, 2]  # trial 2 belongs to the next round
    workers.finish(0, 0.5)
    assert workers.start() == (3, 2)  # blocked by trial 1: the next round goes on
    workers.finish(1, 0.4)
    assert workers.start() == (1, 4)
    # Whoever comes first fills a rung, of whichever round.
    workers.finish(3, 0.9)
    workers.finish(2, 0.8)
    assert workers.start() == (2, 4)
    assert workers.finish(1, 0.3) is STOP


def test_later_promotions_go_to_the_front_of_the_queue() -> None:
    workers = Workers(book_scheduler(r_max=8, prefact=1))  # rungs 2, 4, 8; 4, 2, 1 trials
    for _ in range(6):
        workers.start()
    for trial_id in range(4):
        workers.finish(trial_id, trial_id / 10)
    assert [workers.start() for _ in range(2)] == [(0, 4), (1, 4)]
    workers.start(), workers.start()  # 6, 7
    for trial_id in range(4, 8):
        workers.finish(trial_id, 1.0)  # promotes 4 and 5
    workers.finish(0, 0.0)
    workers.finish(1, 0.1)  # promotes 0, in front of these
    assert [workers.start() for _ in range(3)] == [(0, 8), (4, 4), (5, 4)]


def test_a_promoted_trial_waits_until_its_attempt_has_ended() -> None:
    workers = Workers(book_scheduler(r_max=4))
    workers.start(), workers.start()
    workers.finish(1, 0.5)
    best = workers.trials[0]
    assert workers.scheduler.on_report(best, {"epoch": 2, "validation_error": 0.1}) is PAUSE
    assert workers.start() == (2, 2)
    workers.scheduler.on_end(best, Outcome.completed)
    assert workers.start() == (0, 4)


@pytest.mark.parametrize("outcome", [Outcome.failed, Outcome.completed])
def test_a_lost_trial_fills_its_place_as_the_worst(outcome: Outcome) -> None:
    workers = Workers(book_scheduler(r_max=8))
    for _ in range(4):
        workers.start()
    for trial_id in range(3):
        workers.finish(trial_id, trial_id / 10)
    workers.scheduler.on_end(workers.trials[3], outcome)
    assert [workers.start() for _ in range(2)] == [(0, 4), (1, 4)]
    workers.finish(1, 0.5)
    workers.scheduler.on_end(workers.trials[0], outcome)
    assert workers.start() == (1, 8)


def test_a_rung_of_failures_promotes_nobody_and_blocks_nobody() -> None:
    workers = Workers(book_scheduler(r_max=4))
    for trial_id in range(8):
        assert workers.start() == (trial_id, 2)
        workers.scheduler.on_end(workers.trials[trial_id], Outcome.failed)
    for trial_id in (8, 9):
        assert workers.start() == (trial_id, 2)
    for trial_id in (8, 9):
        workers.finish(trial_id, float(trial_id))
    assert workers.start() == (8, 4)


def test_places_that_nobody_is_left_to_take_block_nobody() -> None:
    workers = Workers(book_scheduler(r_max=8))  # 4, 2, 1 trials
    for _ in range(4):
        workers.start()
    for trial_id in range(3):
        workers.scheduler.on_end(workers.trials[trial_id], Outcome.failed)
    workers.finish(3, 0.5)
    assert workers.start() == (3, 4)
    workers.finish(3, 0.4)
    assert workers.start() == (3, 8)


def test_an_interrupted_trial_keeps_its_place() -> None:
    workers = Workers(book_scheduler(r_max=4))
    workers.start(), workers.start()
    lost = workers.trials[0]
    workers.scheduler.on_end(lost, Outcome.interrupted)
    workers.finish(1, 0.5)
    assert workers.start() == (2, 2)  # nothing is promoted before trial 0 has come in
    workers.scheduler.on_start(Trial(0, lost.config, 1))
    workers.finish(0, 0.1)
    assert workers.start() == (0, 4)


def test_a_script_that_goes_past_the_last_rung_at_once_is_stopped() -> None:
    scheduler = book_scheduler(max_resource_attr=None)
    trial = Trial(0, scheduler.suggest(0).config)  # type: ignore[union-attr]
    assert "max_epochs" not in trial.config
    scheduler.on_start(trial)
    assert scheduler.on_report(trial, {"epoch": 1, "validation_error": 0.1}) is SchedulerDecision.CONTINUE
    assert scheduler.on_report(trial, {"epoch": 12, "validation_error": 0.1}) is STOP


@pytest.mark.parametrize(
    ("kwargs", "levels", "sizes"),
    [
        ({"eta": 3, "r_min": 1, "r_max": 243}, [1, 3, 9, 27, 81, 243], {1: 243, 243: 1}),
        ({"eta": 2, "r_min": 1, "r_max": 6}, [1, 2, 4, 6], {1: 8, 6: 1}),
        ({"eta": 2, "r_min": 5, "r_max": 5}, [5], {5: 1}),
        ({"eta": 2, "r_min": 1, "r_max": 4, "prefact": 3}, [1, 2, 4], {1: 12, 4: 3}),
        ({"reduction_factor": 4, "eta": None, "r_min": 1, "r_max": 16}, [1, 4, 16], {1: 16, 16: 1}),
    ],
)
def test_rungs_and_sizes(kwargs: dict[str, Any], levels: list[int], sizes: dict[int, int]) -> None:
    """A single worker that never fails runs exactly one round."""
    scheduler = book_scheduler(metric="loss", **kwargs)
    assert scheduler.rung_levels() == levels
    world = World(scheduler, np.random.default_rng(0), n_workers=1, accidents=0.0, max_trials=sizes[levels[0]])
    world.run(10_000)
    seen = {level: len(values) for level, values in scheduler.all_observed_error_at_rungs.items()}
    assert {level: seen[level] for level in sizes} == sizes


def test_arguments() -> None:
    space = {key: value for key, value in SPACE.items() if key != "epochs"}
    positional = SuccessiveHalvingScheduler(RandomSearcher(space), r_max=9)  # type: ignore[arg-type]
    assert positional.rung_levels() == [1, 3, 9]
    assert positional.config_space["max_epochs"] == 9
    assert SuccessiveHalvingScheduler({**space, "max_epochs": 27}, metric="loss").rung_levels() == [1, 3, 9, 27]
    with pytest.raises(SpecError, match="config_space"):
        SuccessiveHalvingScheduler(r_max=9)
    with pytest.raises(SpecError, match="eta"):
        SuccessiveHalvingScheduler(space, r_max=9, eta=1)
    with pytest.raises(SpecError, match="one thing"):
        SuccessiveHalvingScheduler(space, r_max=9, eta=2, reduction_factor=3)
    with pytest.raises(SpecError, match="highest resource level"):
        SuccessiveHalvingScheduler(space)
    with pytest.raises(SpecError, match="r_min"):
        SuccessiveHalvingScheduler(space, r_min=10, r_max=9)
    with pytest.raises(SpecError, match="prefact"):
        SuccessiveHalvingScheduler(space, r_max=9, prefact=0)
