"""HyperbandScheduler against a slow reference that recomputes every decision from the whole history."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from contract import FACTORIES, MAX_T, SPACE, Step, World
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudtune.optimizer.baselines import ASHA
from cloudtune.optimizer.scheduler import SchedulerDecision, TrialSuggestion
from cloudtune.optimizer.schedulers import FIFOScheduler, HyperbandScheduler
from cloudtune.optimizer.schedulers.levels import bracket_probabilities
from cloudtune.optimizer.schedulers.rungs import quantile
from cloudtune.trial import Outcome, Trial

CONTINUE, PAUSE, STOP = SchedulerDecision.CONTINUE, SchedulerDecision.PAUSE, SchedulerDecision.STOP
#: Large, so that quantiles are those of numpy, which cannot interpolate to infinity.
WORST = 1e12


@settings(max_examples=300)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
@example([1.0, 2.0], 0.5)
def test_quantile_is_that_of_numpy(values: list[float], q: float) -> None:
    assert quantile(sorted(values), q) == np.quantile(values, q)


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([1.0, math.inf], 0.0, 1.0),
        ([1.0, math.inf], 0.5, sys.float_info.max),
        ([1.0, 2.0, math.inf], 0.5, 2.0),
        ([math.inf, math.inf], 0.3, math.inf),
        ([-math.inf, 1.0], 0.3, -math.inf),
        ([3.0], 0.9, 3.0),
    ],
)
def test_quantile_is_defined_at_infinity(values: list[float], q: float, expected: float) -> None:
    assert quantile(values, q) == expected


def value_of(step: Step, mode: str) -> float:
    loss = step.argument["loss"]
    return WORST if math.isnan(loss) else loss if mode == "min" else -loss


class Reference:
    """ASHA in its plainest form. ``seen[level][trial_id]`` is the value at a rung."""

    def __init__(self, levels: list[int], mode: str) -> None:
        self.levels, self.mode = levels, mode
        self.seen: dict[int, dict[int, float]] = {level: {} for level in levels[:-1]}
        self.promoted: dict[int, set[int]] = {level: set() for level in levels[:-1]}
        self.paused_at: dict[int, int] = {}

    def above(self, level: int) -> int:
        return next(other for other in self.levels if other > level)

    def rung(self, trial_id: int, level: int) -> int | None:
        """The highest rung at or below ``level``, unless the trial has been there or higher."""
        best = max((other for other in self.seen if other <= level), default=None)
        been = max((other for other in self.seen if trial_id in self.seen[other]), default=0)
        return best if best is not None and best > been else None

    def good(self, level: int, value: float) -> bool:
        return bool(value <= np.quantile(list(self.seen[level].values()), level / self.above(level)))

    def stopping(self, step: Step) -> SchedulerDecision:
        level, value = step.argument["epoch"], value_of(step, self.mode)
        if level >= self.levels[-1]:
            return STOP
        rung = self.rung(step.trial.trial_id, level)
        if rung is None:
            return CONTINUE
        self.seen[rung][step.trial.trial_id] = value
        return CONTINUE if len(self.seen[rung]) < 2 or self.good(rung, value) else STOP

    def promotable(self) -> tuple[int, int] | None:
        for level in reversed(self.levels[:-1]):
            waiting = [
                (value, trial_id)
                for trial_id, value in self.seen[level].items()
                if self.paused_at.get(trial_id) == level and trial_id not in self.promoted[level]
            ]
            if len(self.seen[level]) > 1 and waiting and self.good(level, min(waiting)[0]):
                return min(waiting)[1], self.above(level)
        return None


@pytest.mark.parametrize("name", ["asha_stopping", "asha_stopping_max"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), every=st.sampled_from([1, 1, 2, 4]))
def test_stopping_decisions(name: str, seed: int, every: int) -> None:
    scheduler = FACTORIES[name](random_seed=seed)
    world = World(scheduler, np.random.default_rng(seed), 4, every)
    reference = Reference(scheduler.rung_levels(), scheduler.metric_mode()[0])
    for step in world.run(200):
        if step.kind == "report":
            assert step.decision is reference.stopping(step)


@pytest.mark.parametrize("name", ["asha_promotion", "asha_promotion_untold"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_promotions(name: str, seed: int) -> None:
    scheduler = FACTORIES[name](random_seed=seed)
    world = World(scheduler, np.random.default_rng(seed), 4, accidents=0.05)
    reference = Reference(scheduler.rung_levels(), scheduler.metric_mode()[0])
    pausing: dict[int, int] = {}
    num_promotions = 0
    for step in world.run(300):
        trial_id = step.trial.trial_id
        if step.kind == "start" and trial_id in reference.paused_at:
            reference.promoted[reference.paused_at.pop(trial_id)].add(trial_id)
        elif step.kind == "report":
            if step.decision is PAUSE and trial_id not in pausing:
                rung = reference.rung(trial_id, step.argument["epoch"])
                assert rung == step.argument["epoch"], "pauses at rungs only"
                reference.seen[rung][trial_id] = value_of(step, reference.mode)
                pausing[trial_id] = rung
            elif step.decision is CONTINUE:
                assert reference.rung(trial_id, step.argument["epoch"]) is None
            assert (step.decision is STOP) == (step.argument["epoch"] >= MAX_T)
        elif step.kind == "end" and step.argument is not Outcome.interrupted:
            rung = pausing.pop(trial_id, None)
            if rung is not None and step.argument is not Outcome.failed:
                reference.paused_at[trial_id] = rung
        promotable = reference.promotable()
        suggestion = step.suggestion
        assert suggestion is not None
        assert suggestion.resume_trial_id == (promotable[0] if promotable else None)
        if promotable and scheduler.max_resource_attr:
            assert suggestion.config["epochs"] == promotable[1]
            num_promotions += 1
    assert len(world.runs) < 10 or num_promotions or not scheduler.max_resource_attr


class Bench:
    """Trials by hand: ``report`` reports and, where the decision says so, ends the attempt."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.trials: dict[int, Trial] = {}

    def start(self) -> TrialSuggestion:
        suggestion = self.scheduler.suggest(len(self.trials))
        trial_id = suggestion.resume_trial_id
        if trial_id is None:
            trial = Trial(len(self.trials), suggestion.config)
        else:
            trial = Trial(trial_id, suggestion.config, self.trials[trial_id].attempt + 1)
        self.trials[trial.trial_id] = trial
        self.scheduler.on_start(trial)
        return suggestion

    def report(self, trial_id: int, epoch: int, loss: float, end: bool = True) -> SchedulerDecision:
        decision = self.scheduler.on_report(self.trials[trial_id], {"epoch": epoch, "loss": loss})
        if end and decision is not CONTINUE:
            self.end(trial_id, Outcome.paused if decision is PAUSE else Outcome.stopped)
        return decision

    def end(self, trial_id: int, outcome: Outcome) -> None:
        self.scheduler.on_end(self.trials[trial_id], outcome)


