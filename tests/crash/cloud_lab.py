"""Experiments whose trials are jobs of the simulated cloud, for the crash laboratory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash_lab import MAX_LEVEL, Shutdown, curve, make_core, memory_disk

from cloudtune.clock import Clock
from cloudtune.config_space import uniform
from cloudtune.experiment.core import CoreOptions
from cloudtune.experiment.ports import ExperimentStore, SupportsCheckpoints, TrialBackend
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.simulated_cloud import CloudSettings, SimulatedCloud, TrialScript
from cloudtune.testing.crash_anywhere import Disk, Laboratory
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Config
from cloudtune.tuner_loop import TunerLoop

COMMON: dict[str, Any] = {
    "metric": "loss",
    "max_resource_attr": "epochs",
    "resource_attr": "epoch",
    "random_seed": 7,
}
SPACE = {"x": uniform(0, 1), "epochs": MAX_LEVEL}
SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "random": lambda: RandomSearch({**SPACE, "epochs": 3}, **COMMON),
    "asha-stopping": lambda: ASHA(SPACE, type="stopping", **COMMON),
    "asha-promotion": lambda: ASHA(SPACE, type="promotion", **COMMON),
}
PATHS = ExperimentPaths(Path("/nowhere/experiment"))


def pace(config: Config) -> float:
    """Seconds per level: no two trials in step."""
    return float(30.0 + 21.0 * config["x"])


def script_folder() -> Path:
    """With a training script in it, which nobody runs."""
    folder = Path(tempfile.mkdtemp(prefix="cloud-lab-"))
    (folder / "train.py").write_text("")
    return folder


class CloudRig:
    """One laboratory, whose runs differ in nothing but what the laboratory does.

    Args:
        scheduler: Name in :data:`SCHEDULERS`.
        settings: Of the cloud.
        folder: Of :func:`script_folder`.
        faults: Of the script.
        spec: Changes to the jobs of trials, such as ``spot``.
    """

    def __init__(
        self,
        scheduler: str,
        folder: Path,
        settings: CloudSettings | None = None,
        faults: tuple[Fault, ...] = (),
        max_trials: int = 5,
        n_workers: int = 2,
        turns: Callable[[], int] = lambda: 10**9,
        **spec: Any,
    ) -> None:
        self._make_scheduler = SCHEDULERS[scheduler]
        self._settings = settings
        self._script = folder / "train.py"
        self._faults = faults
        self._max_trials = max_trials
        self._options = CoreOptions(n_workers=n_workers, max_failures=3, patience_s=3600.0)
        self._turns = turns
        self._spec = spec

    def make_world(self) -> SimulatedCloud:
        script = TrialScript(curve, epoch_s=pace, faults=self._faults)
        return SimulatedCloud(script, self._settings)

    def make_disk(self) -> Disk:
        return memory_disk()

    def make_backend(self, world: SimulatedCloud) -> SageMakerBackend:
        spec = TrainingJobSpec("template", "", "", "", **self._spec)
        return SageMakerBackend(spec, entry_point=str(self._script), delete_checkpoints=True, cloud=world)

    def run_once(self, store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        shutdown = Shutdown(self._turns())
        core = make_core(self._make_scheduler(), self._options, self._max_trials)
        assert isinstance(backend, SupportsCheckpoints)
        shutdown.loop = TunerLoop(
            core, backend, store, clock, PATHS, observers=[shutdown], delete_checkpoint=backend.delete_checkpoint
        )
        shutdown.loop.run()

    def laboratory(self, **options: Any) -> Laboratory:
        return Laboratory(self.make_world, self.make_disk, self.run_once, self.make_backend, **options)
