"""Jobs without a server: the fleet, the table and the quotas, on a clock that tests turn by hand."""

from __future__ import annotations

from typing import Any

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults import Faults, Scenario
from cloudtune.emulator.faults.kinds import Fault
from cloudtune.emulator.fleet.delays import CALM, Delays, DelayTable
from cloudtune.emulator.fleet.fleet import Fleet
from cloudtune.emulator.fleet.job_states import Phase
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext, TrainingJob
from cloudtune.emulator.fleet.launch import Provider
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.emulator.service_clock import ServiceClock

REGION = "us-east-1"


class HandClock(ServiceClock):
    """Stands until it is turned."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time


class FleetRig:
    """A fleet, and an engine's part played by hand."""

    def __init__(self, *faults: Fault, delays: DelayTable = CALM) -> None:
        self.clock = HandClock()
        self.audit = AuditLog()
        self.quotas = Quotas(self.clock)
        self.table = JobTable("123456789012", JobContext(self.clock, self.audit))
        self.faults = Faults(self.clock, self.audit, Scenario(faults=faults))
        self.fleet = Fleet(self.table, self.clock, Provider(self.faults, Delays(delays), self.quotas))

    def create(self, name: str, *, run: bool = False, **changes: Any) -> TrainingJob:
        """Creates a job; ``run``: it is given instances and trains at once."""
        job = self.fleet.create(REGION, request(name, **changes))
        self.fleet.advance()
        if run:
            assert job in self.fleet.take_ready(1000), "its instances are not up"
            job.enter(Phase.downloading)
            job.enter(Phase.training)
        return job

    def later(self, seconds: float) -> None:
        self.clock.time += seconds
        self.fleet.advance()

    def complete(self, job: TrainingJob, seconds: float = 0.0) -> None:
        """The job trains for ``seconds`` more."""
        self.later(seconds)
        job.end_attempt()
        job.enter(Phase.uploading)
        job.enter(Phase.completed)

    def stop(self, job: TrainingJob) -> None:
        """StopTrainingJob, and the end of what runs."""
        job.enter(Phase.stopping)
        self.fleet.stop(job)
        job.enter(Phase.stopped)

    def pool(self, job: TrainingJob) -> dict[str, Any]:
        return dict(job.describe()["WarmPoolStatus"])

    def used(self, kind: str, instance_type: str = "ml.m5.large") -> int:
        return self.quotas.used(REGION, instance_type, kind)


def request(name: str, **changes: Any) -> dict[str, Any]:
    """A CreateTrainingJob request; ``type``, ``count`` and ``keep_alive`` are of its ResourceConfig."""
    resources: dict[str, Any] = {
        "InstanceType": changes.pop("type", "ml.m5.large"),
        "InstanceCount": changes.pop("count", 1),
        "VolumeSizeInGB": 1,
    }
    if "keep_alive" in changes:
        resources["KeepAlivePeriodInSeconds"] = changes.pop("keep_alive")
    found = {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/role",
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": resources,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }
    return {**found, **changes}


def spot(max_wait_s: int = 7200) -> dict[str, Any]:
    """What makes a request one for spot instances."""
    limits = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": max_wait_s}
    return {"EnableManagedSpotTraining": True, "StoppingCondition": limits}
