"""Training jobs as the service knows them: states, transitions, times."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterable

from cloudtune._compat import StrEnum
from cloudtune.emulator.service_error import JsonObject, ServiceError, not_found

#: Billed share of the seconds of a spot job: "savings" are 1 - BillableTime / TrainingTime.
SPOT_PRICE_SHARE = 0.3
_MAX_REASON = 1024
_DEFAULT_MAX_RUNTIME_S = 86_400


class JobStatus(StrEnum):
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
    stopping = "Stopping"
    completed = "Completed"
    failed = "Failed"
    stopped = "Stopped"
    max_runtime_exceeded = "MaxRuntimeExceeded"
    max_wait_exceeded = "MaxWaitTimeExceeded"


_STATUS = {
    Phase.stopping: JobStatus.stopping,
    Phase.completed: JobStatus.completed,
    Phase.failed: JobStatus.failed,
    Phase.stopped: JobStatus.stopped,
    Phase.max_runtime_exceeded: JobStatus.stopped,
    Phase.max_wait_exceeded: JobStatus.stopped,
}
_MESSAGE = {
    Phase.starting: "Preparing the instances for training",
    Phase.downloading: "Downloading input data",
    Phase.training: "Training image download completed. Training in progress.",
    Phase.uploading: "Uploading generated training model",
    Phase.interrupted: "Training job interrupted: the spot instance was taken back",
    Phase.stopping: "Stopping the training job",
    Phase.completed: "Training job completed",
    Phase.failed: "Training job failed",
    Phase.stopped: "Training job stopped",
    Phase.max_runtime_exceeded: "Training job runtime exceeded MaxRuntimeInSeconds provided",
    Phase.max_wait_exceeded: "Training job exceeded MaxWaitTimeInSeconds provided",
}


class TrainingJob:
    """One training job. Thread-safe.

    Args:
        request: A valid CreateTrainingJob request.
        arn: Its resource name.
        region: Where it was created.
    """

    def __init__(self, request: JsonObject, arn: str, region: str) -> None:
        self.request = copy.deepcopy(request)
        self.request.setdefault("StoppingCondition", {}).setdefault("MaxRuntimeInSeconds", _DEFAULT_MAX_RUNTIME_S)
        self.name: str = request["TrainingJobName"]
        self.arn = arn
        self.region = region
        self.tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in self.request.pop("Tags", [])}
        self.created = time.time()
        self.created_monotonic = time.monotonic()
        self._lock = threading.RLock()
        self._status = JobStatus.in_progress
        self._phase = Phase.starting
        self._facts: JsonObject = {"LastModifiedTime": self.created}
        self._transitions: list[JsonObject] = []
        self._seconds_used = 0.0
        self._interruptions = 0
        self.enter(Phase.starting)

    @property
    def is_spot(self) -> bool:
        return bool(self.request.get("EnableManagedSpotTraining"))

    @property
    def status(self) -> JobStatus:
        with self._lock:
            return self._status

    @property
    def phase(self) -> Phase:
        with self._lock:
            return self._phase

    @property
    def interruptions(self) -> int:
        with self._lock:
            return self._interruptions

    @property
    def seconds_used(self) -> float:
        """Of all attempts that have ended, for MaxRuntimeInSeconds."""
        with self._lock:
            return self._seconds_used

    @property
    def max_runtime_s(self) -> float:
        return float(self.request["StoppingCondition"]["MaxRuntimeInSeconds"])

    @property
    def max_wait_s(self) -> float:
        """Since creation; infinite for a job that is not spot."""
        wait = self.request["StoppingCondition"].get("MaxWaitTimeInSeconds")
        return math.inf if wait is None else float(wait)

    @property
    def output_prefix(self) -> str:
        """S3 URI of the folder of the job's results."""
        return f"{self.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"

    def enter(self, phase: Phase, message: str | None = None) -> bool:
        """Records a transition. False, and nothing done, where the job has ended, or is ending and ``phase``
        would bring it back."""
        with self._lock:
            status = _STATUS.get(phase, JobStatus.in_progress)
            if self._status.is_terminal or (self._status is JobStatus.stopping and not status.is_terminal):
                return False
            now = time.time()
            if self._transitions:
                self._transitions[-1].setdefault("EndTime", now)
            transition = {"Status": phase.value, "StartTime": now, "StatusMessage": message or _MESSAGE[phase]}
            if status.is_terminal:
                transition["EndTime"] = now
                self._finish(now)
            if phase is Phase.interrupted:
                self._interruptions += 1
            if phase is Phase.downloading:
                self._facts.setdefault("TrainingStartTime", now)
            self._transitions.append(transition)
            self._status, self._phase = status, phase
            self._facts["LastModifiedTime"] = now
            return True

    def _finish(self, now: float) -> None:
        if "TrainingStartTime" not in self._facts:
            return
        used = max(1, round(self._seconds_used))
        share = SPOT_PRICE_SHARE if self.is_spot else 1.0
        self._facts["TrainingEndTime"] = now
        self._facts["TrainingTimeInSeconds"] = used
        self._facts["BillableTimeInSeconds"] = max(1, math.ceil(used * share))

    def fail(self, reason: str) -> bool:
        """Ends the job as Failed."""
        with self._lock:
            if self._status.is_terminal:
                return False
            self._facts["FailureReason"] = reason[:_MAX_REASON]
            self._status = JobStatus.in_progress  # also a job that was being stopped may fail
            return self.enter(Phase.failed)

    def add_attempt(self, seconds: float) -> None:
        """Counts the duration of an attempt that has ended."""
        with self._lock:
            self._seconds_used += seconds

    def set_result(self, model_uri: str | None, metrics: list[JsonObject]) -> None:
        with self._lock:
            if model_uri is not None:
                self._facts["ModelArtifacts"] = {"S3ModelArtifacts": model_uri}
            if metrics:
                self._facts["FinalMetricDataList"] = metrics

    def update(self, changes: JsonObject) -> None:
        """Merges the members of an UpdateTrainingJob request."""
        with self._lock:
            for name, value in changes.items():
                if isinstance(value, dict):
                    self.request.setdefault(name, {}).update(value)
                else:
                    self.request[name] = value
            self._facts["LastModifiedTime"] = time.time()

    def describe(self) -> JsonObject:
        """Everything that is known, by the service's names; with ``Tags``."""
        with self._lock:
            return copy.deepcopy(
                {
                    "EnableNetworkIsolation": False,
                    "EnableInterContainerTrafficEncryption": False,
                    "EnableManagedSpotTraining": False,
                    "ModelArtifacts": {"S3ModelArtifacts": ""},
                    **self.request,
                    "TrainingJobArn": self.arn,
                    "TrainingJobStatus": self._status.value,
                    "SecondaryStatus": self._phase.value,
                    "CreationTime": self.created,
                    "SecondaryStatusTransitions": self._transitions,
                    **self._facts,
                    "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
                }
            )

    def set_tags(self, tags: Iterable[JsonObject], remove: Iterable[str] = ()) -> list[JsonObject]:
        """Adds or replaces ``tags``, drops the keys in ``remove``; returns all."""
        with self._lock:
            wanted = {**self.tags, **{tag["Key"]: tag["Value"] for tag in tags}}
            for key in remove:
                wanted.pop(key, None)
            if len(wanted) > 50:
                raise ServiceError("ResourceLimitExceeded", "The maximum number of tags of a resource is 50.")
            self.tags = wanted
            return [{"Key": key, "Value": value} for key, value in wanted.items()]


