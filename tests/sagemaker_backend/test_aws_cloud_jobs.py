"""The port for jobs against the emulator: jobs that really run, and what goes wrong with calls."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from cloudtune.aws.job_end import JobEnd, why
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.session import AwsSession
from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.errors import (
    AlreadyExists,
    InvalidRequest,
    QuotaExceeded,
    ResourceNotFound,
    ServiceFailed,
    SpecError,
    Throttled,
    Unreachable,
)
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.sagemaker_backend import aws_cloud
from cloudtune.sagemaker_backend.aws_cloud import AwsTrialJobs
from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.sagemaker_backend.quota_names import Refusal, parse_refusal

Emulator = SageMakerEmulator
SUFFIX = "-port-test"
BUCKET = "port-test"
WAIT = "import signal; signal.pause()"


def scenario(*faults: dict[str, Any], quotas: dict[str, Any] | None = None) -> Scenario:
    return Scenario.from_json({"schema": 1, "faults": list(faults), "quotas": quotas or {}})


def spec(aws: Emulator, name: str, script: str = WAIT, **more: Any) -> TrainingJobSpec:
    return TrainingJobSpec(
        name + SUFFIX,
        "image",
        aws.role_arn,
        f"s3://{BUCKET}/output",
        entrypoint=(sys.executable, "-c", script),
        **more,
    )


def calls(aws: Emulator) -> Counter[str]:
    return Counter(entry["operation"] for entry in aws.audit.entries("call"))


def until(look: Callable[[], Any], what: str) -> Any:
    """What ``look`` returns as soon as it is true."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


def ended(jobs: AwsTrialJobs, name: str) -> JobStatus:
    found: JobStatus = until(
        lambda: status if (status := jobs.describe(name)).state.is_final else None, f"{name} has ended"
    )
    return found


@pytest.fixture
def jobs(shared_sagemaker_emulator: Emulator) -> AwsTrialJobs:
    return AwsTrialJobs(AwsSession())


@pytest.fixture
def aws(shared_sagemaker_emulator: Emulator) -> Emulator:
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return shared_sagemaker_emulator


def test_a_job_from_its_creation_to_its_end(aws: Emulator, jobs: AwsTrialJobs) -> None:
    job = spec(aws, "0-0", "print('hello')", hyperparameters={"lr": 0.1}, environment={"A": "b"}, max_run_s=600)
    jobs.create(job)
    with pytest.raises(AlreadyExists):
        jobs.create(job)
    status = ended(jobs, job.name)
    assert why(status) is JobEnd.completed
    assert (status.instance_type, status.instance_count, status.spot) == ("ml.m5.large", 1, False)
    assert (status.hyperparameters, status.environment, status.max_run_s) == ({"lr": "0.1"}, {"A": "b"}, 600)
    assert status.billable_s == status.training_s
    assert status.last_modified is not None
    jobs.stop(job.name)
    with pytest.raises(ResourceNotFound):
        jobs.describe("never-was")
    with pytest.raises(ResourceNotFound):
        jobs.stop("never-was")


def test_what_cannot_be_is_not_sent(aws: Emulator, jobs: AwsTrialJobs) -> None:
    job = spec(aws, "bad_name")
    with pytest.raises(SpecError):
        jobs.create(job)
    assert calls(aws)["CreateTrainingJob"] == 0


def test_a_used_up_quota_is_told_in_the_services_words(aws: Emulator, jobs: AwsTrialJobs) -> None:
    aws.apply_scenario(scenario(quotas={"ml.m5.large": {"on_demand": 1}}))
    jobs.create(spec(aws, "0-0"))
    with pytest.raises(QuotaExceeded) as caught:
        jobs.create(spec(aws, "1-0"))
    assert parse_refusal(caught.value.message) == Refusal("ml.m5.large", Usage.on_demand, 1, 1)


