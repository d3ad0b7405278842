"""The one loop: asks the backend for news, records what they amount to, performs what the core plans.

One turn is: poll, interpret, plan, **append once**, perform, tell the observers, wait. Nothing is performed that
is not recorded; whatever is recorded and was not performed is asked for again when the experiment is resumed.
Attempts that outlive the tuner's machine are started when that is recorded where it does so, too.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from cloudtune.clock import Clock
from cloudtune.errors import CloudtuneError, Conflict, StoreError
from cloudtune.experiment import events as ev
from cloudtune.experiment.core import ExperimentCore, Moment
from cloudtune.experiment.ports import (
    AttemptEnded,
    AttemptKey,
    BackendContext,
    ExperimentStore,
    SupportsAcknowledge,
    SupportsRetire,
    TrialBackend,
)
from cloudtune.optimizer.scheduler import HasRungLevels
from cloudtune.paths import ExperimentPaths

logger = logging.getLogger(__name__)

#: Elapsed time is recorded at least this often.
HEARTBEAT_S = 30.0
#: How often is looked whether what is to be started is durable, seconds.
_DURABLE_S = 0.1
#: How long trials may take to end when the tuner is asked to end.
SHUTDOWN_S = 30.0


class LoopObserver(Protocol):
    """Watches the loop. An exception of an observer ends the session: running trials are interrupted, and the
    experiment can be resumed."""

    def on_session(self, past: Sequence[ev.Event]) -> None:
        """A session begins; ``past`` are the events of earlier ones."""
        ...

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """These have been recorded and performed."""
        ...

    def on_turn(self) -> None:
        """A turn has ended; called several times a second."""
        ...

    def on_session_end(self) -> None:
        """The session ends, well or not. Called for each observer even if another one raises."""
        ...


class TunerLoop:
    """Runs one experiment until it ends or a shutdown is asked for.

    Args:
        core: With a fresh scheduler, or restored from a snapshot that stands at ``replayed`` events.
        backend: Not yet open.
        store: Not yet open.
        clock: Wall or virtual.
        paths: Where the experiment lies.
        observers: Told what happens, in this order.
        max_wait_s: Longest wait in one turn, seconds.
        delete_checkpoint: Called for trials whose checkpoints nobody will need.
        annotate: Called after each report for what is to be recorded with it.
        trials_elsewhere: Attempts survive the loss of this machine, and belong to whoever writes the journal. None
            is started that the journal would not know any more, nor stopped when somebody else has taken it over.
    """

    def __init__(  # noqa: PLR0913  each is one port
        self,
        core: ExperimentCore,
        backend: TrialBackend,
        store: ExperimentStore,
        clock: Clock,
        paths: ExperimentPaths,
        *,
        observers: Sequence[LoopObserver] = (),
        max_wait_s: float = 5.0,
        delete_checkpoint: Callable[[int], None] | None = None,
        annotate: Callable[[], dict[str, Any]] | None = None,
        trials_elsewhere: bool = False,
    ) -> None:
        self.core = core
        self._backend = backend
        self._store = store
        self._clock = clock
        self._paths = paths
        self._observers = list(observers)
        self._max_wait_s = max_wait_s
        self._delete_checkpoint = delete_checkpoint
        self._annotate = annotate
        self._trials_elsewhere = trials_elsewhere
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._anchor = clock.now()
        self._base_s = 0.0
        #: (number of the event, trial, level) of reports that may not be durable yet.
        self._unacknowledged: deque[tuple[int, int, int]] = deque()
        #: (number of the event, attempt) of ends that may not be durable yet.
        self._unretired: deque[tuple[int, AttemptKey]] = deque()
        #: Number of events that must be durable before each of these is started, in order.
        self._unstarted: dict[AttemptKey, int] = {}
        #: Trials whose checkpoints this session has had deleted.
        self._without_checkpoint: set[int] = set()
        #: Highest level acknowledged of each trial.
        self._acknowledged: dict[int, int] = {}
        self._shutdown_reason: str | None = None
        #: Events that the core knows and the journal does not, yet.
        self._pending: list[ev.Event] = []
        self._store_failed = False

    @property
    def finished(self) -> bool:
        """Whether the experiment has ended for good."""
        return self.core.state.ended is not None

    def request_shutdown(self, reason: str) -> None:
        """Ends the session soon: running trials are interrupted, to be resumed in the next one. Safe to call
        from a signal handler or another thread."""
        self._shutdown_reason = reason

    @property
    def shutdown_reason(self) -> str | None:
        return self._shutdown_reason

    def moment(self) -> Moment:
        now = self._clock.now()
        return Moment(now, self._base_s + now - self._anchor)

    def run(self) -> None:
        """Replays the journal, then runs until :attr:`finished` or shutdown.

        Raises:
            Conflict: If another tuner runs the experiment.
            CloudtuneError: What ended the session; trials have been interrupted.
        """
        self._store.open(self._holder)
        try:
            past = self._restore()
            try:
                for observer in self._observers:
                    observer.on_session(past)
                if not self.finished:
                    self._run_session()
            except BaseException:
                self._tell_end(failed=True)
                raise
            self._tell_end()
        finally:
            self._store.close()

    def _restore(self) -> Sequence[ev.Event]:
        past = self._store.read()
        if len(past) < self.core.state.num_events:
            raise StoreError(
                f"{self._paths.dir} holds {len(past)} events; this tuner knows {self.core.state.num_events}, "
                "since an earlier session could not record them, or the folder was replaced.",
                "Make the tuner anew (run the same command again): it continues from what is recorded.",
            )
        for event in past[self.core.state.num_events :]:
            self.core.replay(event)
        self._base_s = self.core.state.elapsed_s
        self._anchor = self._clock.now()
        return past

    def _run_session(self) -> None:
        self._backend.open(self._context())
        try:
            self._announce()
            while not self.finished and self._shutdown_reason is None:
                self._turn()
            if not self.finished:
                self._wind_down()
        except Exception as error:
            if not (self._trials_elsewhere and isinstance(error, Conflict)):
                self._abandon()
            raise
        finally:
            self._backend.close()

    def _context(self) -> BackendContext:
        scheduler = self.core.scheduler
        levels = list(scheduler.rung_levels()) if isinstance(scheduler, HasRungLevels) else None
        unsettled = [source for source, cost in self.core.state.costs.items() if not cost.final]
        return BackendContext(
            self._paths, self._clock, levels, scheduler.resource_attr, self.core.options.n_workers, unsettled
        )

    def _announce(self) -> None:
        """Records the session, and asks again for everything that the journal says should be going on."""
        moment = self.moment()
        session = self.core.state.num_sessions
        self._apply(ev.SessionStarted(moment.time, moment.elapsed_s, session, self._holder))
        self._commit()
        for trial_id, state in self.core.state.trials.items():
            if not state.status.is_final:
                self._acknowledge(trial_id, state.level)
        for trial_id in list(self.core.state.running):
            state = self.core.state.trials[trial_id]
            if state.cursor > 0:
                self._backend.adopt(state.trial)
            else:
                self._start(trial_id)  # it may never have been
            if state.stop_requested:
                self._stop(state.key)
        self._start_durable()

    def _turn(self) -> None:
        self._interpret_news()
        moment = self.moment()
        while (event := self.core.plan(moment)) is not None:
            self._apply(event)
        if not self._pending and moment.elapsed_s - self.core.state.elapsed_s >= HEARTBEAT_S:
            self._apply(ev.TimePassed(moment.time, moment.elapsed_s))
        self._commit()
        for observer in self._observers:
            observer.on_turn()
        if not self.finished and self._shutdown_reason is None:
            self._backend.wait(self._wait_s())

    def _interpret_news(self) -> None:
        cursors = self.core.state.cursors()
        for key in self._unstarted:
            cursors.pop(key, None)  # nothing is known of it yet
        for fact in self._backend.poll(cursors):
            event = self.core.interpret(fact, self.moment())
            if isinstance(event, ev.TrialReported) and self._annotate is not None:
                event = replace(event, extra=self._annotate())
            if event is not None:
                self._apply(event)

    def _apply(self, event: ev.Event) -> None:
        self.core.apply(event)
        self._pending.append(event)

    def _commit(self) -> None:
        """Records what is pending, then performs it."""
        events, self._pending = self._pending, []
        if events:
            try:
                self._store.append(events)
            except Exception:
                self._store_failed = True
                raise
            first = self.core.state.num_events - len(events)
            for number, event in enumerate(events, first):
                self._perform(event, number)
        if self._unstarted:
            self._start_durable()
        if events:
            for observer in self._observers:
                observer.on_events(events)
        if self._unacknowledged or self._unretired:
            self._tell_durable()

    def _perform(self, event: ev.Event, number: int) -> None:
        if isinstance(event, ev.TrialStarted):
            state = self.core.state.trials[event.trial_id]
            # It may resume from what is recorded here. Should this machine be lost before S3 has it, the trial
            # finds no checkpoint that is old enough and begins anew: slow, but nothing is skipped.
            self._acknowledge(event.trial_id, state.level)
            if event.checkpoint_trial_id in self._without_checkpoint and event.attempt == 0:
                logger.warning(
                    "Trial %d was to go on from the checkpoint of trial %d, which was deleted when that was over: "
                    "it begins anew. delete_checkpoints=False keeps them.",
                    *(event.trial_id, event.checkpoint_trial_id),
                )
            self._start(event.trial_id)
        elif isinstance(event, ev.StopRequested):
            self._stop(AttemptKey(event.trial_id, event.attempt))
        elif isinstance(event, ev.TrialReported):
            level = self.core.state.level_of(event.metrics)
            if level > 0:
                self._unacknowledged.append((number, event.trial_id, level))
        elif isinstance(event, ev.TrialEnded):
            self._unretired.append((number, AttemptKey(event.trial_id, event.attempt)))
            is_final = self.core.state.trials[event.trial_id].status.is_final
            if is_final and self._delete_checkpoint is not None and not self._has_clones():
                self._without_checkpoint.add(event.trial_id)
                self._delete_checkpoint(event.trial_id)
        elif isinstance(event, ev.ExperimentEnded) and self._delete_checkpoint is not None:
            for trial_id in self.core.state.trials:
                self._delete_checkpoint(trial_id)

    def _has_clones(self) -> bool:
        """Whether trials go on from others' checkpoints: then one that is over may be wanted again, or by a trial
        that still waits for an instance, and all are kept until the experiment ends."""
        return any(state.trial.checkpoint_trial_id is not None for state in self.core.state.trials.values())

    def _start(self, trial_id: int) -> None:
        """Starts its attempt, now or when all that is known by now is durable."""
        state = self.core.state.trials[trial_id]
        if self._trials_elsewhere:
            self._unstarted[state.key] = self.core.state.num_events
        else:
            self._backend.start(state.trial)

    def _stop(self, key: AttemptKey) -> None:
        if key not in self._unstarted:  # else once it has been started
            self._backend.stop(key.trial_id, key.attempt)

    def _start_durable(self) -> None:
        """Starts what is safely recorded by now."""
        durable = self._store.durable()
        for key in [key for key, number in self._unstarted.items() if number <= durable]:
            del self._unstarted[key]
            state = self.core.state.trials[key.trial_id]
            self._backend.start(state.trial)
            if state.stop_requested:
                self._backend.stop(key.trial_id, key.attempt)

    def _tell_durable(self) -> None:
        """Tells the backend which reports and ends are safe by now."""
        durable = self._store.durable()
        levels: dict[int, int] = {}
        while self._unacknowledged and self._unacknowledged[0][0] < durable:
            _, trial_id, level = self._unacknowledged.popleft()
            levels[trial_id] = max(level, levels.get(trial_id, 0))
        for trial_id, level in levels.items():
            self._acknowledge(trial_id, level)
        while self._unretired and self._unretired[0][0] < durable:
            _, key = self._unretired.popleft()
            if isinstance(self._backend, SupportsRetire):
                self._backend.retire(key.trial_id, key.attempt)

    def _acknowledge(self, trial_id: int, level: int) -> None:
        if isinstance(self._backend, SupportsAcknowledge) and level >= self._acknowledged.get(trial_id, 0):
            self._acknowledged[trial_id] = level
            self._backend.acknowledge(trial_id, level)

    def _wait_s(self) -> float:
        deadline = self.core.next_deadline_s()
        elapsed = self.moment().elapsed_s
        wait = self._max_wait_s if deadline is None else min(self._max_wait_s, deadline - elapsed)
        heartbeat = self.core.state.elapsed_s + HEARTBEAT_S - elapsed
        if self._unstarted:
            wait = min(wait, _DURABLE_S)
        return max(0.0, min(wait, heartbeat))

    def _wind_down(self) -> None:
        """Interrupts what runs, and records what comes of it."""
        logger.info("Stopping %d running trials: %s.", len(self.core.state.running), self._shutdown_reason)
        deadline_s = self._interrupt_running()
        while self.core.state.running and self.moment().elapsed_s < deadline_s:
            self._backend.wait(min(1.0, self._max_wait_s))
            self._interpret_news()
            self._commit()

    def _interrupt_running(self) -> float:
        """Returns the elapsed seconds until which to wait for the ends."""
        moment = self.moment()
        for event in self.core.interrupt_running(moment):
            self._apply(event)
        self._commit()
        return moment.elapsed_s + SHUTDOWN_S

    def _abandon(self) -> None:
        """After an error: leaves nothing running. How trials end is not recorded: the next session finds it, and
        all that they have reported, where the backend keeps it."""
        logger.error("The tuner has failed; stopping %d running trials.", len(self.core.state.running))
        cursors = self.core.state.cursors()
        try:
            if not self._store_failed:
                self._interrupt_running()
        except Exception:
            logger.exception("Running trials are stopped, but this could not be recorded.")
        for key in cursors:
            self._backend.stop(key.trial_id, key.attempt)
        deadline_s = self.moment().elapsed_s + SHUTDOWN_S
        while cursors and self.moment().elapsed_s < deadline_s:
            for fact in self._backend.poll(cursors):
                if isinstance(fact, AttemptEnded):
                    cursors.pop(AttemptKey(fact.trial_id, fact.attempt), None)
            if cursors:
                self._backend.wait(min(1.0, self._max_wait_s))

    def _tell_end(self, failed: bool = False) -> None:
        """Tells all observers. If the session has ``failed``, their errors are only logged: its own counts."""
        errors: list[Exception] = []
        for observer in self._observers:
            try:
                observer.on_session_end()
            except Exception as error:  # noqa: BLE001  each observer is told; the first error is raised
                errors.append(error)
        if errors and failed:
            logger.error("A callback has failed, too: %r", errors[0])
        elif errors:
            raise CloudtuneError(f"A callback failed at the end of tuning: {errors[0]!r}") from errors[0]
