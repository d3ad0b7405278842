"""A backend may say where its experiments are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import random_search, world

from cloudtune import StoppingCriterion, Tuner
from cloudtune.clock import VirtualClock
from cloudtune.experiment.events import Event
from cloudtune.experiment.ports import ExperimentStore
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore
from cloudtune.stores.memory import MemoryStore
from cloudtune.testing.scripted_backend import ScriptedBackend


class Restoring(FileStore):
    """Has its journal elsewhere, too, and brings it here."""

    def __init__(self, paths: ExperimentPaths, elsewhere: Path) -> None:
        super().__init__(paths)
        self.takeover = False
        self._here, self._elsewhere = paths, elsewhere

    def restore(self) -> None:
        if self._elsewhere.exists() and not self._here.journal.exists():
            self._here.dir.parent.mkdir(parents=True, exist_ok=True)
            self._elsewhere.rename(self._here.dir)


class Elsewhere(ScriptedBackend):
    folder: Path
    stores: list[Restoring]

    def make_store(self, paths: ExperimentPaths) -> ExperimentStore:
        self.stores.append(Restoring(paths, self.folder))
        return self.stores[-1]


def tuner(folder: Path, stores: list[Restoring], trials: int = 3, store: ExperimentStore | None = None) -> Tuner:
    clock = VirtualClock()
    backend = Elsewhere(world(clock))
    backend.folder, backend.stores = folder, stores
    criterion = StoppingCriterion(max_num_trials_started=trials)
    return Tuner(
        backend, random_search(), criterion, 2, tuner_name="x", suffix_tuner_name=False, clock=clock, store=store
    )


def test_it_is_used_and_told_of_a_takeover(tmp_path: Path) -> None:
    stores: list[Restoring] = []
    first = tuner(tmp_path / "none", stores)
    first.run()
    assert [store.takeover for store in stores] == [False]
    assert FileStore(first.paths).read() == stores[0].read() != []
    tuner(tmp_path / "none", stores).run(takeover=True)
    assert [store.takeover for store in stores] == [False, True]


def test_a_given_store_is_kept(tmp_path: Path) -> None:
    stores: list[Restoring] = []
    given = MemoryStore()
    tuner(tmp_path, stores, store=given).run(takeover=True)  # which it has no use for
    assert stores == []
    assert given.read()


def test_an_experiment_that_is_only_elsewhere_is_continued(tmp_path: Path) -> None:
    stores: list[Restoring] = []
    first = tuner(tmp_path / "none", stores)
    first.run()
    journal: list[Event] = stores[0].read()
    first.paths.dir.rename(tmp_path / "moved")
    again = tuner(tmp_path / "moved", stores)
    again.run()
    assert stores[1].read() == journal, "it was over"
    assert again.tuning_status.num_trials_completed == 3


def test_its_settings_are_compared_once_it_is_here(tmp_path: Path) -> None:
    stores: list[Restoring] = []
    first = tuner(tmp_path / "none", stores)
    first.run()
    first.paths.dir.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="begun with other settings: stop_criterion"):
        tuner(tmp_path / "moved", stores, trials=4).run()
