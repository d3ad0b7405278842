from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from cloudtune.aws.job_end import JobEnd, why
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.emulator.fleet.job_states import CAPACITY_ERROR, INTERNAL_ERROR
from cloudtune.emulator.machine.attempt import Exit


@pytest.mark.parametrize(
    ("state", "phase", "reason", "end"),
    [
        ("InProgress", "Training", "", None),
        ("Stopping", "Stopping", "", None),
        ("Deleting", "Completed", "", None),
        ("Completed", "Completed", "", "completed"),
        ("Stopped", "Stopped", "", "stopped"),
        ("Stopped", "", "", "stopped"),
        ("Stopped", "MaxRuntimeExceeded", "", "max_runtime"),
        ("Stopped", "MaxWaitTimeExceeded", "", "max_wait"),
        ("Failed", "Failed", Exit(1, "Traceback: InternalServerError in my own service").reason(), "user_code"),
        ("Failed", "Failed", "AlgorithmError: , exit code: 137", "user_code"),
        ("Failed", "Failed", "ClientError: Data download failed: no such bucket", "bad_request"),
        ("Failed", "Failed", CAPACITY_ERROR, "capacity"),
        ("Failed", "Failed", INTERNAL_ERROR, "internal"),
        ("Failed", "Failed", "We encountered an internal error. Please try again.", "internal"),
        ("Failed", "Failed", "SomethingNew: Internal Server Error", "internal"),
        ("Failed", "Failed", "SomethingNew: of which we know nothing", "user_code"),
        ("Failed", "Failed", "", "user_code"),
    ],
)
def test_why_a_job_has_ended(state: str, phase: str, reason: str, end: str | None) -> None:
    found = why(JobStatus("j", "arn", JobState(state), phase, reason))
    assert found == (None if end is None else JobEnd(end))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


def test_a_status_holds_what_describe_tells() -> None:
    answer: dict[str, Any] = {
        "TrainingJobName": "j",
        "TrainingJobArn": "arn",
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "LastModifiedTime": moment(1000.5),
        "WarmPoolStatus": {"Status": "Reused", "ResourceRetainedBillableTimeInSeconds": 40, "ReusedByJob": "k"},
        "TrainingTimeInSeconds": 100,
        "BillableTimeInSeconds": 30,
        "EnableManagedSpotTraining": True,
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "HyperParameters": {"lr": "0.1"},
        "Environment": {"A": "b"},
    }
    status = JobStatus.of(answer)
    assert (status.last_modified, status.warm_pool_status, status.retained_billable_s) == (1000.5, "Reused", 40)
    assert (status.training_s, status.billable_s, status.max_run_s) == (100, 30, 600)
    assert (status.instance_type, status.instance_count, status.spot) == ("ml.m5.large", 2, True)
    assert (status.hyperparameters, status.environment) == ({"lr": "0.1"}, {"A": "b"})
    del answer["EnableManagedSpotTraining"]
    answer["ResourceConfig"] = {"SelectedInstanceType": "ml.m5.xlarge", "InstanceCount": 1}
    status = JobStatus.of(answer)
    assert (status.instance_type, status.spot) == ("ml.m5.xlarge", False)


def test_a_status_from_a_summary_says_what_it_does_not_know() -> None:
    summary = {"TrainingJobName": "j", "TrainingJobArn": "arn", "TrainingJobStatus": "InProgress"}
    status = JobStatus.of(summary)
    assert (status.instance_type, status.instance_count, status.spot, status.max_run_s) == ("", None, None, None)
    assert (status.last_modified, status.warm_pool_status, status.retained_billable_s) == (None, "", None)