def test_quotas_are_read(aws: Emulator, jobs: AwsTrialJobs) -> None:
    aws.apply_scenario(scenario(quotas={"ml.m5.large": {"on_demand": 7, "spot": 3}, "ml.g5.xlarge": {"spot": 0}}))
    found = jobs.quotas(["ml.m5.large", "ml.g5.xlarge", "ml.no.such"])
    assert found == {
        ("ml.m5.large", Usage.on_demand): 7,
        ("ml.m5.large", Usage.spot): 3,
        ("ml.m5.large", Usage.warm_pool): 0,
        ("ml.g5.xlarge", Usage.on_demand): 10_000,
        ("ml.g5.xlarge", Usage.spot): 0,
        ("ml.g5.xlarge", Usage.warm_pool): 0,
    }


def test_quotas_that_cannot_be_read_are_left_out(aws: Emulator, jobs: AwsTrialJobs) -> None:
    aws.apply_scenario(
        scenario({"kind": "throttle", "operations": ["servicequotas:*"], "per_s": 0.001, "burst": 3})
    )
    assert len(jobs.quotas(["ml.c4.2xlarge", "ml.trn1.32xlarge"])) < 6
    assert jobs.quotas(["ml.m5.large"]) == {}


def test_warm_pools_are_released(aws: Emulator, jobs: AwsTrialJobs) -> None:
    aws.apply_scenario(scenario(quotas={"*": {"warm_pool": 1}}))
    job = spec(aws, "0-0", "pass", keep_alive_s=1000)
    jobs.create(job)
    assert ended(jobs, job.name).warm_pool_status == "Available"
    jobs.release_warm_pool(job.name)
    status = jobs.describe(job.name)
    assert status.warm_pool_status == "Terminated"
    assert status.retained_billable_s is not None
    jobs.release_warm_pool(job.name)
    jobs.release_warm_pool("never-was")


# ---- listing


def test_changes_since_then(aws: Emulator, jobs: AwsTrialJobs) -> None:
    aws.apply_scenario(scenario({"kind": "capacity_error", "name_prefix": "0-"}))
    jobs.create(spec(aws, "0-0"))
    first = ended(jobs, f"0-0{SUFFIX}")
    assert first.last_modified is not None
    (listed,) = jobs.changed(SUFFIX, None)
    assert (listed.name, listed.state) == (first.name, JobState.failed)
    assert listed.last_modified == pytest.approx(first.last_modified, abs=1.0)
    assert [status.name for status in jobs.changed(SUFFIX, first.last_modified)] == [first.name]
    assert jobs.changed(SUFFIX, first.last_modified + 100.0) == []
    assert jobs.changed("-another-tuner", None) == []


