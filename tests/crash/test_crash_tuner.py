"""The whole ``Tuner``, with files, metadata and callbacks, dies at every call."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from crash_lab import MAX_LEVEL, curve, pace

from cloudtune import StoppingCriterion, Tuner
from cloudtune.clock import Clock, VirtualClock
from cloudtune.config_space import uniform
from cloudtune.constants import ENV_FOLDER
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.optimizer.baselines import ASHA
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore
from cloudtune.testing.crash_anywhere import Disk, Laboratory, crash_anywhere, error_anywhere, relay
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import Fault, ScriptedWorld
from cloudtune.trial import Outcome
from cloudtune.tuner_callback import TunerCallback

SPACE = {"x": uniform(0, 1), "epochs": MAX_LEVEL}


class Counter(TunerCallback):
    """Counts what it is told in one life."""

    def __init__(self) -> None:
        self.results = 0

    def on_trial_result(self, *args: Any, **kwargs: Any) -> None:
        self.results += 1


@pytest.fixture
def tuner_laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    monkeypatch.setenv(ENV_FOLDER, str(tmp_path))
    names = (f"experiment-{number}" for number in itertools.count())
    current = [""]

    def make_disk() -> Disk:
        name = current[0] = next(names)
        return lambda: FileStore(ExperimentPaths(tmp_path / name))

    def make_world() -> ScriptedWorld:
        faults = [Fault(0, 0, 1, Outcome.interrupted), Fault(2, 0, 1)]
        return ScriptedWorld(VirtualClock(), curve, epoch_s=pace, faults=faults)

    def run_once(store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        Tuner(
            backend,
            ASHA(SPACE, "loss", "epoch", type="promotion", max_resource_attr="epochs", random_seed=1),
            StoppingCriterion(max_num_trials_started=5),
            n_workers=2,
            max_failures=3,
            tuner_name=current[0],
            suffix_tuner_name=False,
            save_tuner=False,  # what the laboratory puts around the backend cannot be pickled
            callbacks=[Counter()],
            clock=clock,
            store=store,
        ).run()

    return Laboratory(make_world, make_disk, run_once, max_calls=2000)


def test_dies_anywhere(tuner_laboratory: Laboratory) -> None:
    crash_anywhere(tuner_laboratory, sample=25)


def test_fails_anywhere(tuner_laboratory: Laboratory) -> None:
    error_anywhere(tuner_laboratory, sample=25)


def test_is_run_again_when_done(tuner_laboratory: Laboratory, tmp_path: Path) -> None:
    """A finished experiment that is run again changes nothing."""
    story = relay(tuner_laboratory)
    store = FileStore(ExperimentPaths(tmp_path / "experiment-0"))
    world = story.world
    tuner_laboratory.run_once(store, ScriptedBackend(world), world.clock)
    assert FileStore(ExperimentPaths(tmp_path / "experiment-0")).read() == story.events
