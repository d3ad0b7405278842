"""Trials that outlive the tuner's machine: started when that may be lost, left alone when it is superseded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from crash_lab import LaggingDisk, LaggingStore, Promoting, curve, make_core, pace

from cloudtune.clock import Clock, VirtualClock
from cloudtune.errors import Conflict
from cloudtune.experiment import events as ev
from cloudtune.experiment.core import CoreOptions
from cloudtune.experiment.ports import AttemptKey, ExperimentStore, TrialBackend
from cloudtune.paths import ExperimentPaths
from cloudtune.testing.crash_anywhere import Laboratory, crash_often, problems_of
from cloudtune.testing.journal_checks import check_journal
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import ScriptedWorld
from cloudtune.trial import Trial
from cloudtune.tuner_loop import TunerLoop


class Elsewhere(ScriptedWorld):
    """Trials run on while the tuner's machine is lost."""

    def lose_machine(self, recorded: Mapping[AttemptKey, int], disk: bool = False) -> None:
        pass


def make_world() -> Elsewhere:
    return Elsewhere(VirtualClock(), curve, epoch_s=pace)


def loop(store: ExperimentStore, backend: TrialBackend, clock: Clock, elsewhere: bool = True) -> TunerLoop:
    core = make_core(Promoting(), CoreOptions(n_workers=3, max_failures=3), 6)
    paths = ExperimentPaths(Path("/nowhere/experiment"))
    return TunerLoop(core, backend, store, clock, paths, trials_elsewhere=elsewhere)


class Watching(ScriptedBackend):
    """Notes what is started, or asked to stop, that is not durable."""

    def __init__(self, world: ScriptedWorld, store: LaggingStore) -> None:
        super().__init__(world)
        self.store = store
        self.too_early: list[AttemptKey] = []
        self.started: set[AttemptKey] = set()

    def start(self, trial: Trial) -> None:
        key = AttemptKey(trial.trial_id, trial.attempt)
        durable = self.store.read()[: self.store.durable()]
        known = {AttemptKey(e.trial_id, e.attempt) for e in durable if isinstance(e, ev.TrialStarted)}
        if key not in known:
            self.too_early.append(key)
        self.started.add(key)
        super().start(trial)

    def stop(self, trial_id: int, attempt: int) -> None:
        assert AttemptKey(trial_id, attempt) in self.started
        super().stop(trial_id, attempt)


@pytest.mark.parametrize("waits", [True, False])
def test_nothing_is_started_that_the_journal_might_forget(waits: bool) -> None:
    store, world = LaggingStore(), make_world()
    backend = Watching(world, store)
    loop(store, backend, world.clock, waits).run()
    assert check_journal(store.read(), "epoch", "epochs") == []
    assert bool(backend.too_early) is not waits


def test_what_is_asked_to_stop_before_it_was_started_is_stopped_after() -> None:
    store, world = LaggingStore(), make_world()
    backend = Watching(world, store)
    first = loop(store, backend, world.clock)
    first.request_shutdown("at once")
    first.run()
    loop(store, backend, world.clock).run()
    assert check_journal(store.read(), "epoch", "epochs") == []
    assert world.running() == [] and world.violations == []


@pytest.mark.parametrize("seed", range(5))
def test_the_machine_is_lost_again_and_again_and_trials_run_on(seed: int) -> None:
    disk = LaggingDisk()

    def run_once(store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        loop(store, backend, clock).run()

    lab = Laboratory(make_world, disk.make, run_once, lose_disk=disk.lose, compare=None)
    story = crash_often(lab, random.Random(seed), 60.0, machine=1.0)
    assert problems_of(story) == []
    assert story.machines_lost > 2


class Superseded(LaggingStore):
    """Which another session takes over after some appends."""

    def __init__(self, num_appends: int) -> None:
        super().__init__()
        self.num_appends = num_appends

    def append(self, events: Sequence[ev.Event]) -> None:
        self.num_appends -= 1
        if self.num_appends < 0:
            raise Conflict("another session has taken over")
        super().append(events)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_another_session_has_taken_over_is_left_alone(elsewhere: bool) -> None:
    world = make_world()
    with pytest.raises(Conflict):
        loop(Superseded(8), ScriptedBackend(world), world.clock, elsewhere).run()
    assert bool(world.running()) is elsewhere
