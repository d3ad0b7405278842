"""All training jobs of an account."""

from __future__ import annotations

from cloudtune.emulator.fleet.jobs import JobContext, TrainingJob
from cloudtune.emulator.service_error import JsonObject, ServiceError, not_found


class JobTable:
    """All training jobs, unique per region and name. Thread-safe.

    Args:
        account_id: Part of the resource names.
        context: What the jobs share.
    """

    def __init__(self, account_id: str, context: JobContext) -> None:
        self._account_id = account_id
        self._jobs: dict[tuple[str, str], TrainingJob] = {}
        self.context = context
        self._lock = context.lock

    def arn(self, region: str, name: str) -> str:
        return f"arn:aws:sagemaker:{region}:{self._account_id}:training-job/{name}"

    def create(self, region: str, request: JsonObject) -> TrainingJob:
        """Raises ServiceError ``ResourceInUse`` for a name that exists."""
        name = request["TrainingJobName"]
        with self._lock:
            self.check_free(region, name)
            job = TrainingJob(request, self.arn(region, name), region, self.context)
            self._jobs[region, name] = job
            return job

    def check_free(self, region: str, name: str) -> None:
        """Raises ServiceError ``ResourceInUse`` for a name that exists."""
        with self._lock:
            if (region, name) in self._jobs:
                raise ServiceError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with "
                    f"this name already exists ({self.arn(region, name)})",
                    rule="create.name.unique",
                )

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

    def put(self, job: TrainingJob) -> None:
        """A job of a former emulator's table."""
        with self._lock:
            self._jobs[job.region, job.name] = job

    def remove(self, job: TrainingJob) -> None:
        with self._lock:
            if self._jobs.pop((job.region, job.name), None) is not None:
                self.context.on_remove(job)
                job.leave()
