"""What the facts recorded so far amount to: a function of the journal alone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from cloudtune.errors import StoreError
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import AttemptKey
from cloudtune.report_stream import level_of
from cloudtune.trial import Outcome, Status, Trial

_STATUS_AFTER = {
    Outcome.completed: Status.completed,
    Outcome.failed: Status.failed,
    Outcome.stopped: Status.stopped,
    Outcome.paused: Status.paused,
    Outcome.interrupted: Status.interrupted,
}


@dataclass
class TrialState:
    """One trial."""

    trial: Trial
    status: Status = Status.in_progress
    #: Number of the next report expected from the current attempt.
    cursor: int = 0
    #: Highest resource level recorded, 0 if none.
    level: int = 0
    #: The same when the current attempt began: what it reports up to here is a repetition.
    level_before: int = 0
    #: What the scheduler wants to become of the running attempt; None: it goes on.
    wanted: Outcome | None = None
    wanted_since_s: float = 0.0
    stop_requested: bool = False
    #: Why a report of the running attempt is of no use; not in the journal, but found again in the report.
    complaint: str = ""
    #: Attempts in a row that were interrupted before they had reported anything new.
    fruitless: int = 0
    last_metrics: dict[str, Any] | None = None
    #: Reports made before a requested pause took effect; the scheduler sees them when the trial is resumed.
    ahead: deque[dict[str, Any]] = field(default_factory=deque)

    @property
    def is_undecided(self) -> bool:
        """Whether the scheduler still decides upon reports; so it does while an attempt is being interrupted."""
        return self.wanted is None or self.wanted is Outcome.interrupted

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.trial.trial_id, self.trial.attempt)


@dataclass
class ExperimentState:
    """All trials, and where the experiment stands. :meth:`apply` costs O(1) per event."""

    resource_attr: str | None = None
    trials: dict[int, TrialState] = field(default_factory=dict)
    #: Trials that occupy a worker, in the order of their start.
    running: dict[int, None] = field(default_factory=dict)
    #: Trials to be resumed since their attempt was interrupted, in order.
    interrupted: dict[int, None] = field(default_factory=dict)
    #: Running trials that the scheduler wants ended and nobody has asked to stop, in order.
    to_stop: dict[int, None] = field(default_factory=dict)
    num_events: int = 0
    num_sessions: int = 0
    num_failed: int = 0
    num_stopping: int = 0
    elapsed_s: float = 0.0
    #: The newest of each source.
    costs: dict[str, ev.CostMeasured] = field(default_factory=dict)
    stopped: ev.TuningStopped | None = None
    ended: ev.ExperimentEnded | None = None

    def cursors(self) -> dict[AttemptKey, int]:
        """For each running attempt, the number of its reports that are recorded."""
        return {self.trials[i].key: self.trials[i].cursor for i in self.running}

    def level_of(self, metrics: dict[str, Any]) -> int:
        """The resource level of a report, 0 if it has none."""
        return level_of(metrics, self.resource_attr)

    def is_repetition(self, trial_id: int, metrics: dict[str, Any]) -> bool:
        """Whether an earlier attempt has reported this level already."""
        return 0 < self.level_of(metrics) <= self.trials[trial_id].level_before

    def apply(self, event: ev.Event) -> None:
        """Takes one fact into account.

        Raises:
            StoreError: If it cannot follow the facts before it.
        """
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)
        self.num_events += 1
        self.elapsed_s = max(self.elapsed_s, event.elapsed_s)

    def decide(self, state: TrialState, decision: str, elapsed_s: float) -> None:
        """Notes what the scheduler has decided upon a report."""
        if decision == "CONTINUE":
            return
        state.wanted = Outcome.paused if decision == "PAUSE" else Outcome.stopped
        state.wanted_since_s = elapsed_s
        if not state.stop_requested:
            self.to_stop[state.trial.trial_id] = None

    # one method per kind of event

    def _session_started(self, event: ev.SessionStarted) -> None:
        self.num_sessions += 1

    def _trial_started(self, event: ev.TrialStarted) -> None:
        known = self.trials.get(event.trial_id)
        if known is None:
            trial = Trial(event.trial_id, event.config, event.attempt, event.time, event.checkpoint_trial_id)
            source = None if event.checkpoint_trial_id is None else self.trials.get(event.checkpoint_trial_id)
            level = source.level if source is not None else 0  # it goes on where that one's checkpoint ends
            state = self.trials[event.trial_id] = TrialState(trial, level=level, level_before=level)
        else:
            if known.status.is_running or event.attempt != known.trial.attempt + 1:
                raise self._contradiction(event, f"trial is {known.status}, attempt {known.trial.attempt}")
            state = known
            state.trial = replace(state.trial, config=event.config, attempt=event.attempt)
            state.cursor, state.level_before = 0, state.level
        state.status = Status.in_progress
        state.wanted, state.stop_requested = None, False
        state.complaint = ""
        self.interrupted.pop(event.trial_id, None)
        self.running[event.trial_id] = None

    def _trial_reported(self, event: ev.TrialReported) -> None:
        state = self._running(event.trial_id, event.attempt, event)
        state.cursor = event.seq + 1
        state.level = max(state.level, self.level_of(event.metrics))
        state.last_metrics = event.metrics
        state.fruitless = 0
        state.trial = replace(state.trial, num_reports=state.trial.num_reports + 1)
        if state.is_undecided:
            self.decide(state, event.decision, event.elapsed_s)
        elif state.wanted is Outcome.paused and self.level_of(event.metrics) > 0:
            state.ahead.append(event.metrics)

    def _stop_requested(self, event: ev.StopRequested) -> None:
        state = self._running(event.trial_id, event.attempt, event)
        state.wanted = Outcome(event.outcome)
        state.stop_requested = True
        state.status = Status.stopping
        self.num_stopping += 1
        self.to_stop.pop(event.trial_id, None)

    def _trial_ended(self, event: ev.TrialEnded) -> None:
        state = self._running(event.trial_id, event.attempt, event)
        outcome = Outcome(event.outcome)
        if state.status == Status.stopping:
            self.num_stopping -= 1
        state.status = _STATUS_AFTER[outcome]
        del self.running[event.trial_id]
        self.to_stop.pop(event.trial_id, None)
        if outcome is Outcome.interrupted:
            if not state.stop_requested:
                state.fruitless += 1
            self.interrupted[event.trial_id] = None
        elif outcome is Outcome.failed:
            self.num_failed += 1

    def _cost_measured(self, event: ev.CostMeasured) -> None:
        self.costs[event.source] = event

    def _tuning_stopped(self, event: ev.TuningStopped) -> None:
        self.stopped = event

    def _experiment_ended(self, event: ev.ExperimentEnded) -> None:
        self.ended = event

    def _running(self, trial_id: int, attempt: int, event: ev.Event) -> TrialState:
        state = self.trials.get(trial_id)
        if state is None or not state.status.is_running or state.trial.attempt != attempt:
            raise self._contradiction(event, "this attempt is not running")
        return state

    def _contradiction(self, event: ev.Event, why: str) -> StoreError:
        return StoreError(
            f"The journal contradicts itself at event {self.num_events}: {ev.encode(event)[:200]} ({why}).",
            "Two tuners may have written it. Restore the journal folder from its copy in S3 or a backup.",
        )


_HANDLERS: dict[type[ev.Event], Any] = {
    ev.SessionStarted: ExperimentState._session_started,
    ev.TrialStarted: ExperimentState._trial_started,
    ev.TrialReported: ExperimentState._trial_reported,
    ev.StopRequested: ExperimentState._stop_requested,
    ev.TrialEnded: ExperimentState._trial_ended,
    ev.CostMeasured: ExperimentState._cost_measured,
    ev.TuningStopped: ExperimentState._tuning_stopped,
    ev.ExperimentEnded: ExperimentState._experiment_ended,
}
