"""Hooks into a tuning run: subclass, override what you need, pass to ``Tuner(callbacks=[...])``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cloudtune.experiment import events as ev
from cloudtune.experiment.state import ExperimentState
from cloudtune.optimizer.scheduler import SchedulerDecision
from cloudtune.trial import Outcome, Status, Trial

if TYPE_CHECKING:
    from cloudtune.tuner import Tuner


class TunerCallback:
    """All methods do nothing by default.

    They are called in the tuner's thread after the fact has been recorded, so an exception costs no result: it
    ends the session, running trials are interrupted, and the experiment can be resumed. When an experiment is
    resumed, the events of earlier sessions are not repeated.
    """

    def on_tuning_start(self, tuner: Tuner) -> None:
        """A session begins."""

    def on_tuning_end(self) -> None:
        """The session ends, well or not."""

    def on_loop_start(self) -> None:
        """A turn of the loop begins."""

    def on_loop_end(self) -> None:
        """A turn of the loop has ended."""

    def on_event(self, event: ev.Event) -> None:
        """Anything was recorded; called before the specific hook."""

    def on_fetch_status_results(
        self, trial_status_dict: dict[int, tuple[Trial, Status]], new_results: list[tuple[int, dict[str, Any]]]
    ) -> None:
        """Reports have arrived; ``trial_status_dict`` has the trials they are of."""

    def on_start_trial(self, trial: Trial) -> None:
        """A new trial has been started."""

    def on_resume_trial(self, trial: Trial) -> None:
        """A paused or interrupted trial has been started again (``trial.attempt`` > 0)."""

    def on_trial_result(
        self, trial: Trial, status: Status, result: dict[str, Any], decision: SchedulerDecision
    ) -> None:
        """A report, and what the scheduler decided."""

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        """It ended by itself; ``result`` is its last report."""

    def on_trial_paused(self, trial: Trial) -> None:
        """It ended, to be resumed perhaps."""

    def on_trial_stopped(self, trial: Trial) -> None:
        """It was stopped for good."""

    def on_trial_failed(self, trial: Trial, reason: str) -> None:
        """It ended with an error; ``reason`` holds the end of its error output."""

    def on_trial_interrupted(self, trial: Trial, reason: str) -> None:
        """It lost its machine or its tuner and will be resumed."""

    def on_tuning_sleep(self, sleep_time: float) -> None:
        """The tuner waits for news, at most ``sleep_time`` seconds."""

    def on_tuner_save(self) -> None:
        """Snapshot and results have been written."""


class CallbackObserver:
    """Translates the loop's events into the hooks of :class:`TunerCallback`."""

    def __init__(self, callbacks: Sequence[TunerCallback], tuner: Tuner, state: ExperimentState) -> None:
        self._callbacks = list(callbacks)
        self._tuner = tuner
        self._state = state

    def on_session(self, past: Sequence[ev.Event]) -> None:
        for callback in self._callbacks:
            callback.on_tuning_start(self._tuner)
            callback.on_loop_start()

    def on_events(self, events: Sequence[ev.Event]) -> None:
        reports = [event for event in events if isinstance(event, ev.TrialReported)]
        for callback in self._callbacks:
            if reports:
                involved = {event.trial_id: self._state.trials[event.trial_id] for event in reports}
                callback.on_fetch_status_results(
                    {trial_id: (state.trial, state.status) for trial_id, state in involved.items()},
                    [(event.trial_id, event.metrics) for event in reports],
                )
            for event in events:
                callback.on_event(event)
                self._dispatch(callback, event)

    def on_turn(self) -> None:
        for callback in self._callbacks:
            callback.on_loop_end()
            callback.on_tuning_sleep(self._tuner.sleep_time)
            callback.on_loop_start()

    def on_session_end(self) -> None:
        errors: list[Exception] = []
        for callback in self._callbacks:
            try:
                callback.on_tuning_end()
            except Exception as error:  # noqa: BLE001  every callback is told; the first error is raised
                errors.append(error)
        if errors:
            raise errors[0]

    def _dispatch(self, callback: TunerCallback, event: ev.Event) -> None:
        if isinstance(event, ev.TrialStarted):
            trial = self._state.trials[event.trial_id].trial
            (callback.on_start_trial if event.attempt == 0 else callback.on_resume_trial)(trial)
        elif isinstance(event, ev.TrialReported):
            trial = self._state.trials[event.trial_id].trial
            decision = SchedulerDecision(event.decision)
            callback.on_trial_result(trial, Status.in_progress, event.metrics, decision)
        elif isinstance(event, ev.TrialEnded):
            self._dispatch_end(callback, event)

    def _dispatch_end(self, callback: TunerCallback, event: ev.TrialEnded) -> None:
        state = self._state.trials[event.trial_id]
        trial, outcome = state.trial, Outcome(event.outcome)
        if outcome is Outcome.completed:
            callback.on_trial_complete(trial, state.last_metrics)
        elif outcome is Outcome.paused:
            callback.on_trial_paused(trial)
        elif outcome is Outcome.stopped:
            callback.on_trial_stopped(trial)
        elif outcome is Outcome.failed:
            callback.on_trial_failed(trial, event.reason)
        else:
            callback.on_trial_interrupted(trial, event.reason)
