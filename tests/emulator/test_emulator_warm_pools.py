"""Warm pools: kept, found by jobs that match, ended."""

from __future__ import annotations

from typing import Any

import pytest
from emulator_rig import Rig, error_of, eventually
from fleet_rig import FleetRig, request
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.fleet.delays import CALM, FamilyDelays
from cloudtune.emulator.fleet.job_states import CAPACITY_ERROR, INTERNAL_ERROR, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.service_error import ServiceError

SLOW = (FamilyDelays(("ml.",), start=(100.0, 100.0)),)
NETWORK = {"SecurityGroupIds": ["sg-1", "sg-2"], "Subnets": ["subnet-1"]}


@pytest.fixture
def rig() -> FleetRig:
    found = FleetRig(delays=SLOW)
    found.quotas.set_limit("*", "warm_pool", 10)
    return found


def _pooled(rig: FleetRig, name: str = "first", **changes: Any) -> TrainingJob:
    """A job that has just completed, and whose instances are kept for 600 s."""
    job = rig.create(name, keep_alive=600, **changes)
    assert rig.pool(job) == {"Status": "InUse"}
    rig.later(100.0)
    assert rig.fleet.take_ready(1) == [job]
    job.enter(Phase.downloading)
    rig.complete(job, 50.0)
    return job


def test_a_job_that_matches_starts_at_once_on_the_first_ones_instances(rig: FleetRig) -> None:
    first = _pooled(rig)
    assert rig.pool(first) == {"Status": "Available"}
    rig.later(200.0)
    second = rig.create("second", keep_alive=60, run=True)  # without any delay
    assert rig.pool(first) == {
        "Status": "Reused",
        "ReusedByJob": "second",
        "ResourceRetainedBillableTimeInSeconds": 200,
    }
    assert rig.pool(second) == {"Status": "InUse"}
    third = rig.create("third", keep_alive=60)  # the pool is gone
    rig.later(99.0)
    assert rig.fleet.take_ready(9) == []
    rig.later(1.0)
    assert rig.fleet.take_ready(9) == [third]
    rig.complete(second)
    assert rig.pool(second) == {"Status": "Available"}
    rig.later(61.0)
    assert rig.pool(second) == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 60}

    billed = [entry for entry in rig.audit.entries("billed") if entry["what"] == "warm_pool"]
    assert [(entry["job"], entry["billable_seconds"]) for entry in billed] == [("first", 200.0), ("second", 60.0)]