@pytest.fixture
def many(aws: Emulator, jobs: AwsTrialJobs, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of jobs that fill more than two pages."""
    monkeypatch.setattr(aws_cloud, "_PAGE", 5)
    aws.apply_scenario(scenario({"kind": "capacity_error"}))
    for number in range(12):
        jobs.create(spec(aws, f"{number}-0"))
    aws.apply_scenario("calm")
    return {f"{number}-0{SUFFIX}" for number in range(12)}


def test_a_long_listing_takes_two_pages_a_call(aws: Emulator, jobs: AwsTrialJobs, many: set[str]) -> None:
    first = jobs.changed(SUFFIX, None)
    assert (len(first), calls(aws)["ListTrainingJobs"]) == (10, 2)
    assert jobs.changed("-another-tuner", None) == []
    second = jobs.changed(SUFFIX, 4e9)  # goes on, whatever it is asked
    assert {status.name for status in first + second} == many
    assert jobs.changed(SUFFIX, 4e9) == []


def test_a_listing_that_is_throttled_goes_on_where_it_was(
    aws: Emulator, jobs: AwsTrialJobs, many: set[str]
) -> None:
    aws.apply_scenario(
        scenario({"kind": "throttle", "operations": ["sagemaker:ListTrainingJobs"], "per_s": 1e-6, "burst": 1})
    )
    found = jobs.changed(SUFFIX, None)
    assert len(found) == 5
    with pytest.raises(Throttled):
        jobs.changed(SUFFIX, None)
    aws.apply_scenario("calm")
    found += jobs.changed(SUFFIX, None)
    assert {status.name for status in found} == many
    assert len(jobs.changed(SUFFIX, None)) == 10  # another listing


def test_a_listing_that_lags_shows_jobs_later(aws: Emulator, jobs: AwsTrialJobs) -> None:
    jobs.create(spec(aws, "0-0"))
    aws.apply_scenario(
        scenario({"kind": "stale_read", "operations": ["ListTrainingJobs"], "appears_s": 1000.0, "lag_s": 0.0})
    )
    assert jobs.changed(SUFFIX, None) == []
    aws.apply_scenario("calm")
    assert len(jobs.changed(SUFFIX, None)) == 1


# ---- calls that fail


def test_an_answer_that_is_lost_is_no_second_job(aws: Emulator, jobs: AwsTrialJobs) -> None:
    fault = {
        "kind": "request_error",
        "operations": ["sagemaker:CreateTrainingJob"],
        "error": "internal_error",
        "after_effect": True,
        "times": 1,
    }
    aws.apply_scenario(scenario(fault))
    with pytest.raises(AlreadyExists):  # its own: botocore has asked again
        jobs.create(spec(aws, "0-0"))
    assert len(jobs.changed(SUFFIX, None)) == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [("throttled", Throttled), ("unavailable", ServiceFailed), ("connection_reset", Unreachable)],
)
def test_what_a_call_meets_is_told_after_two_tries(
    aws: Emulator, jobs: AwsTrialJobs, error: str, raised: type[Exception]
) -> None:
    aws.apply_scenario(scenario({"kind": "request_error", "operations": ["sagemaker:*"], "error": error}))
    for call in (
        lambda: jobs.describe("x"),
        lambda: jobs.changed(SUFFIX, None),
        lambda: jobs.stop("x"),
        lambda: jobs.release_warm_pool("x"),
        lambda: jobs.create(spec(aws, "0-0")),
    ):
        before = len(aws.audit.entries("fault"))
        with pytest.raises(raised):
            call()
        assert len(aws.audit.entries("fault")) - before == 2


def test_a_stop_that_is_refused_for_another_reason_is_told(jobs: AwsTrialJobs) -> None:
    with pytest.raises(InvalidRequest):
        jobs.stop("not/a/name")


@pytest.mark.sagemaker_emulator(time_scale=60)  # a job that is deaf is killed two seconds after SIGTERM
def test_the_ends_of_jobs_are_told_apart(sagemaker_emulator: Emulator) -> None:
    aws, jobs = sagemaker_emulator, AwsTrialJobs(AwsSession())
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    aws.apply_scenario(
        scenario(
            {"kind": "capacity_error", "name_prefix": "1-"},
            {"kind": "internal_error", "training_s": 0.1, "name_prefix": "2-"},
        )
    )
    jobs.create(spec(aws, "0-0", "raise SystemExit(3)"))
    jobs.create(spec(aws, "1-0"))
    jobs.create(spec(aws, "2-0"))
    jobs.create(spec(aws, "3-0", max_run_s=6))
    jobs.create(spec(aws, "4-0"))
    jobs.stop(f"4-0{SUFFIX}")
    jobs.stop(f"4-0{SUFFIX}")
    ends = [why(ended(jobs, f"{number}-0{SUFFIX}")) for number in range(5)]
    assert ends == [JobEnd.user_code, JobEnd.capacity, JobEnd.internal, JobEnd.max_runtime, JobEnd.stopped]
    assert jobs.describe(f"0-0{SUFFIX}").failure_reason.endswith("exit code: 3")
