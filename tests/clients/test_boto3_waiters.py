"""boto3's own waiters and paginators."""

from __future__ import annotations

import pytest
from botocore.exceptions import WaiterError
from client_rig import BUCKET, Account, eventually

QUICKLY = {"Delay": 1, "MaxAttempts": 60}


def test_waits_for_the_end(account: Account) -> None:
    waiter = account.sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=account.submit("waiter-completes", "sleep 0.5"), WaiterConfig=QUICKLY)
    assert account.status("waiter-completes") == "Completed"


def test_a_stopped_job_is_no_error(account: Account) -> None:
    account.submit("waiter-stops", "exec sleep 600")
    account.reached("waiter-stops", "Training")
    account.sagemaker.stop_training_job(TrainingJobName="waiter-stops")
    waiter = account.sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="waiter-stops", WaiterConfig=QUICKLY)
    assert account.status("waiter-stops") == "Stopped"


def test_a_failed_job_is_an_error(account: Account) -> None:
    waiter = account.sagemaker.get_waiter("training_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="terminal failure state") as caught:
        waiter.wait(TrainingJobName=account.submit("waiter-fails", "exit 3"), WaiterConfig=QUICKLY)
    assert caught.value.last_response["FailureReason"] == "AlgorithmError: , exit code: 3"


def test_a_job_that_does_not_exist_is_an_error(account: Account) -> None:
    waiter = account.sagemaker.get_waiter("training_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="ValidationException"):
        waiter.wait(TrainingJobName="never-created", WaiterConfig=QUICKLY)


def test_waiters_of_s3(account: Account) -> None:
    account.s3.get_waiter("bucket_exists").wait(Bucket=BUCKET)
    account.s3.put_object(Bucket=BUCKET, Key="waited/for", Body=b"x")
    account.s3.get_waiter("object_exists").wait(Bucket=BUCKET, Key="waited/for")
    account.s3.delete_object(Bucket=BUCKET, Key="waited/for")
    account.s3.get_waiter("object_not_exists").wait(Bucket=BUCKET, Key="waited/for")


def test_paginators(account: Account) -> None:
    names = {account.submit(f"page-{number}", "true") for number in range(12)}
    pages = list(account.sagemaker.get_paginator("list_training_jobs").paginate(NameContains="page-"))
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [10, 2]  # the service's default size
    found = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert len(found) == 12 and set(found) == names
    for name in names:  # Search sorts by the time of the last change
        eventually(lambda name=name: account.status(name) == "Completed", f"{name} ends")
    expression = {"Filters": [{"Name": "TrainingJobName", "Operator": "Contains", "Value": "page-"}]}
    searched = account.sagemaker.get_paginator("search").paginate(
        Resource="TrainingJob", SearchExpression=expression, PaginationConfig={"PageSize": 5}
    )
    assert {result["TrainingJob"]["TrainingJobName"] for page in searched for result in page["Results"]} == names