@pytest.mark.parametrize(
    "change",
    [
        {"RoleArn": "arn:aws:iam::123456789012:role/another"},
        {"type": "ml.m5.xlarge"},
        {"count": 3},
        {"VpcConfig": {**NETWORK, "Subnets": ["subnet-2"]}},
        {"VpcConfig": {**NETWORK, "SecurityGroupIds": ["sg-1"]}},
        {"VpcConfig": {}},
        {"EnableInterContainerTrafficEncryption": True},
        {"EnableNetworkIsolation": True},
        {"volume": 2},
        {"kms": "another"},
        {"keep_alive": 0},
        {"region": "eu-west-1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_has_to_match(rig: FleetRig, change: dict[str, Any]) -> None:
    first = _pooled(rig, count=2, VpcConfig=NETWORK)
    region = change.pop("region", "us-east-1")
    other = request("other", **{"count": 2, "keep_alive": 10, "VpcConfig": NETWORK, **change})
    other["ResourceConfig"]["VolumeSizeInGB"] = other.pop("volume", 1)
    if "kms" in other:
        other["ResourceConfig"]["VolumeKmsKeyId"] = other.pop("kms")
    rig.fleet.create(region, other)
    rig.fleet.advance()
    assert rig.fleet.take_ready(1) == []
    assert rig.pool(first) == {"Status": "Available"}


def test_what_need_not_match(rig: FleetRig) -> None:
    first = _pooled(rig, VpcConfig=NETWORK)
    shuffled = {"SecurityGroupIds": ["sg-2", "sg-1"], "Subnets": ["subnet-1"]}
    more = {
        "HyperParameters": {"a": "1"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "Environment": {"A": "b"},
    }
    rig.create("other", keep_alive=1, VpcConfig=shuffled, run=True, **more)
    assert rig.pool(first)["ReusedByJob"] == "other"


def test_the_oldest_pool_is_taken_first_and_each_once(rig: FleetRig) -> None:
    jobs = [rig.create(f"pool-{number}", keep_alive=600) for number in range(3)]
    rig.later(100.0)
    assert rig.fleet.take_ready(9) == jobs
    for job in (jobs[1], jobs[0], jobs[2]):
        job.enter(Phase.downloading)
        rig.complete(job, 1.0)
    for number in range(3):
        rig.create(f"next-{number}", keep_alive=5, run=True)
    assert [rig.pool(job)["ReusedByJob"] for job in jobs] == ["next-1", "next-0", "next-2"]


def test_without_a_quota_there_is_silently_no_pool(rig: FleetRig) -> None:
    rig.quotas.set_limit("*", "warm_pool", 0)
    assert rig.pool(_pooled(rig)) == {"Status": "Terminated"}
    assert rig.used("on_demand") == 0


def test_pools_count_for_both_quotas(rig: FleetRig) -> None:
    rig.quotas.set_limit("ml.m5.large", "warm_pool", 2)
    rig.quotas.set_limit("ml.m5.large", "on_demand", 3)
    first = _pooled(rig, count=2)
    assert (rig.used("on_demand"), rig.used("warm_pool")) == (2, 2)
    with pytest.raises(ServiceError, match="utilization of 2 "):
        rig.create("other", count=2)
    second = rig.create("second", count=2, keep_alive=600, run=True)  # takes the pool's place
    assert (rig.used("on_demand"), rig.used("warm_pool")) == (2, 0)
    other = rig.create("single", count=1, keep_alive=600)
    rig.later(100.0)
    assert rig.fleet.take_ready(1) == [other]
    other.enter(Phase.downloading)
    rig.complete(second)
    rig.complete(other)  # one instance more than the pools may hold
    assert (rig.pool(second)["Status"], rig.pool(other)["Status"]) == ("Available", "Terminated")
    assert (rig.used("on_demand"), rig.used("warm_pool")) == (2, 2)
    assert rig.pool(first)["Status"] == "Reused"


def test_kept_after_a_stop_and_after_the_users_own_failure(rig: FleetRig) -> None:
    stopped, failed = rig.create("stopped", keep_alive=60), rig.create("failed", keep_alive=60)
    rig.later(100.0)
    rig.fleet.take_ready(2)
    for job in (stopped, failed):
        job.enter(Phase.downloading)
    rig.stop(stopped)
    failed.fail("AlgorithmError: , exit code: 1")
    assert [rig.pool(job)["Status"] for job in (stopped, failed)] == ["Available", "Available"]


@pytest.mark.parametrize("reason", [INTERNAL_ERROR, CAPACITY_ERROR])
def test_not_kept_after_the_platforms_failure(rig: FleetRig, reason: str) -> None:
    job = rig.create("job", keep_alive=60)
    rig.later(100.0)
    rig.fleet.take_ready(1)
    job.enter(Phase.downloading)
    job.fail(reason)
    assert rig.pool(job) == {"Status": "Terminated"}


def test_nothing_is_kept_of_a_job_that_had_no_instances_yet(rig: FleetRig) -> None:
    job = rig.create("job", keep_alive=60)
    rig.later(99.0)
    rig.stop(job)
    assert rig.pool(job) == {"Status": "Terminated"}
    assert (rig.used("on_demand"), rig.used("warm_pool")) == (0, 0)


def test_a_cluster_lives_28_days_at_most(rig: FleetRig) -> None:
    _pooled(rig)
    for day in range(1, 29):
        job = rig.create(f"day-{day}", keep_alive=600, run=True)
        rig.complete(job, 86_400.0)
        assert rig.pool(job)["Status"] == ("Available" if day < 28 else "Terminated")


def test_updates(rig: FleetRig) -> None:
    def update(job: TrainingJob, seconds: int) -> None:
        rig.fleet.update(job, {"ResourceConfig": {"KeepAlivePeriodInSeconds": seconds}})

    job = _pooled(rig)
    rig.later(500.0)
    update(job, 1000)
    rig.later(499.0)
    assert rig.pool(job)["Status"] == "Available"
    update(job, 0)
    assert rig.pool(job) == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 999}
    with pytest.raises(ServiceError, match="no warm pool"):
        update(job, 60)
    assert job.describe()["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 0
    shortened = _pooled(rig, "shortened")
    rig.later(500.0)
    update(shortened, 400)  # counts from the end, which is longer ago
    assert rig.pool(shortened) == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 500}

    running = rig.create("running")
    rig.later(100.0)
    rig.fleet.take_ready(1)
    assert "WarmPoolStatus" not in running.describe()
    update(running, 60)
    assert rig.pool(running) == {"Status": "InUse"}
    running.enter(Phase.downloading)
    rig.complete(running)
    assert rig.pool(running)["Status"] == "Available"

    ended = rig.create("ended", keep_alive=60, run=True)
    update(ended, 0)
    rig.complete(ended)
    assert rig.pool(ended) == {"Status": "Terminated"}


def test_instances_that_replace_warm_ones_are_launched_as_any(rig: FleetRig) -> None:
    _pooled(rig)
    job = rig.create("job", keep_alive=60, run=True, RetryStrategy={"MaximumRetryAttempts": 1})
    assert job.restart()
    job.enter(Phase.starting)
    rig.fleet.relaunch(job)
    rig.later(0.0)
    rig.later(99.0)
    assert rig.fleet.take_ready(1) == []
    rig.stop(job)
    assert rig.pool(job) == {"Status": "Terminated"}


def test_preferences_match_by_the_type_that_is_there(rig: FleetRig) -> None:
    first = _pooled(rig, type="ml.m5.xlarge")
    resources = {
        "InstancePreferences": [{"InstanceType": "ml.m5.large"}, {"InstanceType": "ml.m5.xlarge"}],
        "InstanceCount": 1,
        "VolumeSizeInGB": 1,
        "KeepAlivePeriodInSeconds": 60,
    }
    job = rig.create("job", ResourceConfig=resources, run=True)
    assert rig.pool(first)["ReusedByJob"] == "job"
    assert job.describe()["ResourceConfig"]["SelectedInstanceType"] == "ml.m5.xlarge"
    assert job.cluster == (("ml.m5.xlarge", 1),)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 300)), max_size=25))
