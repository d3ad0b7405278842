"""What must be true of every journal, however often its tuner died."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import AttemptKey


@dataclass
class _TrialHistory:
    attempt: int = -1
    running: bool = False
    stop_requested: bool = False
    last_seq: int = -1
    level: int = 0
    max_level: object = None
    last_outcome: str = ""


@dataclass
class JournalChecker:
    """Reads a journal event by event and notes what is wrong with it.

    Args:
        resource_attr: Key of the resource level in reports, if trials report every level 1, 2, 3, ...
        max_resource_attr: Key of the configuration that holds the level at which a trial is complete.
    """

    resource_attr: str | None = None
    max_resource_attr: str | None = None
    problems: list[str] = field(default_factory=list, init=False)
    _trials: dict[int, _TrialHistory] = field(default_factory=dict, init=False)
    _count: int = field(default=0, init=False)
    _tuning_stopped: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _elapsed_s: float = field(default=0.0, init=False)

    def feed(self, events: Iterable[ev.Event]) -> None:
        for event in events:
            self._require(not self._ended, event, "comes after the end")
            self._require(event.elapsed_s >= self._elapsed_s, event, "lies before its predecessor")
            self._elapsed_s = max(self._elapsed_s, event.elapsed_s)
            self._feed(event)
            self._count += 1

    def finish(self) -> None:
        """The experiment is said to be over: notes what is missing."""
        if not self._ended:
            self.problems.append(f"the journal of {self._count} events does not end with experiment_ended")
        for trial_id, trial in self._trials.items():
            if trial.running:
                self.problems.append(f"attempt {trial.attempt} of trial {trial_id} has no end")
            elif trial.last_outcome == "interrupted" and not self._tuning_stopped:
                self.problems.append(f"trial {trial_id} was interrupted and never resumed")

    def _feed(self, event: ev.Event) -> None:
        if isinstance(event, ev.TrialStarted):
            self._started(event)
        elif isinstance(event, ev.TrialReported):
            self._reported(event)
        elif isinstance(event, ev.StopRequested):
            trial = self._running(event, event.trial_id, event.attempt)
            self._require(not trial.stop_requested, event, "the second request")
            trial.stop_requested = True
        elif isinstance(event, ev.TrialEnded):
            self._trial_ended(event)
        elif isinstance(event, ev.TuningStopped):
            self._require(not self._tuning_stopped, event, "the second one")
            self._tuning_stopped = True
        elif isinstance(event, ev.ExperimentEnded):
            self._ended = True

    def _started(self, event: ev.TrialStarted) -> None:
        trial = self._trials.setdefault(event.trial_id, _TrialHistory())
        self._require(not trial.running, event, f"attempt {trial.attempt} is running")
        self._require(event.attempt == trial.attempt + 1, event, f"the attempt before was {trial.attempt}")
        self._require(not self._tuning_stopped, event, "tuning had stopped")
        trial.attempt, trial.running, trial.stop_requested, trial.last_seq = event.attempt, True, False, -1
        trial.max_level = event.config.get(self.max_resource_attr) if self.max_resource_attr else None

    def _reported(self, event: ev.TrialReported) -> None:
        trial = self._running(event, event.trial_id, event.attempt)
        self._require(event.seq > trial.last_seq, event, f"report {trial.last_seq} is recorded already")
        trial.last_seq = max(event.seq, trial.last_seq)
        if self.resource_attr is None:
            return
        level = event.metrics.get(self.resource_attr)
        if isinstance(level, int):
            self._require(level == trial.level + 1, event, f"the level before was {trial.level}")
            trial.level = level
        else:
            self._require(False, event, f"{self.resource_attr} is no integer")

    def _trial_ended(self, event: ev.TrialEnded) -> None:
        trial = self._running(event, event.trial_id, event.attempt)
        trial.running, trial.last_outcome = False, event.outcome
        if event.outcome == "completed" and self.resource_attr and trial.max_level is not None:
            self._require(trial.level == trial.max_level, event, f"level {trial.level} of {trial.max_level}")

    def _running(self, event: ev.Event, trial_id: int, attempt: int) -> _TrialHistory:
        trial = self._trials.setdefault(trial_id, _TrialHistory())
        self._require(trial.running and trial.attempt == attempt, event, "this attempt is not running")
        return trial

    def _require(self, holds: bool, event: ev.Event, why: str) -> None:
        if not holds:
            self.problems.append(f"event {self._count}: {ev.encode(event)[:160]}: {why}")


def check_journal(
    events: Iterable[ev.Event], resource_attr: str | None = None, max_resource_attr: str | None = None
) -> list[str]:
    """What is wrong with the journal of an experiment that has ended; empty if all is well.

    Each report must be there once and in order, each level of a trial once and without a gap, attempts one after
    the other, everything ended.
    """
    checker = JournalChecker(resource_attr, max_resource_attr)
    checker.feed(events)
    checker.finish()
    return checker.problems


def recorded_reports(events: Iterable[ev.Event]) -> dict[AttemptKey, int]:
    """How many reports of each attempt the journal accounts for."""
    counts: dict[AttemptKey, int] = {}
    for event in events:
        if isinstance(event, ev.TrialReported):
            counts[AttemptKey(event.trial_id, event.attempt)] = event.seq + 1
    return counts


def recorded_levels(events: Iterable[ev.Event], resource_attr: str) -> dict[int, set[int]]:
    """The levels of each trial that are recorded."""
    levels: dict[int, set[int]] = {}
    for event in events:
        if isinstance(event, ev.TrialReported):
            levels.setdefault(event.trial_id, set()).add(event.metrics[resource_attr])
    return levels
