"""SageMaker's operations on training jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from botocore.loaders import Loader
from botocore.model import ServiceModel, StructureShape

from cloudtune.emulator.jobs import JobStatus, JobTable, TrainingJob
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.queries import list_jobs, search_jobs
from cloudtune.emulator.rules import check_create
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid
from cloudtune.emulator.validation import RequestValidator


class JobRunner(Protocol):
    """What runs the jobs."""

    def submit(self, job: TrainingJob) -> None: ...

    def stop(self, job: TrainingJob) -> None:
        """Returns at once; the job's states tell how it goes on."""
        ...


class ControlPlane:
    """Answers requests.

    Args:
        table: The jobs.
        store: The account's buckets.
        runner: Runs what is created.
    """

    def __init__(self, table: JobTable, store: ObjectStore, runner: JobRunner) -> None:
        self._table = table
        self._store = store
        self._runner = runner
        # Without a session, which would read the user's configuration and may refuse it.
        self._model = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")
        self._validator = RequestValidator(self._model)
        self._described = _members(self._model.operation_model("DescribeTrainingJob").output_shape)
        self._found = _members(self._model.shape_for("TrainingJob"))
        self._operations: Mapping[str, Callable[[str, JsonObject], JsonObject]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "StopTrainingJob": self._stop,
            "UpdateTrainingJob": self._update,
            "DeleteTrainingJob": self._delete,
            "ListTrainingJobs": lambda region, request: list_jobs(self._table.all(region), request),
            "Search": lambda region, request: search_jobs(self._table.all(region), request, self._found),
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }

    def answers(self, operation: str, request: object) -> bool:
        """Whether the request is about training jobs. Raises ServiceError for what the service does not know."""
        if operation not in self._model.operation_names:
            raise ServiceError("UnknownOperationException", f"SageMaker has no operation {operation!r}.")
        if operation not in self._operations:
            return False
        if isinstance(request, dict):
            arn = request.get("ResourceArn")
            if isinstance(arn, str) and arn.startswith("arn:") and ":training-job/" not in arn:
                return False
            return operation != "Search" or request.get("Resource", "TrainingJob") == "TrainingJob"
        return True

    def answer(self, operation: str, region: str, request: object) -> JsonObject:
        """Performs one operation. Raises ServiceError."""
        return self._operations[operation](region, self._validator.check(operation, request))

    def _create(self, region: str, request: JsonObject) -> JsonObject:
        check_create(request, self._store)
        job = self._table.create(region, request)
        self._runner.submit(job)
        return {"TrainingJobArn": job.arn}

    def _describe(self, region: str, request: JsonObject) -> JsonObject:
        document = self._table.get(region, request["TrainingJobName"]).describe()
        return {name: document[name] for name in self._described if name in document}

    def _stop(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        if job.status.is_terminal:
            raise invalid(f"The request was rejected because the training job is in status {job.status}.")
        self._runner.stop(job)
        return {}

    def _update(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        if job.status is not JobStatus.in_progress:
            raise invalid(f"The request was rejected because the training job is in status {job.status}.")
        job.update({name: value for name, value in request.items() if name != "TrainingJobName"})
        return {"TrainingJobArn": job.arn}

    def _delete(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        if not job.status.is_terminal:
            raise ServiceError(
                "ResourceInUse",
                f"The training job {job.name} is in status {job.status}; only ended jobs can be deleted.",
            )
        self._table.remove(job)
        return {}

    def _tagged(self, request: JsonObject) -> TrainingJob:
        job = self._table.by_arn(request["ResourceArn"])
        if job is None:
            raise invalid(f"Could not find resource {request['ResourceArn']}.")
        return job

    def _add_tags(self, region: str, request: JsonObject) -> JsonObject:
        del region  # the resource name holds it
        return {"Tags": self._tagged(request).set_tags(request["Tags"])}

    def _list_tags(self, region: str, request: JsonObject) -> JsonObject:
        del region
        return {"Tags": self._tagged(request).set_tags([])}

    def _delete_tags(self, region: str, request: JsonObject) -> JsonObject:
        del region
        self._tagged(request).set_tags([], remove=request["TagKeys"])
        return {}


def _members(shape: object) -> list[str]:
    if not isinstance(shape, StructureShape):
        raise TypeError(f"not a structure: {shape!r}")
    return list(shape.members)
