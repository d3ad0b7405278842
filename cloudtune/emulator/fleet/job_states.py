"""The states of a training job by the service's names, and which may follow which."""

from __future__ import annotations

from cloudtune._compat import StrEnum

#: Reasons for failure that are the platform's.
INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."
CAPACITY_ERROR = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance "
    "type."
)


class JobStatus(StrEnum):
    """TrainingJobStatus."""

    in_progress = "InProgress"
    completed = "Completed"
    failed = "Failed"
    stopping = "Stopping"
    stopped = "Stopped"

    @property
    def is_terminal(self) -> bool:
        return self in (JobStatus.completed, JobStatus.failed, JobStatus.stopped)


class Phase(StrEnum):
    """SecondaryStatus."""

    starting = "Starting"
    downloading = "Downloading"
    training = "Training"
    uploading = "Uploading"
    interrupted = "Interrupted"
    restarting = "Restarting"
    stopping = "Stopping"
    completed = "Completed"
    failed = "Failed"
    stopped = "Stopped"
    max_runtime_exceeded = "MaxRuntimeExceeded"
    max_wait_exceeded = "MaxWaitTimeExceeded"

    @property
    def status(self) -> JobStatus:
        return _STATUS.get(self, JobStatus.in_progress)


_STATUS = {
    Phase.stopping: JobStatus.stopping,
    Phase.completed: JobStatus.completed,
    Phase.failed: JobStatus.failed,
    Phase.stopped: JobStatus.stopped,
    Phase.max_runtime_exceeded: JobStatus.stopped,
    Phase.max_wait_exceeded: JobStatus.stopped,
}

#: What may follow each phase; nothing follows the others. Stopping may end as Completed: all was done already.
FOLLOWERS: dict[Phase, frozenset[Phase]] = {
    Phase.starting: frozenset({Phase.downloading, Phase.stopping, Phase.failed}),
    Phase.downloading: frozenset(
        {Phase.training, Phase.uploading, Phase.interrupted, Phase.restarting, Phase.stopping, Phase.failed}
    ),
    Phase.training: frozenset(
        {Phase.uploading, Phase.interrupted, Phase.restarting, Phase.stopping, Phase.failed}
    ),
    Phase.uploading: frozenset(
        {Phase.completed, Phase.interrupted, Phase.restarting, Phase.stopping, Phase.failed}
    ),
    Phase.interrupted: frozenset({Phase.starting, Phase.stopping, Phase.failed}),
    Phase.restarting: frozenset({Phase.starting, Phase.stopping, Phase.failed}),
    Phase.stopping: frozenset(
        {Phase.stopped, Phase.max_runtime_exceeded, Phase.max_wait_exceeded, Phase.completed, Phase.failed}
    ),
}

#: StatusMessage of a transition. Starting has several, see :mod:`cloudtune.emulator.fleet.launch`.
MESSAGE = {
    Phase.starting: "Starting the training job",
    Phase.downloading: "Downloading input data",
    Phase.training: "Training image download completed. Training in progress.",
    Phase.uploading: "Uploading generated training model",
    Phase.interrupted: "Training job interrupted: the spot instance was taken back",
    Phase.restarting: "Restarting the training job after an internal error",
    Phase.stopping: "Stopping the training job",
    Phase.completed: "Training job completed",
    Phase.failed: "Training job failed",
    Phase.stopped: "Training job stopped",
    Phase.max_runtime_exceeded: "Training job runtime exceeded MaxRuntimeInSeconds provided",
    Phase.max_wait_exceeded: "Training job exceeded MaxWaitTimeInSeconds provided",
}
