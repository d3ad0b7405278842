"""SageMakerBackend passes the shipped contract on the simulated cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtune.clock import Clock
from cloudtune.experiment.ports import BackendContext, TrialBackend
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import ExperimentPaths
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.simulated_cloud import CloudSettings, FileFaults, SimulatedCloud, TrialScript
from cloudtune.testing.backend_contract import BACKEND_CHECKS, BackendCheck, names
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Config

SETTINGS = {
    "calm": CloudSettings(),
    "realistic": CloudSettings("realistic"),
    "bad-day": CloudSettings("bad_day", seed=1),
    "torn-for-ever": CloudSettings(file_faults=FileFaults(torn_reports=1.0, repair_s=None)),
}


class CloudRig:
    #: Long enough for instances to come up, not for ``endless_config``.
    patience_s = 2000.0

    def __init__(self, folder: Path, settings: CloudSettings, checkpointing: bool) -> None:
        self.script = TrialScript(lambda config, level: {"loss": 1 / level}, 20.0, checkpointing=checkpointing)
        self.world = SimulatedCloud(self.script, settings)
        self.clock: Clock = self.world.clock
        self._train = folder / "train.py"
        self._train.write_text("")

    def backend(self) -> TrialBackend:
        spec = TrainingJobSpec("template", "", "", "")
        backend = SageMakerBackend(spec, entry_point=str(self._train), cloud=self.world)
        backend.open(BackendContext(ExperimentPaths(Path("/nowhere/x")), self.clock, None, "epoch"))
        return backend

    def config(self, trial_id: int, epochs: int) -> Config:
        return {"epochs": epochs}

    def failing_config(self, trial_id: int, epochs: int) -> Config:
        self.script.faults = [*self.script.faults, Fault(trial_id, 0, epochs + 1)]
        return {"epochs": 100}

    def endless_config(self, trial_id: int) -> Config:
        return {"epochs": 1000}


@pytest.mark.parametrize("checkpointing", [True, False], ids=["checkpoints", "scratch"])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("check", BACKEND_CHECKS, ids=names(BACKEND_CHECKS))
def test_contract(check: BackendCheck, settings: str, checkpointing: bool, tmp_path: Path) -> None:
    rig = CloudRig(tmp_path, SETTINGS[settings], checkpointing)
    check(rig)
    assert rig.world.violations == []
