"""The laboratory finds each way in which a tuner could lose or double something."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from crash_lab import Promoting, curve, pace

from cloudtune.clock import Clock, VirtualClock
from cloudtune.experiment import events as ev
from cloudtune.experiment.core import CoreOptions, ExperimentCore, Moment
from cloudtune.experiment.ports import BackendContext, ExperimentStore, ReportSeen
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import MemoryStore
from cloudtune.testing.crash_anywhere import Disk, Laboratory, SimulatedCrash, crash_anywhere, error_anywhere
from cloudtune.testing.journal_checks import check_journal
from cloudtune.testing.scripted_world import ScriptedWorld
from cloudtune.tuning_status import TuningStatus

MAX_TRIALS = 6


class TinyLoop:
    """A tuner in forty lines. Its parts are overridden to break it."""

    tells_target = True

    def __init__(self, store: ExperimentStore, backend: Any, clock: Clock) -> None:
        self.store, self.backend, self.clock = store, backend, clock
        status = TuningStatus(["loss"])
        options = CoreOptions(n_workers=2)
        scheduler = Promoting(tells_target=self.tells_target)
        self.core = ExperimentCore(scheduler, options, status, lambda: None, lambda started: started < MAX_TRIALS)

    def run(self) -> None:
        self.store.open("tiny:1")
        for event in self.store.read():
            self.core.replay(event)
        self.backend.open(BackendContext(ExperimentPaths(Path("/nowhere/x")), self.clock, None, "epoch"))
        self.ask_again()
        while self.core.state.ended is None:
            self.turn()
            self.backend.wait(5.0)
        self.store.close()

    def ask_again(self) -> None:
        for trial_id in self.core.state.running:
            state = self.core.state.trials[trial_id]
            self.backend.acknowledge(trial_id, state.level)
            self.backend.start(state.trial)
            if state.stop_requested:
                self.backend.stop(trial_id, state.trial.attempt)

    def turn(self) -> None:
        now = Moment(self.clock.now(), 0.0)
        events = []
        for fact in self.poll():
            event = self.core.interpret(fact, now)
            if event is not None:
                self.core.apply(event)
                events.append(event)
        while (event := self.core.plan(now)) is not None:
            self.core.apply(event)
            events.append(event)
        if events:
            self.commit(events)

    def poll(self) -> list[Any]:
        return self.backend.poll(self.core.state.cursors())

    def commit(self, events: list[ev.Event]) -> None:
        self.store.append(events)
        for event in events:
            self.perform(event)

    def perform(self, event: ev.Event) -> None:
        if isinstance(event, ev.TrialStarted):
            self.backend.start(self.core.state.trials[event.trial_id].trial)
        elif isinstance(event, ev.StopRequested):
            self.backend.stop(event.trial_id, event.attempt)
        elif isinstance(event, ev.TrialReported):
            self.backend.acknowledge(event.trial_id, event.metrics["epoch"])


class PerformsFirst(TinyLoop):
    def commit(self, events: list[ev.Event]) -> None:
        for event in events:
            self.perform(event)
        self.store.append(events)


class NeverAsksAgain(TinyLoop):
    def ask_again(self) -> None:
        pass


class ForgetsStops(TinyLoop):
    tells_target = False

    def ask_again(self) -> None:
        for trial_id in self.core.state.running:
            state = self.core.state.trials[trial_id]
            self.backend.acknowledge(trial_id, state.level)
            self.backend.start(state.trial)


class RecordsLate(TinyLoop):
    """Holds reports back until something else happens, and tells the trials that they are safe."""

    held: tuple[ev.Event, ...] = ()

    def commit(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.TrialReported):
                self.perform(event)
        self.held += tuple(events)
        if any(not isinstance(event, ev.TrialReported) for event in events):
            flushed, self.held = self.held, ()
            self.store.append(flushed)
            for event in flushed:
                self.perform(event)


class RetiresTooSoon(TinyLoop):
    """Lets what is kept of an attempt go before its end is recorded."""

    def commit(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.TrialEnded):
                self.backend.retire(event.trial_id, event.attempt)
        super().commit(events)


class KeepsTheCursorToItself(TinyLoop):
    """Asks only for what it has not been given, and a new process starts counting at what is there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.given: dict[Any, int] = {}

    def poll(self) -> list[Any]:
        cursors = self.core.state.cursors()
        for key in cursors:
            if key not in self.given:
                known = self.backend.poll({key: 0}) if cursors[key] else []
                self.given[key] = sum(isinstance(fact, ReportSeen) for fact in known)
        facts = self.backend.poll({key: self.given[key] for key in cursors})
        for fact in facts:
            if isinstance(fact, ReportSeen):
                self.given[type(next(iter(cursors)))(fact.trial_id, fact.attempt)] = fact.seq + 1
        return list(facts)