def promotion_bench(**kwargs: Any) -> Bench:
    return Bench(
        ASHA(SPACE, "loss", "epoch", type="promotion", max_resource_attr="epochs", random_seed=0, **kwargs)
    )


def test_a_promotion_sequence() -> None:
    bench = promotion_bench()  # rungs 1, 3; the maximum 9
    for _ in range(3):
        assert bench.start().config["epochs"] == 1
    for trial_id, loss in enumerate([0.5, 0.3, 0.4]):
        assert bench.report(trial_id, 1, loss) is PAUSE
    # The quantile 1/3 of 0.3, 0.4, 0.5 lies at 0.367: trial 1 alone.
    promoted = bench.start()
    assert (promoted.resume_trial_id, promoted.config["epochs"]) == (1, 3)
    assert bench.start().resume_trial_id is None  # trial 3
    assert bench.report(1, 2, 0.2) is CONTINUE
    assert bench.report(1, 3, 0.1) is PAUSE
    assert bench.report(3, 1, 0.1) is PAUSE
    assert bench.start().resume_trial_id == 3
    assert bench.report(3, 3, 0.2) is PAUSE
    # Rung 3 comes before rung 1: trial 1 is the better of two.
    promoted = bench.start()
    assert (promoted.resume_trial_id, promoted.config["epochs"]) == (1, 9)
    assert bench.trials[1].attempt == 2
    assert bench.report(1, 8, 0.1) is CONTINUE
    assert bench.report(1, 9, 0.1) is STOP
    assert bench.start().resume_trial_id is None