def test_whatever_happens_instances_are_counted_once(steps: list[tuple[int, int]]) -> None:
    rig = FleetRig()
    rig.quotas.set_limit("ml.m5.large", "warm_pool", 2)
    rig.quotas.set_limit("ml.m5.large", "on_demand", 4)
    jobs: list[TrainingJob] = []
    for number, (action, seconds) in enumerate(steps):
        running = [job for job in jobs if not job.status.is_terminal]
        if action <= 1:
            before = rig.used("on_demand")
            try:
                jobs.append(rig.create(f"job-{number}", keep_alive=seconds * action, run=True))
            except ServiceError:
                assert before == 4
        elif action == 2 and running:
            rig.complete(running[0], 1.0)
        elif action == 3 and running:
            rig.stop(running[-1])
        else:
            rig.later(float(seconds))
        statuses = [job.warm_pool_status for job in jobs]
        running = [job for job in jobs if not job.status.is_terminal]
        assert rig.used("warm_pool") == statuses.count("Available") <= 2
        assert rig.used("on_demand") == len(running) + statuses.count("Available") <= 4
        for job in jobs:
            assert (job.warm_pool_status == "InUse") == (job in running and job.keep_alive_s > 0)


def test_warm_pools_of_jobs_that_really_run() -> None:
    with SageMakerEmulator(time_scale=100) as aws:
        aws.quotas.set_limit("ml.m5.large", "warm_pool", 1)
        rig = Rig(aws.endpoint_url, aws.role_arn)
        resources = {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
            "KeepAlivePeriodInSeconds": 21_600,
        }
        limits = {"MaxRuntimeInSeconds": 2_000_000}
        rig.run("cold", "", ResourceConfig=resources, StoppingCondition=limits)
        assert rig.describe("cold")["WarmPoolStatus"]["Status"] == "Available"
        assert error_of(rig.sagemaker.delete_training_job, TrainingJobName="cold")[0] == "ResourceInUse"
        aws.delays.use((FamilyDelays(("ml.",), start=(1e6, 1e6)),))  # nearly three hours
        rig.run("warm", "", ResourceConfig=resources, StoppingCondition=limits)
        assert rig.describe("cold")["WarmPoolStatus"]["ReusedByJob"] == "warm"
        found = rig.sagemaker.list_training_jobs(WarmPoolStatusEquals="Available")["TrainingJobSummaries"]
        assert [(job["TrainingJobName"], job["WarmPoolStatus"]["Status"]) for job in found] == [
            ("warm", "Available")
        ]
        rig.sagemaker.update_training_job(TrainingJobName="warm", ResourceConfig={"KeepAlivePeriodInSeconds": 0})
        assert rig.describe("warm")["WarmPoolStatus"]["Status"] == "Terminated"
        assert rig.describe("warm")["WarmPoolStatus"]["ResourceRetainedBillableTimeInSeconds"] >= 0
        rig.sagemaker.delete_training_job(TrainingJobName="warm")

        aws.delays.use(CALM)
        short = {**resources, "KeepAlivePeriodInSeconds": 50}
        rig.run("expires", "", ResourceConfig=short, StoppingCondition=limits)
        eventually(lambda: rig.describe("expires")["WarmPoolStatus"]["Status"] == "Terminated", "the pool ends")
        assert rig.describe("expires")["WarmPoolStatus"]["ResourceRetainedBillableTimeInSeconds"] == 50
