"""Why a training job has ended, as far as its status tells."""

from __future__ import annotations

from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobState, JobStatus


class JobEnd(StrEnum):
    """What the end of a job means for whoever has created it."""

    completed = "completed"
    stopped = "stopped"  #: by StopTrainingJob, whoever has called it
    max_runtime = "max_runtime"  #: it ran as long as its request allowed
    max_wait = "max_wait"  #: a spot job has found no instance for long enough
    user_code = "user_code"  #: the script has failed
    bad_request = (
        "bad_request"  #: something that it needs is missing, or forbidden to it: another job fares no better
    )
    capacity = "capacity"  #: there was no instance of the type: later, or with another type
    internal = "internal"  #: the service's own error; another job may well do


_OF_PHASE = {"MaxRuntimeExceeded": JobEnd.max_runtime, "MaxWaitTimeExceeded": JobEnd.max_wait}
# Of the end that it hands on, the service says no more than how FailureReason begins.
_OF_REASON = {
    "AlgorithmError": JobEnd.user_code,
    "ClientError": JobEnd.bad_request,
    "CapacityError": JobEnd.capacity,
    "InternalServerError": JobEnd.internal,
}
_INTERNAL_TEXTS = ("internalservererror", "internal error", "internal server error")


def why(status: JobStatus) -> JobEnd | None:
    """Why the job has ended; None while it has not, or if it is being deleted and says nothing."""
    if status.state is JobState.completed:
        return JobEnd.completed
    if status.state is JobState.stopped:
        return _OF_PHASE.get(status.phase, JobEnd.stopped)
    if status.state is JobState.failed:
        return _of_reason(status.failure_reason)
    return None


def _of_reason(reason: str) -> JobEnd:
    known = _OF_REASON.get(reason.partition(":")[0].strip())
    if known is not None:
        return known
    text = reason.lower()
    return JobEnd.internal if any(part in text for part in _INTERNAL_TEXTS) else JobEnd.user_code
