"""What the facts amount to."""

from __future__ import annotations

import pytest

from cloudtune.errors import StoreError
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import AttemptKey
from cloudtune.experiment.state import ExperimentState


def report(trial_id: int, level: int, seq: int, attempt: int = 0) -> ev.TrialReported:
    return ev.TrialReported(0.0, float(level), trial_id, attempt, seq, {"epoch": level}, "CONTINUE")


def test_a_trial_that_begins_with_a_checkpoint_begins_at_its_level() -> None:
    state = ExperimentState("epoch")
    state.apply(ev.TrialStarted(0.0, 0.0, 0, 0, {"x": 1}))
    for level in (1, 2, 3):
        state.apply(report(0, level, level - 1))
    state.apply(ev.TrialStarted(0.0, 4.0, 1, 0, {"x": 2}, checkpoint_trial_id=0))
    assert state.trials[1].level == 3
    assert state.is_repetition(1, {"epoch": 3})
    assert not state.is_repetition(1, {"epoch": 4})


@pytest.mark.parametrize("level", [float("inf"), float("-inf"), float("nan"), "3", None, -1])
def test_a_level_that_is_none_is_none(level: object) -> None:
    """Whatever a script reports: it is not the tuner that fails."""
    state = ExperimentState("epoch")
    state.apply(ev.TrialStarted(0.0, 0.0, 0, 0, {}))
    assert state.level_of({"epoch": level}) == 0
    assert not state.is_repetition(0, {"epoch": level})


def test_the_cursor_begins_anew_with_each_attempt() -> None:
    state = ExperimentState("epoch")
    state.apply(ev.TrialStarted(0.0, 0.0, 0, 0, {}))
    state.apply(report(0, 1, 0))
    assert state.cursors() == {AttemptKey(0, 0): 1}
    state.apply(ev.TrialEnded(0.0, 1.0, 0, 0, "interrupted"))
    assert state.cursors() == {}
    state.apply(ev.TrialStarted(0.0, 2.0, 0, 1, {}))
    assert state.cursors() == {AttemptKey(0, 1): 0}
    assert state.is_repetition(0, {"epoch": 1})


@pytest.mark.parametrize(
    "event",
    [
        report(7, 1, 0),
        ev.TrialEnded(0.0, 0.0, 0, 3, "completed"),
        ev.TrialStarted(0.0, 0.0, 0, 0, {}),
        ev.TrialStarted(0.0, 0.0, 0, 2, {}),
    ],
)
def test_a_journal_that_contradicts_itself_is_refused(event: ev.Event) -> None:
    state = ExperimentState("epoch")
    state.apply(ev.TrialStarted(0.0, 0.0, 0, 0, {}))
    with pytest.raises(StoreError, match="contradicts itself at event 1"):
        state.apply(event)
