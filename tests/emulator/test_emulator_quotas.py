"""Quotas: for each instance type, and for on-demand, spot and warm pools apart."""

from __future__ import annotations

import pytest
from emulator_rig import Rig, error_of
from fleet_rig import REGION, FleetRig, HandClock, request, spot
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.faults.in_force import InForce
from cloudtune.emulator.faults.killing import Killer
from cloudtune.emulator.faults.kinds import CapacityError
from cloudtune.emulator.fleet.delays import Delays
from cloudtune.emulator.fleet.job_states import JobStatus, Phase
from cloudtune.emulator.fleet.quotas import QuotaKind, Quotas
from cloudtune.emulator.service_error import ServiceError
from cloudtune.errors import SpecError


def test_the_refusal_is_in_the_services_words() -> None:
    with SageMakerEmulator(max_parallel_jobs=2, stop_grace_s=0) as aws:
        aws.quotas.set_limit("ml.g5.2xlarge", "spot", 1)
        rig = Rig(aws.endpoint_url, aws.role_arn)
        forever = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True: signal.pause()"
        gpu = {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
        rig.submit("first", forever, spot=True, ResourceConfig=gpu)
        code, message = error_of(
            rig.sagemaker.create_training_job, **rig.request("second", "", spot=True, ResourceConfig=gpu)
        )
        assert code == "ResourceLimitExceeded"
        assert message.startswith(
            "The account-level service limit 'ml.g5.2xlarge for spot training job usage' is 1 Instances, with "
            "current utilization of 1 Instances and a request delta of 1 Instances. Please use AWS Service Quotas"
        )
        names = [job["TrainingJobName"] for job in rig.sagemaker.list_training_jobs()["TrainingJobSummaries"]]
        assert names == ["first"]
        rig.submit("on-demand", "", ResourceConfig=gpu)  # another quota
        code, _ = error_of(
            rig.sagemaker.create_training_job, **rig.request("first", "", spot=True, ResourceConfig=gpu)
        )
        assert code == "ResourceInUse"  # a name that is taken is said first
        rig.sagemaker.stop_training_job(TrainingJobName="first")
        rig.ended("first")
        rig.submit("second", "", spot=True, ResourceConfig=gpu)
        assert rig.ended("second")["TrainingJobStatus"] == "Completed"


def test_all_instances_of_a_job_count_until_its_last_state() -> None:
    rig = FleetRig()
    rig.quotas.set_limit("*", "on_demand", 5)
    job = rig.create("job", run=True, count=4)
    with pytest.raises(ServiceError, match=r"is 5 Instances.* utilization of 4 .* delta of 2 "):
        rig.create("two", count=2)
    rig.create("one")
    job.enter(Phase.stopping)
    assert rig.used("on_demand") == 5
    job.enter(Phase.stopped)
    assert rig.used("on_demand") == 1
    assert rig.used("spot") == 0


def test_an_interrupted_job_keeps_its_place() -> None:
    rig = FleetRig()
    rig.quotas.set_limit("ml.m5.large", "spot", 1)
    job = rig.create("job", run=True, **spot())
    job.enter(Phase.interrupted)
    with pytest.raises(ServiceError):
        rig.create("other", **spot())
    job.enter(Phase.starting)
    rig.fleet.relaunch(job)
    assert rig.used("spot") == 1


def test_instance_groups_count_by_type_together() -> None:
    rig = FleetRig()
    groups = [
        {"InstanceType": "ml.m5.large", "InstanceCount": 2, "InstanceGroupName": "a"},
        {"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "b"},
        {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "InstanceGroupName": "c"},
    ]
    rig.quotas.set_limit("ml.m5.large", "on_demand", 2)
    with pytest.raises(ServiceError, match="delta of 3"):
        rig.create("job", ResourceConfig={"InstanceGroups": groups})
    assert rig.used("on_demand", "ml.g5.xlarge") == 0  # all or none
    rig.quotas.set_limit("ml.m5.large", "on_demand", 3)
    rig.create("job", ResourceConfig={"InstanceGroups": groups})
    assert (rig.used("on_demand"), rig.used("on_demand", "ml.g5.xlarge")) == (3, 1)


def test_preferences_without_quota_or_capacity_are_passed_over() -> None:
    types = ["ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge"]
    resources = {"InstancePreferences": [{"InstanceType": name} for name in types], "InstanceCount": 2}
    rig = FleetRig(CapacityError(("ml.m5.xlarge",)))
    rig.quotas.set_limit("ml.m5.large", "on_demand", 1)
    job = rig.create("job", ResourceConfig=resources)
    assert job.describe()["ResourceConfig"]["SelectedInstanceType"] == "ml.m5.2xlarge"
    assert job.describe()["ResourceConfig"]["SelectedInstanceCount"] == 2
    assert [rig.used("on_demand", name) for name in types] == [0, 0, 2]
    rig.quotas.set_limit("*", "on_demand", 2)
    rig.quotas.set_limit("ml.m5.xlarge", "on_demand", 0)
    with pytest.raises(ServiceError, match=r"'ml\.m5\.large for training job usage'"):  # the first is named
        rig.create("next", ResourceConfig=resources)


def test_one_regions_jobs_do_not_count_in_another() -> None:
    rig = FleetRig()
    rig.quotas.set_limit("*", "on_demand", 1)
    rig.create("job")
    rig.fleet.create("eu-west-1", request("job"))
    with pytest.raises(ServiceError):
        rig.fleet.create("eu-west-1", request("other"))


def test_limits_that_are_none_are_refused() -> None:
    quotas = Quotas(HandClock())
    with pytest.raises(SpecError, match="on-demand") as refused:
        quotas.set_limit("*", "on-demand", 1)
    assert "on_demand, spot, warm_pool" in str(refused.value)
    with pytest.raises(SpecError, match="out of range"):
        quotas.set_limit("*", "spot", -1)
    assert quotas.limit("ml.m5.large", "warm_pool") == 0
    quotas.set_limit("*", "spot", 7)
    quotas.set_limit("ml.m5.large", "spot", 3)
    assert [quotas.limit(name, "spot") for name in ("ml.m5.large", "ml.m5.xlarge")] == [3, 7]


def test_what_a_scenario_limits_is_limited_no_longer_than_that() -> None:
    clock = HandClock()
    faults, quotas = Faults(clock), Quotas(clock)
    in_force = InForce(faults, quotas, Delays(), Killer(faults, None), lambda: None)
    quotas.set_limit("ml.m5.xlarge", "spot", 9)
    for limits, expected in (
        ({"ml.m5.large": {"spot": 3}, "ml.m5.xlarge": {"spot": 4}}, [3, 4]),
        ({"*": {"spot": 5}}, [5, 9]),  # the first has no limit of its own any more
        ({}, [10_000, 9]),
    ):
        in_force.put({"schema": 1, "quotas": limits})
        assert [quotas.limit(name, "spot") for name in ("ml.m5.large", "ml.m5.xlarge")] == expected


def test_without_capacity_for_one_instance_none_is_launched() -> None:
    rig = FleetRig(CapacityError(probability=0.3))
    large = [rig.create(f"large-{number}", count=20) for number in range(20)]
    small = [rig.create(f"small-{number}") for number in range(20)]
    failed = [sum(job.status is JobStatus.failed for job in jobs) for jobs in (large, small)]
    assert failed[0] == 20 > failed[1]  # 0.7 ** 20 is less than a thousandth
    assert rig.used("on_demand") == 20 - failed[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.floats(0, 50)), max_size=30))
def test_what_is_used_never_exceeds_the_limit(steps: list[tuple[int, int, float]]) -> None:
    clock = HandClock()
    quotas = Quotas(clock)
    quotas.set_limit("ml.m5.large", "spot", 6)
    held = []
    freed: list[tuple[float, int]] = []
    for action, count, seconds in steps:
        expected = sum(c.cluster[0][1] for c in held) + sum(n for until, n in freed if until > clock.time)
        assert quotas.used(REGION, "ml.m5.large", "spot") == expected <= 6
        if action == 0 and held:
            claim = held.pop()
            quotas.release(claim, seconds)
            freed.append((clock.time + seconds, claim.cluster[0][1]))
        elif action == 1:
            clock.time += seconds
        elif expected + count <= 6:
            held.append(quotas.claim(REGION, QuotaKind.spot, (("ml.m5.large", count),)))
        else:
            with pytest.raises(ServiceError):
                quotas.claim(REGION, QuotaKind.spot, (("ml.m5.large", count),))