class StartsOver(TinyLoop):
    """Forgets the journal (elsewhere a restarted remote tuner did)."""

    def run(self) -> None:
        self.store.read = list  # type: ignore[method-assign]
        super().run()


class SuggestsByMemory(TinyLoop):
    """Its scheduler counts how often it was asked."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        scheduler = self.core.scheduler
        suggest, asked = scheduler.suggest, iter(range(10**6))

        def by_memory(trial_id: int) -> Any:
            return suggest(trial_id) and suggest(next(asked))

        scheduler.suggest = by_memory  # type: ignore[method-assign]


class TidiesUp(TinyLoop):
    """Swallows what should end it."""

    def turn(self) -> None:
        try:
            super().turn()
        except SimulatedCrash:
            self.core.state.ended = ev.ExperimentEnded(0.0, 0.0, "")

    def run(self) -> None:
        with contextlib.suppress(SimulatedCrash):
            super().run()


def laboratory(tuner: type[TinyLoop]) -> Laboratory:
    def make_disk() -> Disk:
        store = MemoryStore()
        return lambda: store

    return Laboratory(
        lambda: ScriptedWorld(VirtualClock(), curve, epoch_s=pace, stop_delay_s=0.7),
        make_disk,
        lambda store, backend, clock: tuner(store, backend, clock).run(),
        max_calls=600,
    )


class TinyLoopThatStops(TinyLoop):
    tells_target = False


@pytest.mark.parametrize("right", [TinyLoop, TinyLoopThatStops])
def test_the_tiny_loop_is_right(right: type[TinyLoop]) -> None:
    assert crash_anywhere(laboratory(right)) > 100


@pytest.mark.parametrize(
    ("broken", "symptom"),
    [
        (PerformsFirst, "is not recorded"),
        (NeverAsksAgain, "was started as attempt 1, not 0"),
        (ForgetsStops, "journal["),
        (RecordsLate, "acknowledge(0, 1) was asked for and is not recorded"),
        (RetiresTooSoon, "retire(0, 0) was asked for and is not recorded"),
        (KeepsTheCursorToItself, "level 3 of trial 2, reported by attempt 1, is not recorded"),
        (StartsOver, "attempt 0 is running"),
        (SuggestsByMemory, "launches["),
        (TidiesUp, "swallowed"),
    ],
)
def test_each_defect_is_noticed(broken: type[TinyLoop], symptom: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(symptom)):
        crash_anywhere(laboratory(broken))


def test_a_tuner_that_leaves_trials_running_is_noticed() -> None:
    with pytest.raises(AssertionError, match="left running"):
        error_anywhere(laboratory(TinyLoop))


def started(trial_id: int, attempt: int = 0) -> ev.TrialStarted:
    return ev.TrialStarted(0.0, 0.0, trial_id, attempt, {"epochs": 2})


def reported(trial_id: int, seq: int, epoch: int, attempt: int = 0) -> ev.TrialReported:
    return ev.TrialReported(0.0, 0.0, trial_id, attempt, seq, {"epoch": epoch}, "CONTINUE")


def ended(trial_id: int, outcome: str = "completed", attempt: int = 0) -> ev.TrialEnded:
    return ev.TrialEnded(0.0, 0.0, trial_id, attempt, outcome)


END = ev.ExperimentEnded(0.0, 0.0, "done")
GOOD = [started(0), reported(0, 0, 1), reported(0, 1, 2), ended(0), END]


def test_a_good_journal() -> None:
    assert check_journal(GOOD, "epoch", "epochs") == []


@pytest.mark.parametrize(
    ("journal", "problem"),
    [
        (GOOD[:-1], "does not end"),
        ([*GOOD, END], "comes after the end"),
        ([started(0), END], "has no end"),
        ([started(0), ended(0, "interrupted"), END], "never resumed"),
        ([started(0), reported(0, 0, 1), reported(0, 0, 1)], "recorded already"),
        ([started(0), reported(0, 0, 1), reported(0, 1, 1)], "the level before was 1"),
        ([started(0), reported(0, 0, 2)], "the level before was 0"),
        ([started(0), reported(0, 0, 1), ended(0)], "level 1 of 2"),
        ([started(0), started(0, 1)], "attempt 0 is running"),
        ([started(0), ended(0, "paused"), started(0, 2)], "the attempt before was 0"),
        ([started(0), ended(0), ended(0)], "not running"),
        ([reported(0, 0, 1)], "not running"),
        ([ev.TuningStopped(0.0, 0.0, "x"), started(0)], "tuning had stopped"),
        ([ev.TimePassed(0.0, 5.0), ev.TimePassed(0.0, 4.0)], "lies before"),
    ],
)
def test_each_flaw_of_a_journal_is_named(journal: list[ev.Event], problem: str) -> None:
    assert any(problem in found for found in check_journal(journal, "epoch", "epochs"))
