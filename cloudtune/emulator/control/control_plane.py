"""SageMaker's operations on training jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from botocore.model import StructureShape

from cloudtune.emulator.control.account_rules import Account
from cloudtune.emulator.control.listing import list_jobs
from cloudtune.emulator.control.rules import check_create
from cloudtune.emulator.control.search import Search
from cloudtune.emulator.control.tag_rules import check_tags
from cloudtune.emulator.control.update_rules import check_delete, check_stop, check_update
from cloudtune.emulator.control.validation import RequestValidator, load_model
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.faults.stale_reads import Readable, seen
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid


class JobRunner(Protocol):
    """What runs the jobs."""

    def create(self, region: str, request: JsonObject) -> TrainingJob:
        """Of a valid request. Raises ServiceError if its name is taken or its quota used up."""
        ...

    def stop(self, job: TrainingJob) -> None:
        """Returns at once; the job's states tell how it goes on."""
        ...

    def update(self, job: TrainingJob, changes: JsonObject) -> None: ...


class ControlPlane:
    """Answers requests.

    Args:
        table: The jobs.
        account: What requests may refer to.
        runner: Runs what is created.
        faults: May make reads lag behind.
    """

    def __init__(self, table: JobTable, account: Account, runner: JobRunner, faults: Faults) -> None:
        self._table = table
        self._account = account
        self._runner = runner
        self._faults = faults
        self._model = load_model("sagemaker")
        self._validator = RequestValidator(self._model)
        self._described = list(_structure(self._model.operation_model("DescribeTrainingJob").output_shape).members)
        kinds = self._model.shape_for("ResourceType").metadata["enum"]
        self._other_resources = [name for name in kinds if name != "TrainingJob"]
        self._search = Search(_structure(self._model.shape_for("TrainingJob")))
        self._operations: Mapping[str, Callable[[str, JsonObject], JsonObject]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "StopTrainingJob": self._stop,
            "UpdateTrainingJob": self._update,
            "DeleteTrainingJob": self._delete,
            "ListTrainingJobs": lambda region, request: list_jobs(self._seen("ListTrainingJobs", region), request),
            "Search": lambda region, request: self._search.answer(self._seen("Search", region), request),
            "AddTags": self._add_tags,
            "ListTags": self._list_tags,
            "DeleteTags": self._delete_tags,
        }

    @property
    def operations(self) -> list[str]:
        """The names of the operations that are answered here; moto answers the others."""
        return list(self._operations)

    def answers(self, operation: str, request: object) -> bool:
        """Whether the request is about training jobs; others are moto's. Raises ServiceError for what the service
        does not know."""
        if operation not in self._model.operation_names:
            raise ServiceError(
                "UnknownOperationException", f"SageMaker has no operation {operation!r}.", rule="operation.unknown"
            )
        if operation not in self._operations:
            return False
        if not self._is_about_others(operation, request):
            return True
        self._validator.check(operation, request)  # moto does not
        return False

    def _is_about_others(self, operation: str, request: object) -> bool:
        """Whether an operation that takes several kinds of resources is asked for one other than jobs."""
        if not isinstance(request, dict):
            return False
        arn = request.get("ResourceArn")
        if isinstance(arn, str) and arn.startswith("arn:") and ":training-job/" not in arn:
            return True
        return operation == "Search" and request.get("Resource") in self._other_resources

    def answer(self, operation: str, region: str, request: object) -> JsonObject:
        """Performs one operation. Raises ServiceError."""
        return self._operations[operation](region, self._validator.check(operation, request))

    def _create(self, region: str, request: JsonObject) -> JsonObject:
        check_create(request, region, self._account)
        return {"TrainingJobArn": self._runner.create(region, request).arn}

    def _describe(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        document = seen(self._faults, "DescribeTrainingJob", [job])[0].view()
        return {name: document[name] for name in self._described if name in document}

    def _seen(self, operation: str, region: str) -> Sequence[Readable]:
        return seen(self._faults, operation, self._table.all(region))

    def _stop(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        check_stop(job)
        self._runner.stop(job)
        return {}

    def _update(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        changes = {name: value for name, value in request.items() if name != "TrainingJobName"}
        check_update(job, changes)
        self._runner.update(job, changes)
        return {"TrainingJobArn": job.arn}

    def _delete(self, region: str, request: JsonObject) -> JsonObject:
        job = self._table.get(region, request["TrainingJobName"])
        check_delete(job)
        self._table.remove(job)
        return {}

    def _tagged(self, request: JsonObject) -> TrainingJob:
        job = self._table.by_arn(request["ResourceArn"])
        if job is None:
            raise invalid(f"Could not find resource {request['ResourceArn']}.", rule="tags.resource")
        return job

    def _add_tags(self, region: str, request: JsonObject) -> JsonObject:
        del region  # the resource name holds it
        check_tags(request["Tags"])
        return {"Tags": self._tagged(request).set_tags(request["Tags"])}

    def _list_tags(self, region: str, request: JsonObject) -> JsonObject:
        del region
        return {"Tags": self._tagged(request).set_tags([])}

    def _delete_tags(self, region: str, request: JsonObject) -> JsonObject:
        del region
        self._tagged(request).set_tags([], remove=request["TagKeys"])
        return {}


def _structure(shape: object) -> StructureShape:
    if not isinstance(shape, StructureShape):
        raise TypeError(f"not a structure: {shape!r}")
    return shape
