"""Experiments whose trials are real processes, for the crash laboratory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash_lab import MAX_LEVEL, Shutdown, make_core

from cloudtune.backend import LocalBackend
from cloudtune.clock import Clock
from cloudtune.config_space import choice, uniform
from cloudtune.experiment.core import CoreOptions
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.optimizer.baselines import ASHA, GridSearch, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.optimizer.schedulers.successive_halving import SuccessiveHalvingScheduler
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore
from cloudtune.testing.crash_anywhere import Disk, Laboratory
from cloudtune.testing.process_world import ProcessWorld
from cloudtune.tuner_loop import TunerLoop

MAX_TRIALS = 4
SPACE = {"x": uniform(0, 1), "epochs": MAX_LEVEL, "epoch_s": 0.002}
SHORT = {**SPACE, "epochs": 3}
COMMON: dict[str, Any] = {
    "metric": "loss",
    "max_resource_attr": "epochs",
    "resource_attr": "epoch",
    "random_seed": 7,
}
SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "random": lambda: RandomSearch(SHORT, **COMMON),
    "grid": lambda: GridSearch({**SHORT, "x": choice([0.1, 0.25, 0.4, 0.9])}, **COMMON),
    "asha-stopping": lambda: ASHA(SPACE, type="stopping", **COMMON),
    "asha-promotion": lambda: ASHA(SPACE, type="promotion", **COMMON),
    "successive-halving": lambda: SuccessiveHalvingScheduler(SHORT, eta=3, **COMMON),
}


class LocalRig:
    """One laboratory; its runs have folders of their own below ``root``. ``turns()`` says after how many turns a
    life is asked to end."""

    def __init__(
        self,
        root: Path,
        scheduler: str,
        n_workers: int = 2,
        backend: type[LocalBackend] = LocalBackend,
        turns: Callable[[], int] = lambda: 10**9,
    ) -> None:
        self._folders = (root / str(number) for number in itertools.count())
        self._make_scheduler = SCHEDULERS[scheduler]
        self._options = CoreOptions(n_workers=n_workers, max_failures=3)
        self._backend = backend
        self._turns = turns
        self.world: ProcessWorld | None = None

    def make_world(self) -> ProcessWorld:
        self.end()
        self.world = ProcessWorld(next(self._folders))
        return self.world

    def new_paths(self) -> ExperimentPaths:
        """Of the run that has begun."""
        return self._world().paths

    def make_disk(self) -> Disk:
        paths = self.new_paths()
        return lambda: FileStore(paths, segment_bytes=400)

    def make_backend(self, world: ProcessWorld) -> LocalBackend:
        return self._backend(world.entry_point, rotate_gpus=False, grace_period_s=5.0)

    def run_once(self, store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        shutdown = Shutdown(self._turns())
        core = make_core(self._make_scheduler(), self._options, MAX_TRIALS)
        shutdown.loop = TunerLoop(core, backend, store, clock, self._world().paths, observers=[shutdown])
        shutdown.loop.run()

    def laboratory(self, **options: Any) -> Laboratory:
        return Laboratory(
            self.make_world, self.make_disk, self.run_once, self.make_backend, max_calls=5000, **options
        )

    def end(self) -> None:
        """Leaves nothing running, whatever has gone wrong."""
        if self.world is not None:
            self.world.end()

    def _world(self) -> ProcessWorld:
        if self.world is None:
            raise AssertionError("the laboratory makes a world before anything else")
        return self.world
