"""The eight conditions, exactly."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import journal, kinds, simulated_tuner

from cloudtune import StoppingCriterion
from cloudtune.errors import SpecError


def run(**conditions: Any) -> Any:
    tuner = simulated_tuner(StoppingCriterion(**conditions))
    tuner.run()
    return tuner


@pytest.mark.parametrize("limit", [1, 4, 5, 7])
def test_exactly_so_many_trials_are_started_and_finish(limit: int) -> None:
    tuner = run(max_num_trials_started=limit)
    started = [event for event in kinds(tuner, "trial_started") if event.attempt == 0]
    assert len(started) == limit
    assert {event.outcome for event in kinds(tuner, "trial_ended")} == {"completed"}
    assert len(kinds(tuner, "trial_reported")) == 9 * limit


def test_wallclock_time_is_exact() -> None:
    tuner = run(max_wallclock_time=123)
    stopped = kinds(tuner, "tuning_stopped")[0]
    assert stopped.elapsed_s == pytest.approx(123, abs=1e-6)
    assert tuner.tuning_status.num_trials_running == 0


def test_evaluations() -> None:
    tuner = run(max_num_evaluations=10)
    # Four workers report at the same instant: the criterion is asked between two turns of the loop.
    assert 10 <= len(kinds(tuner, "trial_reported")) < 14


def test_completed_and_finished_trials() -> None:
    assert run(max_num_trials_completed=4).tuning_status.num_trials_completed == 4
    tuner = simulated_tuner(StoppingCriterion(max_num_trials_finished=6), n_workers=1, tuner_name="finished")
    tuner.run()
    assert len([e for e in kinds(tuner, "trial_ended") if e.outcome == "completed"]) == 6


def test_metric_thresholds_end_at_the_value() -> None:
    tuner = simulated_tuner(StoppingCriterion(min_metric_value={"loss": 0.5}), n_workers=1)
    tuner.run()
    losses = [event.metrics["loss"] for event in kinds(tuner, "trial_reported")]
    assert losses[-1] <= 0.5
    assert all(loss > 0.5 for loss in losses[:-1])
    tuner = simulated_tuner(StoppingCriterion(max_metric_value={"time": 50.0}), n_workers=1, tuner_name="max")
    tuner.run()
    assert [event.metrics["time"] for event in kinds(tuner, "trial_reported")] == [10.0, 20.0, 30.0, 40.0, 50.0]


def test_cost_sums_attempts() -> None:
    world = {"curve": lambda config, level: {"loss": config["x"], "st_worker_cost": 0.25 * level}}
    tuner = simulated_tuner(StoppingCriterion(max_cost=3.0), n_workers=1, world=world)
    tuner.run()
    assert tuner.tuning_status.cost == pytest.approx(3.0)
    assert len(kinds(tuner, "trial_reported")) == 12  # nine of the first trial (2.25), three of the second


def test_any_function_of_the_status() -> None:
    tuner = simulated_tuner(lambda status: status.num_trials_completed >= 2, n_workers=1)
    tuner.run()
    assert tuner.tuning_status.num_trials_completed == 2


def test_running_trials_may_finish() -> None:
    tuner = simulated_tuner(
        StoppingCriterion(max_num_evaluations=1), wait_trial_completion_when_stopping=True, tuner_name="drain"
    )
    tuner.run()
    assert {event.outcome for event in kinds(tuner, "trial_ended")} == {"completed"}
    assert len(kinds(tuner, "trial_reported")) == 36


def test_the_end_is_the_last_event() -> None:
    assert journal(run(max_num_trials_started=2))[-1].kind == "experiment_ended"


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"max_wallclock_time": 0},
        {"max_wallclock_time": -1},
        {"max_num_trials_started": "5"},
        {"max_cost": float("nan")},
        {"min_metric_value": {"loss": "low"}},
        {"max_num_evaluations": True},
    ],
)
def test_what_cannot_be_a_limit_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        StoppingCriterion(**conditions)
