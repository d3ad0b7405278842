"""TuningStatus against journals written by hand and a recount from scratch."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.experiment.events import (
    CostMeasured,
    Event,
    StopRequested,
    TimePassed,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from cloudtune.tuning_status import TuningStatus, dollars


def start(trial: int, at: float, attempt: int = 0, **config: object) -> Event:
    return TrialStarted(at, at, trial, attempt, dict(config))


def report(trial: int, at: float, attempt: int = 0, **metrics: object) -> Event:
    return TrialReported(at, at, trial, attempt, 0, dict(metrics), "CONTINUE")


def end(trial: int, at: float, outcome: str, attempt: int = 0) -> Event:
    return TrialEnded(at, at, trial, attempt, outcome)


def test_counts_follow_the_life_of_trials() -> None:
    status = TuningStatus(["loss"])
    for event in [start(i, float(i)) for i in range(6)]:
        status.observe(event)
    assert (status.num_trials_started, status.num_trials_running) == (6, 6)
    for trial, outcome in enumerate(["completed", "failed", "stopped", "paused", "interrupted"]):
        status.observe(StopRequested(7.0, 7.0, trial, 0, outcome))
        assert status.num_trials_running == 6 - trial  # stopping trials occupy their workers
        status.observe(end(trial, 8.0, outcome))
    counts = [status.num_trials_completed, status.num_trials_failed, status.num_trials_stopped,
              status.num_trials_paused, status.num_trials_interrupted]  # fmt: skip
    assert counts == [1, 1, 1, 1, 1]
    assert (status.num_trials_finished, status.num_trials_running, status.num_trials_started) == (3, 1, 6)
    status.observe(start(3, 9.0, attempt=1, epochs=9))
    assert (status.num_trials_paused, status.num_trials_running, status.num_trials_started) == (0, 2, 6)
    assert status.running_rows()[0].config == {"epochs": 9}
    assert "2 trials running, 3 finished (1 until the end), 1 failed, 9.00s wallclock-time" in str(status)
    assert "$" not in str(status)


def test_time_and_cost_are_summed_over_attempts() -> None:
    status = TuningStatus(["loss"], [
        start(0, 0.0), report(0, 1.0, st_worker_time=10.0, st_worker_cost=1.0),
        report(0, 2.0, st_worker_time=20.0, st_worker_cost=2.0), end(0, 2.0, "paused"),
        start(0, 3.0, 1), report(0, 4.0, 1, st_worker_time=5.0, st_worker_cost=0.5),
        start(1, 3.0), report(1, 5.0, st_worker_time=1.0),
    ])  # fmt: skip
    assert (status.user_time, status.cost) == (26.0, 2.5)
    assert [row.worker_time for row in status.trial_rows()] == [25.0, 1.0]
    assert "$2.50 estimated cost" in str(status)


def test_statistics_ignore_what_is_no_number() -> None:
    status = TuningStatus(["loss"], [start(0, 0.0, lr=1), start(1, 0.0, lr=2)])
    for loss in (3, math.nan, 1.5, "high", True, None):
        status.observe(report(0, 1.0, loss=loss))
    status.observe(report(1, 1.0, loss=math.inf, other=1))
    mine = status.trial_metric_statistics[0]
    assert (mine.count, mine.min_metrics, mine.max_metrics) == (6, {"loss": 1.5}, {"loss": 3})
    assert (mine.sum_metrics, mine.last_metrics) == ({"loss": 4.5}, {"loss": None})
    overall = status.overall_metric_statistics
    last = {"loss": math.inf, "other": 1}
    assert (overall.count, overall.max_metrics, overall.last_metrics) == (7, last, last)
    best = status.best("loss", "min")
    assert best is not None and (best.trial_id, best.value, best.config) == (0, 1.5, {"lr": 1})
    worst = status.best("loss", "max")
    assert worst is not None and worst.trial_id == 1
    assert status.best("unknown", "min") is None
    frame = status.get_dataframe()
    assert list(frame.columns) == ["trial_id", "status", "iter", "lr", "loss", "worker-time", "worker-cost"]
    assert frame["iter"].tolist() == [6, 1]


def test_wallclock_time_comes_from_the_journal() -> None:
    status = TuningStatus(["loss"], [TimePassed(1e9, 12.0)])
    assert status.wallclock_time == 12.0
    status.advance(13.5)
    status.advance(13.0)
    assert status.wallclock_time == 13.5
    assert status.get_dataframe().empty


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(allow_nan=True)), max_size=30))
def test_best_is_the_extreme_of_all_reports(reports: list[tuple[int, float]]) -> None:
    status = TuningStatus(["m"], [start(i, 0.0) for i in range(4)])
    for trial, value in reports:
        status.observe(report(trial, 1.0, m=value))
    numbers = [(value, trial) for trial, value in reports if not math.isnan(value)]
    for mode, choose in (("min", min), ("max", max)):
        best = status.best("m", mode)
        if not numbers:
            assert best is None
        else:
            assert best is not None and best.value == choose(value for value, _ in numbers)


@pytest.mark.parametrize("trials", [20_000])
def test_an_event_costs_constant_time(trials: int) -> None:
    status = TuningStatus(["loss"])
    begin = time.process_time()
    for i in range(trials):
        status.observe(start(i, float(i), lr=0.1))
        status.observe(report(i, float(i), loss=1.0, st_worker_time=1.0))
        status.observe(end(i, float(i), "completed"))
        str(status)
    assert time.process_time() - begin < 60  # 0.4 s on an idle machine; minutes if it grew with the trials
    assert status.num_trials_completed == trials


def cost(source: str, usd: float, final: bool = True, trial: int | None = None) -> Event:
    return CostMeasured(0.0, 0.0, source, usd, 60.0, final, trial)


def test_measured_cost_replaces_what_a_trial_reports_and_nothing_is_counted_twice() -> None:
    status = TuningStatus(["loss"], [
        start(0, 0.0), report(0, 1.0, st_worker_cost=1.0), start(1, 0.0), report(1, 1.0, st_worker_cost=0.25),
        cost("0-0", 2.0, False, 0), report(0, 2.0, st_worker_cost=9.0), cost("0-0", 3.0, True, 0),
        cost("0-1", 0.5, True, 0), cost("tuner", 0.125, False), cost("tuner", 0.25, False),
    ])  # fmt: skip
    assert status.cost == 3.5 + 0.25 + 0.25
    assert [row.worker_cost for row in status.trial_rows()] == [3.5, 0.25]
    assert (status.costs.usd, status.costs.other_usd, status.costs.billed_s) == (3.75, 0.25, 180.0)
    assert status.cost_is_estimated and "$4.00 estimated cost" in str(status)
    assert status.cost_text() == "$4.00 (trials $3.75, other $0.25; estimated)"
    for event in (cost("tuner", 0.0), cost("1-0", 0.004, True, 1)):
        status.observe(event)
    assert status.cost_text() == "$3.50 (as billed)"


def test_what_was_measured_in_the_end_is_no_estimate() -> None:
    """Sums in another order differ by a rounding error, which is no cost that was reported and not measured."""
    status = TuningStatus(["loss"], [start(trial, 0.0) for trial in range(3)])
    for step in range(1, 8):
        for trial in range(3):
            status.observe(report(trial, float(step), st_worker_cost=0.1 * step * (trial + 1) / 3))
    for trial in (2, 0, 1):
        assert status.cost_is_estimated
        status.observe(cost(f"{trial}-0", 0.5, trial=trial))
    assert not status.cost_is_estimated
    assert status.cost == 1.5 and status.cost_text() == "$1.50 (as billed)"


def test_another_trial_is_expected_to_cost_as_much_as_those_that_have_ended() -> None:
    status = TuningStatus(["loss"], [start(i, 0.0) for i in range(3)])
    assert status.cost_with_another_trial() is None
    status.observe(cost("0-0", 0.0, True, 0))  # found no instance
    status.observe(cost("1-0", 0.25, False, 1))
    assert status.cost_with_another_trial() is None
    status.observe(cost("0-0r1", 1.0, True, 0))
    status.observe(end(0, 1.0, "completed"))
    # Spent 1.25, to come 0.75 of trial 1, 1.00 of trial 2 and 1.00 of the next one.
    assert status.cost_with_another_trial() == pytest.approx(4.0)
    status.observe(cost("1-0", 5.0, False, 1))  # more than expected: nothing more is expected of it
    assert status.cost_with_another_trial() == pytest.approx(6.0 + 1.0 + 1.0)


@pytest.mark.parametrize(
    ("usd", "text"), [(0.0012, "$0.0012"), (0.0994, "$0.0994"), (0.1, "$0.10"), (1234.5, "$1,234.50")]
)
def test_small_amounts_have_more_digits(usd: float, text: str) -> None:
    assert dollars(usd) == text
