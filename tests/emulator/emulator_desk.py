"""SageMaker's counter without the machine room: requests are checked, jobs never run."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from moto.core.base_backend import BackendDict
from moto.s3.models import s3_backends

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.control.account_rules import Account
from cloudtune.emulator.control.control_plane import ControlPlane
from cloudtune.emulator.control.iam import Roles
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext, TrainingJob
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import ServiceError
from cloudtune.emulator.settings import ACCOUNT_ID

REGION = "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/service-role/anybody"
REQUEST: dict[str, Any] = {
    "TrainingJobName": "job",
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "InputDataConfig": [
        {
            "ChannelName": "code",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://here/code/"}},
        }
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://here/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 600},
}


class NobodyRuns:
    """Takes jobs and leaves them as they are."""

    def __init__(self, table: JobTable) -> None:
        self._table = table

    def create(self, region: str, request: dict[str, Any]) -> TrainingJob:
        return self._table.create(region, request)

    def update(self, job: TrainingJob, changes: dict[str, Any]) -> None:
        job.update(changes)

    def stop(self, job: TrainingJob) -> None:
        """Asked for; nothing happens."""


class Desk:
    """Has the buckets ``here`` and, in another region, ``elsewhere``, each with an object below ``code/``."""

    def __init__(self) -> None:
        BackendDict.reset()
        backend = s3_backends[ACCOUNT_ID]["aws"]
        for bucket, region in (("here", REGION), ("elsewhere", "eu-west-1")):
            backend.create_bucket(bucket, region)
            backend.put_object(bucket, "code/train.py", b"")
        self.store = ObjectStore(ACCOUNT_ID)
        self.roles = Roles()
        self.table = JobTable(ACCOUNT_ID, JobContext(ServiceClock(), AuditLog()))
        account = Account(self.store, self.roles)
        self.control = ControlPlane(self.table, account, NobodyRuns(self.table), Faults())

    def ask(self, operation: str, request: Any, region: str = REGION) -> dict[str, Any]:
        return self.control.answer(operation, region, request)

    def refusal(self, operation: str, request: Any) -> ServiceError:
        """The error that a request must get."""
        try:
            self.ask(operation, request)
        except ServiceError as error:
            return error
        raise AssertionError(f"{operation} accepted {request}")


def changed(request: dict[str, Any], *changes: tuple[str, Any]) -> dict[str, Any]:
    """A copy with the members at dotted paths set or, for None, removed."""
    request = copy.deepcopy(request)
    for path, value in changes:
        inner = request
        *parents, last = path.split(".")
        for name in parents:
            inner = inner.setdefault(name, {})
        if value is None:
            inner.pop(last, None)
        else:
            inner[last] = value
    return request


def calls_of(work: Callable[[], object]) -> int:
    """What ``work`` costs on any machine: the functions, written in Python, that it calls."""
    number = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal number
        number += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


class Fixed:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time


def fill(desk: Desk, count: int) -> list[TrainingJob]:
    """Jobs ``job-000`` on, created one second after the other; every third has failed."""
    clock = Fixed()
    desk.table.context.clock = clock  # type: ignore[assignment]
    jobs = []
    for number in range(count):
        clock.time += 1
        desk.ask("CreateTrainingJob", changed(REQUEST, ("TrainingJobName", f"job-{number:03d}")))
        jobs.append(desk.table.get("us-east-1", f"job-{number:03d}"))
        if number % 3 == 0:
            jobs[-1].fail("AlgorithmError: x")
    return jobs
