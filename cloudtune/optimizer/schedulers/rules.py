"""The two ways in which asynchronous successive halving uses its rungs.

Both decide at a trial's reports, each with its own consequence: *stopping* ends a trial that is not good enough
for its rung; *promotion* pauses every trial at its rung, and resumes the good ones when a worker is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from cloudtune.optimizer.scheduler import SchedulerDecision
from cloudtune.optimizer.schedulers.rungs import Ladder, Rung
from cloudtune.trial import Outcome


@dataclass(frozen=True)
class Promotion:
    """A paused trial that may go on to ``level``."""

    trial_id: int
    level: int


class Rule(Protocol):
    """Trials enter a bracket: bracket ``b`` begins at the ``b``-th level."""

    def suggest(self, bracket: int) -> Promotion | None:
        """A trial that should be resumed before a new one is started in ``bracket``. Changes nothing."""
        ...

    def first_level(self, bracket: int) -> int:
        """How far a new trial in ``bracket`` is to go at first."""
        ...

    def on_start(self, trial_id: int, bracket: int) -> None:
        """A new trial."""
        ...

    def on_resume(self, trial_id: int) -> None:
        """A further attempt, after a pause (then this is the promotion) or an interruption."""
        ...

    def on_report(self, trial_id: int, level: int, value: float) -> tuple[SchedulerDecision, bool]:
        """The decision, and whether the value was recorded in a rung or at the maximum."""
        ...

    def on_end(self, trial_id: int, outcome: Outcome) -> None: ...


class Brackets:
    """The ladders of all brackets: one that they share, or one each.

    Args:
        levels: All rung levels, the maximum included.
        number: How many brackets.
        separate: Trials of different brackets are not compared.
    """

    def __init__(self, levels: Sequence[int], number: int, separate: bool) -> None:
        self.levels = list(levels)
        self.max_t = self.levels[-1]
        starts = range(number) if separate else [0]
        self.ladders = [Ladder(self.levels[start:-1], self.max_t) for start in starts]

    def ladder(self, bracket: int) -> Ladder:
        return self.ladders[bracket if len(self.ladders) > 1 else 0]

    def first_level(self, bracket: int) -> int:
        return self.levels[bracket]


class StoppingRule:
    """A trial goes on past a rung if its value there is within the rung's cutoff (or the rung is almost empty)."""

    def __init__(self, brackets: Brackets) -> None:
        self._brackets = brackets
        self._bracket: dict[int, int] = {}
        #: The highest rung at which each trial was recorded; before that, where its bracket begins, minus 1.
        self._passed: dict[int, int] = {}

    def suggest(self, bracket: int) -> Promotion | None:
        return None

    def first_level(self, bracket: int) -> int:
        return self._brackets.max_t

    def on_start(self, trial_id: int, bracket: int) -> None:
        self._bracket[trial_id] = bracket
        self._passed[trial_id] = self._brackets.first_level(bracket) - 1

    def on_resume(self, trial_id: int) -> None:
        """After an interruption: nothing changes."""

    def on_report(self, trial_id: int, level: int, value: float) -> tuple[SchedulerDecision, bool]:
        if level >= self._brackets.max_t:
            return SchedulerDecision.STOP, True
        ladder = self._brackets.ladder(self._bracket[trial_id])
        rung = ladder.reached(level, above=self._passed[trial_id])
        if rung is None:
            return SchedulerDecision.CONTINUE, False
        self._passed[trial_id] = rung.level
        rung.record(trial_id, value)
        cutoff = rung.cutoff()
        goes_on = cutoff is None or value <= cutoff
        return SchedulerDecision.CONTINUE if goes_on else SchedulerDecision.STOP, True

    def on_end(self, trial_id: int, outcome: Outcome) -> None:
        """What the trial has recorded remains."""


class _Phase(Enum):
    RUNNING = auto()  #: on its way to its next rung, or interrupted there
    LEAVING = auto()  #: recorded, asked to pause, not yet ended
    PAUSED = auto()  #: ended, may be promoted
    OVER = auto()


@dataclass
class _Runner:
    ladder: Ladder
    passed: int  #: highest rung at which it was recorded; before that, where its bracket begins, minus 1
    rung: Rung | None = None  #: where it waits
    phase: _Phase = _Phase.RUNNING


class PromotionRule:
    """Every trial pauses at its rung. A free worker resumes the best one that waits in the highest rung in which
    one is within the cutoff."""

    def __init__(self, brackets: Brackets) -> None:
        self._brackets = brackets
        self._runners: dict[int, _Runner] = {}

    def suggest(self, bracket: int) -> Promotion | None:
        for rung in reversed(self._brackets.ladder(bracket).rungs):
            trial_id = rung.promotable()
            if trial_id is not None:
                return Promotion(trial_id, rung.next_level)
        return None

    def first_level(self, bracket: int) -> int:
        return self._brackets.first_level(bracket)

    def on_start(self, trial_id: int, bracket: int) -> None:
        level = self._brackets.first_level(bracket)
        self._runners[trial_id] = _Runner(self._brackets.ladder(bracket), passed=level - 1)

    def on_resume(self, trial_id: int) -> None:
        runner = self._runners[trial_id]
        if runner.phase is _Phase.PAUSED and runner.rung is not None:
            runner.rung.leave(trial_id)
            runner.rung, runner.phase = None, _Phase.RUNNING

    def on_report(self, trial_id: int, level: int, value: float) -> tuple[SchedulerDecision, bool]:
        runner = self._runners[trial_id]
        if level >= self._brackets.max_t:
            runner.phase = _Phase.OVER
            return SchedulerDecision.STOP, True
        if runner.phase is not _Phase.RUNNING:
            return SchedulerDecision.PAUSE, False  # it was interrupted before its pause took effect
        rung = runner.ladder.reached(level, above=runner.passed)
        if rung is None:
            return SchedulerDecision.CONTINUE, False
        rung.record(trial_id, value)
        runner.passed, runner.rung, runner.phase = rung.level, rung, _Phase.LEAVING
        return SchedulerDecision.PAUSE, True

    def on_end(self, trial_id: int, outcome: Outcome) -> None:
        runner = self._runners[trial_id]
        if outcome is Outcome.interrupted:
            return
        # A script that was told how far to train ends by itself there: that is its pause.
        pauses = outcome in (Outcome.paused, Outcome.completed)
        if pauses and runner.phase is _Phase.LEAVING and runner.rung is not None:
            runner.rung.wait(trial_id)
            runner.phase = _Phase.PAUSED
        else:
            runner.phase = _Phase.OVER
