"""What to do next: pure. No clock, no I/O, no backend; time comes in as elapsed seconds.

The same facts in the same order lead to the same plans, whether they have just happened (:meth:`interpret`,
:meth:`plan`) or are read from a journal (:meth:`replay`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cloudtune.errors import ReplayDiverged, SpecError
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import AttemptEnded, CostSeen, Fact, ReportSeen
from cloudtune.experiment.state import ExperimentState, TrialState
from cloudtune.optimizer.scheduler import Scheduler, SchedulerDecision
from cloudtune.trial import Outcome

#: Interruptions in a row without a single new report after which a trial counts as failed.
MAX_FRUITLESS_ATTEMPTS = 3
#: A change of an estimate is recorded if it is this large, in US dollars and as a part of what is known: the
#: number of records grows with the logarithm of the cost.
_CENT, _COST_SHARE = 0.01, 0.01


@dataclass(frozen=True)
class Moment:
    """When something happens: seconds since the epoch, and seconds that the experiment has been running."""

    time: float
    elapsed_s: float


@dataclass(frozen=True)
class CoreOptions:
    """How an experiment is run. See :class:`cloudtune.tuner.Tuner` for the meanings."""

    n_workers: int
    max_failures: int = 1
    asynchronous_scheduling: bool = True
    wait_trial_completion_when_stopping: bool = False
    start_jobs_without_delay: bool = True
    #: A script that was told by ``max_resource_attr`` how far to train ends by itself; it is stopped from
    #: outside only if it has not done so after this time.
    patience_s: float = 10.0
    #: Elapsed seconds at which the stopping criterion wants to be asked, news or not.
    max_wallclock_time: float | None = None


class StatusObserver(Protocol):
    """Statistics that the stopping criterion reads."""

    def observe(self, event: ev.Event) -> None: ...

    def advance(self, elapsed_s: float) -> None: ...


class ExperimentCore:
    """One experiment's state, scheduler and rules.

    Args:
        scheduler: Fresh; the journal is replayed through it.
        options: See there.
        status: Is shown each event.
        should_stop: Looks at ``status`` and returns the reason to end tuning, or None.
        may_start: Whether a new trial may be started, given how many have been.
        lacks_room: Looks at ``status`` and returns why no attempt may be started now, or None.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        options: CoreOptions,
        status: StatusObserver,
        should_stop: Callable[[], str | None],
        may_start: Callable[[int], bool] = lambda num_started: True,
        lacks_room: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.scheduler = scheduler
        self.options = options
        self.status = status
        self.state = ExperimentState(resource_attr=scheduler.resource_attr)
        self._should_stop = should_stop
        self._may_start = may_start
        self._lacks_room = lacks_room
        #: The scheduler had nothing to suggest, and nothing has happened since.
        self._asked_in_vain = False
        #: With synchronous scheduling: a batch is being started, none of it has ended.
        self._filling = True

    # -- facts

    def interpret(self, fact: Fact, moment: Moment) -> ev.Event | None:
        """The event that ``fact`` amounts to, None if it is known already. Asks the scheduler for its decision
        on a report, so the event must be applied next."""
        if isinstance(fact, CostSeen):
            return self._interpret_cost(fact, moment)
        state = self.state.trials[fact.trial_id]
        if state.trial.attempt != fact.attempt or not state.status.is_running:
            return None
        if isinstance(fact, ReportSeen):
            return self._interpret_report(fact, state, moment)
        return self._interpret_end(fact, state, moment)

    def _interpret_report(self, fact: ReportSeen, state: TrialState, moment: Moment) -> ev.Event | None:
        if fact.seq < state.cursor:
            return None
        useless = state.wanted is Outcome.failed or self.state.is_repetition(fact.trial_id, fact.metrics)
        if useless:
            state.cursor = fact.seq + 1  # not recorded: found to be of no use again after a crash
            return None
        try:
            decision = self._decide(state, fact.metrics)
        except (
            SpecError
        ) as error:  # a report that the scheduler cannot use: the trial's fault, not the experiment's
            state.complaint = str(error)
            if state.stop_requested:
                return None
            return self._stop_request(state, Outcome.failed, moment)
        return ev.TrialReported(
            moment.time, moment.elapsed_s, fact.trial_id, fact.attempt, fact.seq, fact.metrics, str(decision)
        )

    def _decide(self, state: TrialState, metrics: dict[str, Any]) -> SchedulerDecision:
        if state.is_undecided:
            return self.scheduler.on_report(state.trial, metrics)
        # It went on reporting until the stop reached it: recorded, but decided already.
        return SchedulerDecision.PAUSE if state.wanted is Outcome.paused else SchedulerDecision.STOP

    def _interpret_cost(self, fact: CostSeen, moment: Moment) -> ev.CostMeasured | None:
        known = self.state.costs.get(fact.source)
        event = ev.CostMeasured(
            moment.time, moment.elapsed_s, fact.source, fact.usd, fact.billed_s, fact.final, fact.trial_id
        )
        if fact.final:
            is_known = known is not None and event == replace(known, time=event.time, elapsed_s=event.elapsed_s)
            return None if is_known else event
        if known is not None and known.final:
            return None  # an estimate that comes late
        before = known.usd if known is not None else 0.0
        return event if abs(fact.usd - before) >= max(_CENT, _COST_SHARE * before) else None

    def _interpret_end(self, fact: AttemptEnded, state: TrialState, moment: Moment) -> ev.TrialEnded:
        outcome, reason = fact.outcome, fact.reason
        if state.wanted is Outcome.interrupted and self._ends_by_itself(state):
            outcome = Outcome.completed  # it was asked to end when it had nothing more to do
        elif state.stop_requested and state.wanted is not None:
            outcome = state.wanted
            if outcome is Outcome.failed:
                reason = state.complaint or "It made a report that the scheduler cannot use."
        elif state.wanted is Outcome.paused and outcome is Outcome.completed:
            outcome = Outcome.paused
        elif state.wanted is not None and outcome in (Outcome.interrupted, Outcome.stopped):
            outcome = state.wanted  # it had got as far as it was to get
        elif outcome is Outcome.stopped:
            reason = reason or "stopped by somebody else"
            outcome = Outcome.stopped if fact.by_other else Outcome.interrupted
        elif outcome is Outcome.completed and state.trial.num_reports == 0:
            outcome = Outcome.failed
            reason = (
                "The script ended without a single report. Call Reporter()(epoch=..., <metric>=...) at least "
                "once; its line '[tune-metric]: {...}' must appear on standard output."
            )
        given_up = state.fruitless >= MAX_FRUITLESS_ATTEMPTS and not state.stop_requested
        if outcome is Outcome.interrupted and given_up:
            outcome = Outcome.failed
            reason = f"Interrupted {state.fruitless + 1} times in a row without a new report. {reason}"
        return ev.TrialEnded(
            moment.time, moment.elapsed_s, fact.trial_id, fact.attempt, str(outcome), reason, fact.exit_code
        )

    def apply(self, event: ev.Event) -> None:
        """Takes into account an event of :meth:`interpret` or :meth:`plan`."""
        self.state.apply(event)
        self.status.observe(event)
        if not isinstance(event, ev.CostMeasured):  # which no scheduler knows of
            self._asked_in_vain = False
        if isinstance(event, ev.TrialStarted):
            state = self.state.trials[event.trial_id]
            self.scheduler.on_start(state.trial)
            self._catch_up(state, event.elapsed_s)
        elif isinstance(event, ev.TrialEnded):
            self._filling = not self.state.running
            self.scheduler.on_end(self.state.trials[event.trial_id].trial, Outcome(event.outcome))

    def _catch_up(self, state: TrialState, elapsed_s: float) -> None:
        """Shows the scheduler what the trial has reported beyond its pause: it will not do so again."""
        while state.ahead and state.is_undecided:
            try:
                decision = self.scheduler.on_report(state.trial, state.ahead.popleft())
            except SpecError:
                continue  # of no use to the scheduler
            self.state.decide(state, decision, elapsed_s)

    def replay(self, event: ev.Event) -> None:
        """Takes into account an event that was read from the journal.

        Raises:
            ReplayDiverged: If the scheduler now decides differently.
        """
        if isinstance(event, ev.TrialReported):
            state = self.state.trials.get(event.trial_id)
            if state is not None and state.is_undecided:
                decision = self.scheduler.on_report(state.trial, event.metrics)
                if decision != event.decision:
                    raise ReplayDiverged(
                        f"Event {self.state.num_events} of the journal says {event.decision} for trial "
                        f"{event.trial_id}, the scheduler now says {decision}.",
                        "The scheduler, its arguments or its random_seed differ from those it was "
                        "begun with. Use them again, or start a new experiment under another tuner_name.",
                    )
        self.apply(event)

    # -- plans

    def plan(self, moment: Moment) -> ev.Event | None:
        """The next thing to do, to be applied and then performed; None: wait for news.

        Call until it returns None. Changes nothing that a repeated call would notice.
        """
        if self.state.ended is not None:
            return None
        self.status.advance(moment.elapsed_s)
        return self._plan_stop(moment) or self._plan_end(moment) or self._plan_start(moment)

    def next_deadline_s(self) -> float | None:
        """Elapsed seconds at which :meth:`plan` may have something to do without news."""
        deadlines = [self.state.trials[i].wanted_since_s + self.options.patience_s for i in self.state.to_stop]
        if self.options.max_wallclock_time is not None and self.state.stopped is None:
            deadlines.append(self.options.max_wallclock_time)
        return min(deadlines, default=None)

    def interrupt_running(self, moment: Moment) -> list[ev.Event]:
        """Requests to end all that runs, to be resumed in a later session."""
        return [
            self._stop_request(self.state.trials[i], self.state.trials[i].wanted or Outcome.interrupted, moment)
            for i in self.state.running
            if not self.state.trials[i].stop_requested
        ]

    def _plan_stop(self, moment: Moment) -> ev.Event | None:
        for trial_id in self.state.to_stop:
            state = self.state.trials[trial_id]
            overdue = moment.elapsed_s - state.wanted_since_s >= self.options.patience_s
            if state.wanted is not None and (overdue or not self._ends_by_itself(state)):
                return self._stop_request(state, state.wanted, moment)
        return None

    def _ends_by_itself(self, state: TrialState) -> bool:
        """Whether the script has reached the level up to which it was told to train, and not gone on."""
        attr = self.scheduler.max_resource_attr
        target = state.trial.config.get(attr) if attr else None
        return isinstance(target, int) and state.level == target

    def _stop_request(self, state: TrialState, outcome: Outcome, moment: Moment) -> ev.StopRequested:
        trial = state.trial
        return ev.StopRequested(moment.time, moment.elapsed_s, trial.trial_id, trial.attempt, str(outcome))

    def _plan_end(self, moment: Moment) -> ev.Event | None:
        stopped = self.state.stopped
        if stopped is None:
            reason = self._too_many_failures() or self._should_stop()
            if reason is None:
                return None
            drain = self.options.wait_trial_completion_when_stopping and not self._too_many_failures()
            return ev.TuningStopped(moment.time, moment.elapsed_s, reason, drain)
        if not stopped.drain:
            for trial_id in self.state.running:
                state = self.state.trials[trial_id]
                if not state.stop_requested:
                    return self._stop_request(state, state.wanted or Outcome.stopped, moment)
        if self.state.running:
            return None
        error = self._too_many_failures() or ""
        return ev.ExperimentEnded(moment.time, moment.elapsed_s, stopped.reason, error)

    def _too_many_failures(self) -> str | None:
        if self.state.num_failed <= self.options.max_failures:
            return None
        return f"{self.state.num_failed} trials failed, more than max_failures={self.options.max_failures}"

    def _plan_start(self, moment: Moment) -> ev.Event | None:
        if self.state.stopped is not None or self._asked_in_vain or not self._has_free_worker():
            return None
        no_room = self._lacks_room()
        if no_room is not None:
            return None if self.state.running else ev.TuningStopped(moment.time, moment.elapsed_s, no_room)
        resumed = next(iter(self.state.interrupted), None)
        if resumed is not None:
            trial = self.state.trials[resumed].trial
            return ev.TrialStarted(
                moment.time, moment.elapsed_s, resumed, trial.attempt + 1, trial.config, trial.checkpoint_trial_id
            )
        trial_id = len(self.state.trials)
        suggestion = self.scheduler.suggest(trial_id)
        at_limit = not self._may_start(trial_id)
        if suggestion is None or (at_limit and suggestion.resume_trial_id is None):
            self._asked_in_vain = True
            if self.state.running:
                return None
            reason = f"{trial_id} trials have been started" if at_limit else "the search space is exhausted"
            return ev.ExperimentEnded(moment.time, moment.elapsed_s, reason)
        attempt = 0
        if suggestion.resume_trial_id is not None:
            trial_id = suggestion.resume_trial_id
            attempt = self.state.trials[trial_id].trial.attempt + 1
        return ev.TrialStarted(
            moment.time,
            moment.elapsed_s,
            trial_id,
            attempt,
            suggestion.config,
            suggestion.checkpoint_trial_id,
        )

    def _has_free_worker(self) -> bool:
        busy = len(self.state.running)
        if not self.options.asynchronous_scheduling and not self._filling:
            return False
        if self.options.start_jobs_without_delay:
            # Trials that take long to stop must not pile up: twice the workers is the most that ever runs.
            busy -= min(self.state.num_stopping, self.options.n_workers)
        return busy < self.options.n_workers