def test_a_paused_trial_is_offered_only_when_it_has_ended() -> None:
    bench = promotion_bench()
    for trial_id, loss in enumerate([0.1, 0.5]):
        bench.start()
        assert bench.report(trial_id, 1, loss, end=False) is PAUSE
    assert bench.scheduler.suggest(2).resume_trial_id is None
    bench.end(0, Outcome.interrupted)  # its machine was lost before the pause took effect ...
    bench.scheduler.on_start(Trial(0, bench.trials[0].config, 1))  # ... and the tuner resumes it
    assert bench.scheduler.suggest(2).resume_trial_id is None
    bench.end(0, Outcome.completed)  # nothing left to do for it
    assert bench.scheduler.suggest(2).resume_trial_id == 0


def test_a_failed_trial_is_never_offered_and_its_value_still_counts() -> None:
    bench = promotion_bench()
    for trial_id, loss in enumerate([0.1, 0.2, 0.3, 0.4]):
        bench.start()
        bench.report(trial_id, 1, loss, end=False)
        bench.end(trial_id, Outcome.failed if trial_id == 0 else Outcome.paused)
    assert (
        bench.start().resume_trial_id == 1
    )  # 0.2 is within the quantile 1/3 of four values, also without trial 0
    bench.end(1, Outcome.failed)
    assert bench.start().resume_trial_id is None


def test_nan_is_the_worst() -> None:
    for mode in ("min", "max"):
        bench = promotion_bench(mode=mode)
        for _ in range(3):
            bench.start()
        for trial_id, loss in enumerate([math.nan, 0.5, -math.inf if mode == "max" else math.inf]):
            bench.report(trial_id, 1, loss)
        assert bench.scheduler.suggest(3).resume_trial_id == 1
    stopping = Bench(ASHA(SPACE, "loss", "epoch", max_resource_attr="epochs", random_seed=0))
    decisions = []
    for trial_id, loss in enumerate([0.5, 0.6, 0.4, math.nan]):
        stopping.start()
        decisions.append(stopping.report(trial_id, 1, loss))
    assert decisions == [CONTINUE, STOP, CONTINUE, STOP]


@pytest.mark.parametrize("type", ["stopping", "promotion"])
def test_a_script_that_reports_every_four_epochs(type: str) -> None:
    space = {**SPACE, "epochs": 27}
    scheduler = ASHA(space, "loss", "epoch", type=type, max_t=27, random_seed=0)
    bench = Bench(scheduler)
    decisions = []
    for trial_id, loss in enumerate([0.1, 0.2]):
        bench.start()
        decisions.append(bench.report(trial_id, 4, loss))  # counts for rung 3
    if type == "stopping":
        assert decisions == [CONTINUE, STOP]
        assert [bench.report(0, epoch, 0.1) for epoch in (8, 12, 16, 28)] == [CONTINUE, CONTINUE, CONTINUE, STOP]
    else:
        assert decisions == [PAUSE, PAUSE]
        assert bench.start().resume_trial_id == 0
        assert [bench.report(0, epoch, 0.1) for epoch in (8, 12)] == [CONTINUE, PAUSE]  # 12 counts for rung 9
        assert bench.start().resume_trial_id is None


def test_bracket_probabilities() -> None:
    """Synchronous Hyperband with eta=3 and 1, 3, 9, 27, 81 begins 81, 34, 15, 8, 5 trials (before rounding up:
    405/5, 135/4, 45/3, 15/2, 5/1)."""
    sizes = np.array([81, 33.75, 15, 7.5, 5])
    np.testing.assert_allclose(bracket_probabilities([1, 3, 9, 27, 81], 5), sizes / sizes.sum())
    np.testing.assert_allclose(bracket_probabilities([1, 3, 9, 27, 81], 2), sizes[:2] / sizes[:2].sum())


