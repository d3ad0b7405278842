"""The rules for operations on jobs that exist: which state allows what."""

from __future__ import annotations

from cloudtune.emulator.control.rules import check_debugger
from cloudtune.emulator.fleet.job_states import JobStatus, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid

_DEBUGGABLE = (Phase.downloading, Phase.training)
_POOL_LEFT = "Available"


def check_stop(job: TrainingJob) -> None:
    """Raises ServiceError for a job that has ended. Stopping once more is no error."""
    status = job.status
    if status.is_terminal:
        raise _rejected(status, "stop.ended")


def check_delete(job: TrainingJob) -> None:
    """Raises ServiceError for a job that has not ended, or whose instances are kept warm."""
    if not job.status.is_terminal:
        raise ServiceError(
            "ResourceInUse",
            f"The training job {job.name} is in status {job.status}; only ended jobs can be deleted.",
            rule="delete.running",
        )
    if job.warm_pool_status == _POOL_LEFT:
        raise ServiceError(
            "ResourceInUse",
            f"The training job {job.name} retains a warm pool: end it with UpdateTrainingJob.",
            rule="delete.warm-pool",
        )


def check_update(job: TrainingJob, changes: JsonObject) -> None:
    """Raises ServiceError for changes that the job's state forbids."""
    if not changes:
        raise invalid("The request changes nothing.", rule="update.nothing")
    check_debugger(changes)
    status, phase = job.status, job.phase
    keep_alive = "ResourceConfig" in changes
    pool_kept = job.warm_pool_status == _POOL_LEFT
    if status is not JobStatus.in_progress and not (pool_kept and set(changes) == {"ResourceConfig"}):
        raise _rejected(status, "update.ended")
    if keep_alive and (job.is_spot or job.request["ResourceConfig"].get("InstanceGroups")):
        raise invalid(
            "KeepAlivePeriodInSeconds is not supported for managed spot training jobs and heterogeneous clusters.",
            rule="update.warm-pool",
        )
    if "RemoteDebugConfig" in changes and phase not in _DEBUGGABLE:
        raise invalid(
            "RemoteDebugConfig can be updated while the secondary status is "
            f"{' or '.join(_DEBUGGABLE)}; it is {phase}.",
            rule="update.remote-debug",
        )


def _rejected(status: JobStatus, rule: str) -> ServiceError:
    return invalid(f"The request was rejected because the training job is in status {status}.", rule=rule)
