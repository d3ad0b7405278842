"""Where a training job stands, as the service tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> JobStatus:
        """From an answer of Describe, or from a summary of List (which lacks some of it)."""
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
        )


def _seconds(moment: Any) -> float | None:
    return None if moment is None else float(moment.timestamp())
