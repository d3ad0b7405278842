"""Whether a journal's decisions are the scheduler's: it is followed with a fresh one, without the tuner's core.

Knows of the tuner only what is documented: an interrupted trial is resumed before anything new is tried, with the
configuration it had; once a scheduler has decided upon an attempt, further reports of it change nothing, and those
made beyond a pause are shown when the trial is resumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cloudtune.experiment import events as ev
from cloudtune.optimizer.scheduler import Scheduler, SchedulerDecision
from cloudtune.trial import Outcome, Trial

_CONTINUE = SchedulerDecision.CONTINUE
#: How an attempt may end upon which this was decided. A failure is none of the scheduler's.
_ENDS = {
    SchedulerDecision.PAUSE: (Outcome.paused, Outcome.failed),
    SchedulerDecision.STOP: (Outcome.stopped, Outcome.completed, Outcome.failed),
}


@dataclass
class _Followed:
    """One trial."""

    trial: Trial
    decided: SchedulerDecision = _CONTINUE
    #: Reports beyond a pause, which the scheduler has not seen.
    ahead: deque[dict[str, Any]] = field(default_factory=deque)


class _Follower:
    def __init__(self, scheduler: Scheduler) -> None:
        self.problems: list[str] = []
        self._scheduler = scheduler
        self._trials: dict[int, _Followed] = {}
        self._interrupted: dict[int, None] = {}

    def follow(self, event: ev.Event) -> None:
        if isinstance(event, ev.TrialStarted):
            self._started(event)
        elif isinstance(event, ev.TrialReported):
            self._reported(event)
        elif isinstance(event, ev.TrialEnded):
            self._ended(event)

    def _started(self, event: ev.TrialStarted) -> None:
        found = (event.trial_id, event.config, event.checkpoint_trial_id)
        wanted = self._wanted()
        if repr(found) != repr(wanted):  # by text, since NaN differs from itself
            self.problems.append(f"trial and configuration {found} were started, the scheduler wants {wanted}")
        trial = Trial(event.trial_id, event.config, event.attempt, event.time, event.checkpoint_trial_id)
        known = self._trials.setdefault(event.trial_id, _Followed(trial))
        known.trial, known.decided = trial, _CONTINUE
        self._interrupted.pop(event.trial_id, None)
        self._scheduler.on_start(trial)
        while known.ahead and known.decided is _CONTINUE:
            known.decided = self._scheduler.on_report(trial, known.ahead.popleft())

    def _wanted(self) -> tuple[object, object, object]:
        first = next(iter(self._interrupted), None)
        if first is not None:
            trial = self._trials[first].trial
            return first, trial.config, trial.checkpoint_trial_id
        new = len(self._trials)
        suggestion = self._scheduler.suggest(new)
        if suggestion is None:
            return None, None, None
        resumed = suggestion.resume_trial_id
        return (new if resumed is None else resumed), suggestion.config, suggestion.checkpoint_trial_id

    def _reported(self, event: ev.TrialReported) -> None:
        known = self._trials[event.trial_id]
        if known.decided is _CONTINUE:
            known.decided = self._scheduler.on_report(known.trial, event.metrics)
        elif known.decided is SchedulerDecision.PAUSE:
            known.ahead.append(event.metrics)
        if event.decision != known.decided:
            self.problems.append(
                f"{event.decision} is recorded for trial {event.trial_id}, report {event.seq} of attempt "
                f"{event.attempt}; the scheduler says {known.decided}"
            )

    def _ended(self, event: ev.TrialEnded) -> None:
        known, outcome = self._trials[event.trial_id], Outcome(event.outcome)
        allowed = _ENDS.get(known.decided, tuple(Outcome))
        if outcome not in allowed:
            self.problems.append(f"trial {event.trial_id} has {outcome}; the scheduler has said {known.decided}")
        if outcome is Outcome.interrupted:
            self._interrupted[event.trial_id] = None
        self._scheduler.on_end(known.trial, outcome)


def wrong_decisions(events: Iterable[ev.Event], scheduler: Scheduler) -> list[str]:
    """What the journal says and the scheduler would not have decided; empty if all is well.

    Args:
        events: In order, of a journal that is sound (:func:`~cloudtune.testing.journal_checks.check_journal`).
        scheduler: Fresh, as the experiment's was.
    """
    follower = _Follower(scheduler)
    for event in events:
        follower.follow(event)
    return follower.problems