@pytest.mark.parametrize("type", ["stopping", "promotion"])
def test_brackets_begin_at_their_rung(type: str) -> None:
    scheduler = HyperbandScheduler(
        SPACE, metric="loss", type=type, max_resource_attr="epochs", brackets=7, random_seed=0
    )
    assert scheduler.num_brackets == 3  # rungs 1, 3, 9
    counts = {1: 0, 3: 0, 9: 0}
    for trial_id in range(600):
        config = scheduler.suggest(trial_id).config  # type: ignore[union-attr]
        trial = Trial(trial_id, config)
        scheduler.on_start(trial)
        if type == "promotion":
            counts[config["epochs"]] += 1
            continue
        # The worst of all is stopped at the first rung at which it is compared.
        for epoch in (1, 3, 9):
            if scheduler.on_report(trial, {"loss": float(trial_id), "epoch": epoch}) is STOP:
                counts[epoch] += 1
                break
    expected = 600 * np.array(bracket_probabilities([1, 3, 9], 3))
    np.testing.assert_allclose(list(counts.values()), expected, rtol=0.25)


class Watching:
    """A searcher that records what it is told."""

    def __init__(self) -> None:
        self.config_space = dict(SPACE)
        self.random_seed, self.random_seed_given = 0, True
        self.calls: list[Any] = []

    def reseed(self, random_seed: int) -> None:
        raise AssertionError("the seed was given")

    def suggest(self, trial_id: int) -> dict[str, Any]:
        return {"lr": 0.1, "units": 1, "act": "relu", "epochs": 9}

    def on_start(self, trial_id: int, config: dict[str, Any]) -> None:
        self.calls.append(("start", trial_id))

    def on_report(self, trial_id: int, config: dict[str, Any], metrics: Any) -> None:
        self.calls.append(metrics["epoch"])

    def on_end(self, trial_id: int, config: dict[str, Any], outcome: Outcome) -> None:
        self.calls.append(outcome)

    def metadata(self) -> dict[str, Any]:
        return {"searcher": "watching"}


def test_what_the_searcher_sees() -> None:
    for searcher_data, seen in (("rungs", [1, 3, 9]), ("all", list(range(1, 10)))):
        searcher = Watching()
        bench = Bench(
            HyperbandScheduler(
                SPACE,
                searcher=searcher,
                metric="loss",
                max_resource_attr="epochs",
                searcher_data=searcher_data,
            )
        )
        bench.start()
        for epoch in range(1, 10):
            bench.report(0, epoch, 0.1)
        assert searcher.calls == [("start", 0), *seen, Outcome.stopped]
        assert bench.scheduler.metadata()["searcher"] == "watching"


def test_attempts_of_one_trial_are_one_trial_to_the_searcher() -> None:
    searcher = Watching()
    scheduler = FIFOScheduler(SPACE, searcher=searcher, metric="loss")
    config = scheduler.suggest(0).config  # type: ignore[union-attr]
    for attempt, outcome in enumerate([Outcome.interrupted, Outcome.paused, Outcome.completed]):
        scheduler.on_start(Trial(0, config, attempt))
        scheduler.on_end(Trial(0, config, attempt), outcome)
    assert searcher.calls == [("start", 0), Outcome.completed]


@pytest.mark.parametrize("separate", [True, False])
def test_separate_brackets_are_not_compared(separate: bool) -> None:
    """A trial in bracket 0 and a worse one in bracket 1 meet at rung 3 only if they share their rungs."""
    stopping, promotion = (
        HyperbandScheduler(
            SPACE,
            metric="loss",
            type=type,
            max_resource_attr="epochs",
            brackets=2,
            rung_system_per_bracket=separate,
            random_seed=0,
        )
        for type in ("stopping", "promotion")
    )
    begins = [promotion.suggest(trial_id).config["epochs"] for trial_id in range(20)]  # type: ignore[union-attr]
    bench = Bench(stopping)
    for _ in begins:
        bench.start()
    assert bench.report(begins.index(1), 3, 0.1) is CONTINUE
    assert bench.report(begins.index(3), 3, 0.2) is (CONTINUE if separate else STOP)
