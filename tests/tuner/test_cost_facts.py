"""What a backend says about cost, as far as the journal: nothing twice, nothing of no interest, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import random_search

from cloudtune.experiment import events as ev
from cloudtune.experiment.core import CoreOptions, ExperimentCore, Moment
from cloudtune.experiment.ports import AttemptEnded, CostSeen
from cloudtune.trial import Outcome
from cloudtune.tuning_status import TuningStatus


def new_core() -> ExperimentCore:
    return ExperimentCore(random_search(), CoreOptions(n_workers=1), TuningStatus(["loss"]), lambda: None)


def tell(core: ExperimentCore, facts: Sequence[CostSeen]) -> list[ev.Event]:
    """What is recorded of them."""
    recorded = []
    for second, fact in enumerate(facts):
        event = core.interpret(fact, Moment(100.0 + second, float(second)))
        if event is not None:
            core.apply(event)
            recorded.append(event)
    return recorded


def test_estimates_are_recorded_when_they_change_by_a_cent_and_a_hundredth() -> None:
    recorded = tell(
        new_core(), [CostSeen("job", usd, 60.0, False) for usd in (0.005, 0.01, 0.015, 0.02, 5.0, 5.04)]
    )
    assert [event.usd for event in recorded if isinstance(event, ev.CostMeasured)] == [0.01, 0.02, 5.0]


def test_the_final_cost_is_recorded_once_whatever_it_is_and_stands() -> None:
    core = new_core()
    final = CostSeen("job", 0.0003, 7.0, True, trial_id=0)
    recorded = tell(core, [final, final, CostSeen("job", 3.0, 90.0, False, trial_id=0), final])
    assert recorded == [ev.CostMeasured(100.0, 0.0, "job", 0.0003, 7.0, True, 0)]
    corrected = CostSeen("job", 0.0004, 8.0, True, trial_id=0)
    assert len(tell(core, [corrected, corrected])) == 1
    assert core.state.costs["job"].usd == 0.0004


def test_costs_of_trials_that_have_ended_or_never_were_and_of_none_are_facts_too() -> None:
    core = new_core()
    started = core.plan(Moment(0.0, 0.0))
    assert started is not None
    core.apply(started)
    end = core.interpret(AttemptEnded(0, 0, Outcome.failed, "broken"), Moment(1.0, 1.0))
    assert end is not None
    core.apply(end)
    costs = [CostSeen("a", 1.0, 1.0, True, 0), CostSeen("b", 1.0, 1.0, True, 9), CostSeen("c", 1.0, 1.0, True)]
    assert len(tell(core, costs)) == 3


def test_cost_is_no_reason_to_ask_the_scheduler_again() -> None:
    core = new_core()
    asked: list[int] = []
    suggest = core.scheduler.suggest

    def counting(trial_id: int) -> object:
        asked.append(trial_id)
        return suggest(trial_id) if trial_id == 0 else None

    core.scheduler.suggest = counting  # type: ignore[method-assign,assignment]
    core.options = CoreOptions(n_workers=2)
    for _ in range(3):
        while (event := core.plan(Moment(0.0, 0.0))) is not None:
            core.apply(event)
        tell(core, [CostSeen("job", len(asked) + 1.0, 1.0, True)])
    assert asked == [0, 1]


def test_a_journal_with_costs_reads_as_it_was_written() -> None:
    for event in (
        ev.CostMeasured(1.0, 2.0, "warm pool of 0-0-x", 0.25, 300.0, True),
        ev.CostMeasured(1.0, 2.0, "0-0-x", 0.25, 300.0, False, 0),
    ):
        assert ev.decode(ev.encode(event)) == event
    assert "trial_id" in ev.encode(event)


costs = st.builds(
    CostSeen,
    source=st.sampled_from(["0-0-x", "1-0-x", "1-1-x", "warm pool of 0-0-x"]),
    usd=st.floats(0, 100),
    billed_s=st.floats(0, 1e5),
    final=st.just(False),
)


@settings(max_examples=60, deadline=None)
@given(estimates=st.lists(costs, max_size=20), data=st.data())
def test_in_any_order_and_repeated_the_total_is_that_of_the_last_values(
    estimates: list[CostSeen], data: st.DataObject
) -> None:
    finals = {
        fact.source: CostSeen(
            fact.source, data.draw(st.floats(0, 100)), 1.0, True, data.draw(st.sampled_from([None, 0, 1]))
        )
        for fact in estimates
    }
    facts = data.draw(st.permutations([*estimates, *finals.values(), *finals.values()]))
    core = new_core()
    recorded = tell(core, facts)
    total = sum(fact.usd for fact in finals.values())
    assert core.status.cost == pytest.approx(total)  # type: ignore[attr-defined]
    replayed = new_core()
    for event in recorded:
        replayed.replay(ev.decode(ev.encode(event)))
    assert replayed.state.costs == core.state.costs
    assert tell(replayed, facts[-1:]) == []  # a successor is told again
