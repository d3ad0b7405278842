"""Where a training job stands, as the service tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudtune._compat import StrEnum


class JobState(StrEnum):
    """The service's TrainingJobStatus."""

    running = "InProgress"
    completed = "Completed"
    failed = "Failed"
    stopping = "Stopping"
    stopped = "Stopped"
    deleting = "Deleting"  #: it has ended, and its record is being removed

    @classmethod
    def _missing_(cls, value: object) -> JobState:
        """A status that the service has learnt since: what is not understood has not ended."""
        del value
        return cls.running

    @property
    def is_final(self) -> bool:
        """Whether it runs no more and occupies nothing."""
        return self not in (JobState.running, JobState.stopping)


@dataclass(frozen=True)
class JobStatus:
    """One job at one moment. Times in seconds since the epoch; None where the service says nothing (yet)."""

    name: str
    arn: str
    state: JobState
    #: For people: what it is doing (``Starting``, ``Downloading``, ``Training``, ``Interrupted``, ...).
    phase: str = ""
    failure_reason: str = ""
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    #: Seconds that are paid for, per instance; known when the job has ended.
    billable_s: int | None = None
    last_modified: float | None = None
    #: ``Available``, ``InUse``, ``Reused`` or ``Terminated``; empty if the job keeps no instances warm.
    warm_pool_status: str = ""
    #: Seconds that the warm pool is paid for on top of ``billable_s``; known when the pool has ended.
    retained_billable_s: int | None = None
    # What follows is told by Describe alone.
    #: Seconds of training, per instance; of a spot job more than are billed.
    training_s: int | None = None
    instance_type: str = ""
    instance_count: int | None = None
    spot: bool | None = None
    max_run_s: int | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict, hash=False)
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> JobStatus:
        """From an answer of Describe, or from a summary of List (which lacks some of it)."""
        resources = answer.get("ResourceConfig", {})
        warm_pool = answer.get("WarmPoolStatus", {})
        return cls(
            name=str(answer["TrainingJobName"]),
            arn=str(answer["TrainingJobArn"]),
            state=JobState(str(answer["TrainingJobStatus"])),
            phase=str(answer.get("SecondaryStatus", "")),
            failure_reason=str(answer.get("FailureReason", "")),
            created=_seconds(answer.get("CreationTime")),
            started=_seconds(answer.get("TrainingStartTime")),
            ended=_seconds(answer.get("TrainingEndTime")),
            billable_s=answer.get("BillableTimeInSeconds"),
            last_modified=_seconds(answer.get("LastModifiedTime")),
            warm_pool_status=str(warm_pool.get("Status", "")),
            retained_billable_s=warm_pool.get("ResourceRetainedBillableTimeInSeconds"),
            training_s=answer.get("TrainingTimeInSeconds"),
            # With a list of preferences, the service has chosen one of them.
            instance_type=str(resources.get("SelectedInstanceType") or resources.get("InstanceType", "")),
            instance_count=resources.get("SelectedInstanceCount") or resources.get("InstanceCount"),
            # Of a job that is not spot, Describe may leave the member out.
            spot=bool(answer.get("EnableManagedSpotTraining")) if resources else None,
            max_run_s=answer.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"),
            hyperparameters=dict(answer.get("HyperParameters", {})),
            environment=dict(answer.get("Environment", {})),
        )


def _seconds(moment: Any) -> float | None:
    return None if moment is None else float(moment.timestamp())
