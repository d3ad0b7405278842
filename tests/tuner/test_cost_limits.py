"""A backend that says what its trials cost: what the tuner makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from paid_backend import PaidBackend
from simulated import asha, kinds, random_search, world

from cloudtune import StoppingCriterion
from cloudtune.clock import VirtualClock
from cloudtune.experiment.ports import HasCost
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Outcome, Trial
from cloudtune.tuner import Tuner
from cloudtune.tuner_callback import TunerCallback


def paid_tuner(
    max_cost: float, n_workers: int = 2, scheduler: Any = None, visible: bool = False, **of_world: Any
) -> Tuner:
    clock = VirtualClock()
    return Tuner(
        PaidBackend(world(clock, **of_world)),
        scheduler or random_search(),
        StoppingCriterion(max_cost=max_cost),
        n_workers,
        clock=None if visible else clock,  # the view is for people, who live in real time
        tuner_name="paid",
        suffix_tuner_name=False,
        sleep_time=5.0,
    )


def test_nothing_is_started_that_would_exceed_the_limit() -> None:
    tuner = paid_tuner(5.0)  # a trial costs 0.90
    tuner.run()
    assert {event.outcome for event in kinds(tuner, "trial_ended")} == {"completed"}  # none was cut off
    assert tuner.tuning_status.num_trials_started == 5
    assert 5.0 - 0.91 < tuner.tuning_status.cost < 5.0
    assert kinds(tuner, "experiment_ended")[0].reason == "max_cost=5 leaves no room for another trial"


def test_the_first_trials_are_cut_off_when_the_limit_is_reached() -> None:
    tuner = paid_tuner(1.0)
    tuner.run()
    assert kinds(tuner, "experiment_ended")[0].reason == "max_cost=1 is reached"
    assert tuner.tuning_status.cost == pytest.approx(1.0, abs=0.15)  # polled every five seconds


def test_resumed_trials_count_as_well() -> None:
    tuner = paid_tuner(6.0, scheduler=asha(type="promotion", grace_period=1, reduction_factor=3))
    tuner.run()
    started = kinds(tuner, "trial_started")
    assert any(event.attempt > 0 for event in started)
    assert 4.5 < tuner.tuning_status.cost < 6.5
    interrupted = paid_tuner(1.5, n_workers=1, faults=[Fault(0, 0, 8, Outcome.interrupted)])
    interrupted.paths = type(tuner.paths)(tuner.paths.dir.with_name("interrupted"))
    interrupted.run()  # the first attempt has cost 0.75: so may the second
    assert len(kinds(interrupted, "trial_started")) == 1
    assert "leaves no room" in kinds(interrupted, "experiment_ended")[0].reason


def test_what_was_measured_goes_before_what_trials_report() -> None:
    tuner = paid_tuner(5.0, curve=lambda config, level: {"loss": config["x"], "st_worker_cost": 100.0 * level})
    tuner.run()
    status = tuner.tuning_status
    assert status.cost == pytest.approx(sum(event.usd for event in final_costs(tuner)) + status.costs.other_usd)
    assert [row.worker_cost for row in status.trial_rows()] == [pytest.approx(0.90125)] * 5


def final_costs(tuner: Tuner) -> list[Any]:
    return [event for event in kinds(tuner, "cost_measured") if event.final]


def test_a_resumed_experiment_knows_its_cost() -> None:
    tuner = paid_tuner(5.0)
    tuner.run()
    again = paid_tuner(5.0)
    again.run()  # has ended: only read
    for name in ("cost", "user_time", "num_trials_started"):
        assert getattr(again.tuning_status, name) == pytest.approx(getattr(tuner.tuning_status, name))


def test_the_next_session_knows_what_is_not_settled() -> None:
    class Bad(TunerCallback):
        def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
            raise ZeroDivisionError("oops")

    tuner = paid_tuner(5.0)
    tuner.callbacks.append(Bad())
    with pytest.raises(ZeroDivisionError):
        tuner.run()
    known = {event.source: event.final for event in kinds(tuner, "cost_measured")}
    assert "tuner" in known and True in known.values()
    again = paid_tuner(5.0)
    again.run()
    assert isinstance(again.trial_backend, PaidBackend)
    assert set(again.trial_backend.unsettled) == {source for source, final in known.items() if not final}


def test_metadata_have_the_cost_and_continue_to_be_recognised() -> None:
    tuner = paid_tuner(5.0)
    tuner.run()
    before = json.loads(tuner.paths.metadata.read_text())
    cost = before["cost"]
    assert cost["usd"] == pytest.approx(cost["trials_usd"] + cost["other_usd"]) == tuner.tuning_status.cost
    assert cost["trials_usd"] == pytest.approx(5 * 0.90125) and cost["other_usd"] > 0
    assert cost["billed_s"] > 400 and cost["estimated"] is True and cost["prices_date"]
    paid_tuner(5.0).run()  # the settings are those of before
    assert json.loads(tuner.paths.metadata.read_text()) == before


def test_without_cost_metadata_say_nothing_of_it() -> None:
    clock = VirtualClock()
    criterion = StoppingCriterion(max_num_trials_started=1)
    tuner = Tuner(ScriptedBackend(world(clock)), random_search(), criterion, 1, clock=clock, tuner_name="free")
    tuner.run()
    assert "cost" not in json.loads(tuner.paths.metadata.read_text())


def test_the_highest_cost_is_told_before_anything_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    tuner = paid_tuner(0.5, n_workers=3, visible=True)
    assert isinstance(tuner.trial_backend, HasCost)
    tuner.run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "paid costs at most $0.5 with twice 3 workers."  # while some are stopping
    assert "of $0.50 (other than trials: $" in lines[-1]
