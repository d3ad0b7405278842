"""The simulated cloud without a backend: jobs of trials are created and looked at by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudtune.aws.job_status import JobStatus
from cloudtune.emulator.faults.kinds import Fault
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.names import trial_job_name
from cloudtune.report_stream import decode_lines
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.trial_job_spec import TrialPlace, trial_job
from cloudtune.simulated_cloud import CloudSettings, SimulatedCloud, TrialScript
from cloudtune.trial import Config, Trial

TUNER = "exp"


def curve(config: Config, level: int) -> dict[str, Any]:
    return {"loss": config["x"] / level}


def scenario(*faults: Fault, **options: Any) -> Scenario:
    return Scenario("test", faults=faults, **options)


class CloudRig:
    """One experiment ``exp``. Its script takes 10 s to set up and a minute per level."""

    def __init__(
        self,
        *faults: Fault,
        settings: CloudSettings | None = None,
        script: TrialScript | None = None,
        rung_levels: tuple[int, ...] | None = None,
    ) -> None:
        self.world = SimulatedCloud(script or TrialScript(curve), settings or CloudSettings(scenario(*faults)))
        self.where = self.world.where(TUNER)
        self.files = self.world.files(self.where)
        self._rung_levels = rung_levels

    def spec(self, trial: Trial, number: int = 0, seen: int = 0, **spec: Any) -> TrainingJobSpec:
        given = TrainingJobSpec("template", "", "", "", **spec)
        prepared = self.world.prepare(TrialTemplate(given, ("train.py",), Path()), self.where)
        place = TrialPlace(TUNER, self.where, prepared.code, prepared.region, self._rung_levels, "epoch")
        return trial_job(prepared.template, place, trial, number, seen)

    def create(
        self, trial_id: int = 0, attempt: int = 0, number: int = 0, seen: int = 0, epochs: int = 3, **spec: Any
    ) -> str:
        """Returns the job's name."""
        trial = Trial(trial_id, {"x": 6.0, "epochs": epochs}, attempt)
        self.world.jobs.create(self.spec(trial, number, seen, **spec))
        return trial_job_name(TUNER, trial_id, attempt, number)

    def later(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)

    def status(self, name: str) -> JobStatus:
        return self.world.jobs.describe(name)

    def phase(self, name: str) -> str:
        return self.status(name).phase

    def records(self, label: str) -> list[dict[str, Any]]:
        """All whole lines of the job's stream."""
        items = [item for item in self.files.report_objects() if item.label == label]
        items.sort(key=lambda item: (item.run, item.segment))
        return [record for item in items for record in decode_lines(self.files.read_report(item, 0))[0]]

    def epochs(self, label: str) -> list[int]:
        """Levels in S3, in the order of their numbers."""
        reports = [record for record in self.records(label) if record["kind"] == "report"]
        assert [record["seq"] for record in reports] == list(range(len(reports)))
        return [record["metrics"]["epoch"] for record in reports]

    def checkpoints(self, trial_id: int = 0) -> list[int]:
        return self.world.checkpoints(self.where).get(trial_id, [])