class JobTable:
    """All training jobs, unique per region and name. Thread-safe."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._jobs: dict[tuple[str, str], TrainingJob] = {}
        self._lock = threading.Lock()

    def arn(self, region: str, name: str) -> str:
        return f"arn:aws:sagemaker:{region}:{self._account_id}:training-job/{name}"

    def create(self, region: str, request: JsonObject) -> TrainingJob:
        """Raises ServiceError ``ResourceInUse`` for a name that exists."""
        name = request["TrainingJobName"]
        with self._lock:
            if (region, name) in self._jobs:
                raise ServiceError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with "
                    f"this name already exists ({self.arn(region, name)})",
                )
            job = TrainingJob(request, self.arn(region, name), region)
            self._jobs[region, name] = job
            return job

    def get(self, region: str, name: str) -> TrainingJob:
        """Raises ServiceError if there is none."""
        with self._lock:
            job = self._jobs.get((region, name))
        if job is None:
            raise not_found()
        return job

    def by_arn(self, arn: str) -> TrainingJob | None:
        return next((job for job in self.all() if job.arn.lower() == arn.lower()), None)

    def by_name(self, name: str) -> list[TrainingJob]:
        """The jobs of that name, in any region."""
        return [job for job in self.all() if job.name == name]

    def all(self, region: str | None = None) -> list[TrainingJob]:
        """In the order of their creation."""
        with self._lock:
            return [job for job in self._jobs.values() if region in (None, job.region)]

    def remove(self, job: TrainingJob) -> None:
        with self._lock:
            self._jobs.pop((job.region, job.name), None)
