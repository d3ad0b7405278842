from __future__ import annotations

import random

import pytest

from cloudtune.emulator.fleet.quotas import QuotaKind, Quotas
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import ServiceError
from cloudtune.sagemaker_backend.admission import Admission, Grant, Wait
from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.sagemaker_backend.quota_names import Refusal, parse_quota_name, parse_refusal, quota_name

A, B = "ml.g5.xlarge", "ml.g4dn.xlarge"


def admission(*types: str, count: int = 1, usage: Usage = Usage.spot, keep_alive: bool = False) -> Admission:
    return Admission(types or (A, B), count, usage, keep_alive, random.Random(0))


def refusal(limit: int, used: int, instance_type: str = A) -> str:
    return (
        f"Cannot create it: ResourceLimitExceeded: The account-level service limit '{instance_type} for spot "
        f"training job usage' is {limit} Instances, with current utilization of {used} Instances and a request "
        "delta of 1 Instances. Please use AWS Service Quotas to request an increase."
    )


def waits(found: Grant | Wait) -> Wait:
    assert isinstance(found, Wait)
    return found


@pytest.mark.parametrize("usage", list(Usage))
def test_the_services_words_are_understood(usage: Usage) -> None:
    assert parse_quota_name(quota_name(A, usage)) == (A, usage)
    quotas = Quotas(ServiceClock())
    quotas.set_limit(A, usage.value, 2)
    quotas.claim("us-east-1", QuotaKind(usage.value), ((A, 1),))
    with pytest.raises(ServiceError) as caught:
        quotas.claim("us-east-1", QuotaKind(usage.value), ((A, 2),))
    assert parse_refusal(str(caught.value)) == Refusal(A, usage, 2, 1)


def test_other_words_are_not() -> None:
    assert parse_quota_name("ml.g5.xlarge for endpoint usage") is None
    assert parse_quota_name("Number of instances across all training jobs") is None
    assert parse_refusal("The account-level service limit 'Total instances' is 4 Instances") is None
    assert parse_refusal(
        "'ml.p3.2xlarge for training job usage' is 1 Instance, with current utilization of 1 Instance"
    ) == (Refusal("ml.p3.2xlarge", Usage.on_demand, 1, 1))


def test_without_knowledge_the_first_type_is_granted() -> None:
    found = admission()
    for number in range(100):
        assert found.choose(0.0) == Grant(A)
        found.occupied(str(number), A, 1)


def test_a_known_quota_is_kept_and_the_next_type_taken() -> None:
    found = admission()
    found.know_quota(A, Usage.spot, 2)
    found.know_quota(B, Usage.spot, 1)
    found.know_quota(B, Usage.on_demand, 0)  # another quota
    granted = []
    for number in range(3):
        grant = found.choose(0.0)
        assert isinstance(grant, Grant)
        granted.append(grant.instance_type)
        found.occupied(str(number), grant.instance_type, 1)
    assert granted == [A, A, B]
    wait = waits(found.choose(0.0))
    assert wait.until > 0.0
    assert "quota of 2" in wait.reason
    assert "2 by trials of this experiment" in wait.reason
    found.released("1", 5.0)
    assert found.choose(5.0) == Grant(A)


def test_several_instances_are_all_or_none() -> None:
    found = admission(A, count=2)
    found.know_quota(A, Usage.spot, 3)
    assert found.choose(0.0) == Grant(A)
    found.occupied("one", A, 2)
    waits(found.choose(0.0))
    assert found.choose(0.0, wanted_count=1) == Grant(A)


def test_a_refusal_teaches_the_limit_and_is_waited_out() -> None:
    found = admission(A)
    found.occupied("one", A, 1)
    pauses, now = [], 0.0
    for _ in range(6):
        assert found.choose(now) == Grant(A)
        found.refused(A, refusal(limit=3, used=3), now)
        wait = waits(found.choose(now))
        assert "3 of 3 instances are in use" in wait.reason
        pauses.append(wait.until - now)
        waits(found.choose(wait.until - 0.01))
        now = wait.until
    for pause, most in zip(pauses, [15, 30, 60, 120, 120, 120], strict=True):
        assert most / 2 <= pause <= most
    for number in range(2):  # others' jobs have ended
        assert found.choose(now) == Grant(A)
        found.occupied(f"more-{number}", A, 1)
    assert "quota of 3" in waits(found.choose(now)).reason


def test_a_refusal_of_one_type_leaves_the_others() -> None:
    found = admission()
    found.refused(A, refusal(3, 3), 0.0)
    assert found.choose(0.0) == Grant(B)
    assert waits(found.choose(0.0, wanted_type=A)).until <= 15.0


def test_a_refusal_in_unknown_words_is_waited_out_as_well() -> None:
    found = admission(A)
    found.refused(A, "ResourceLimitExceeded: no.", 0.0)
    assert 0.0 < waits(found.choose(0.0)).until <= 15.0
    assert found.is_hopeless() is None


def test_after_a_release_a_long_pause_is_cut_short() -> None:
    found = admission(A)
    found.occupied("one", A, 1)
    for _ in range(5):
        found.refused(A, refusal(3, 3), 0.0)
    assert waits(found.choose(0.0)).until > 15.0
    found.released("one", 1.0)
    assert waits(found.choose(1.0)).until <= 16.0
    found.refused(A, refusal(3, 3), 16.0)  # the service still counts it
    assert waits(found.choose(16.0)).until <= 31.0


def test_a_quota_that_is_lowered_midway() -> None:
    found = admission(A)
    for number in range(4):
        found.occupied(str(number), A, 1)
    found.refused(A, refusal(2, 4), 0.0)
    found.released("0", 1.0)
    found.released("1", 2.0)
    assert "quota of 2 is in use" in waits(found.choose(800.0)).reason
    found.released("2", 801.0)
    assert found.choose(801.0) == Grant(A)


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_quota_that_is_raised_is_noticed_by_asking_now_and_then(limit: int) -> None:
    found = admission(A)
    found.know_quota(A, Usage.spot, limit)
    for number in range(limit):
        found.occupied(str(number), A, 1)
    for heard in (0.0, 900.0, 1800.0):
        waits(found.choose(heard))
        waits(found.choose(heard + 899.0))
        now = heard + 900.0
        assert found.choose(now) == Grant(A)
        if heard < 1800.0:  # not raised yet
            found.refused(A, refusal(limit, limit), now)
    for number in range(10, 14):  # raised: as many as there are
        assert found.choose(now) == Grant(A)
        found.occupied(str(number), A, 1)
    found.refused(A, refusal(limit + 4, limit + 4), now)
    assert f"quota of {limit + 4} is in use" in waits(found.choose(now + 800.0)).reason


def test_types_without_capacity_are_avoided_for_a_while() -> None:
    found = admission()
    found.capacity_failed(A, 0.0)
    assert found.choose(59.0) == Grant(B)
    assert found.choose(60.0) == Grant(A)
    found.capacity_failed(A, 60.0)
    found.capacity_failed(A, 61.0)  # of another job that waited at the same time
    assert found.choose(179.0) == Grant(B)
    assert found.choose(180.0) == Grant(A)
    found.capacity_failed(A, 180.0)
    found.capacity_failed(B, 200.0)
    wait = waits(found.choose(230.0))
    assert wait.until == 260.0
    assert f"{A}: AWS had no such instance 50 s ago" in wait.reason
    assert waits(found.choose(230.0, wanted_type=A)).until == 420.0
    now = 420.0
    for _ in range(8):
        found.capacity_failed(A, now)
        now = waits(found.choose(now, wanted_type=A)).until
    found.capacity_failed(A, now)
    assert waits(found.choose(now, wanted_type=A)).until == now + 900.0
    found.capacity_failed(A, now + 10_000.0)  # long ago: it begins anew
    assert waits(found.choose(now + 10_000.0, wanted_type=A)).until == now + 10_060.0


def test_warm_instances_go_first_and_need_no_quota() -> None:
    found = admission(keep_alive=True, usage=Usage.on_demand)
    found.know_quota(B, Usage.on_demand, 1)
    found.occupied("one", B, 1)
    found.released("one", 10.0, 100.0)
    found.capacity_failed(B, 10.0)
    assert found.choose(20.0) == Grant(B, warm=True)
    assert found.choose(20.0, wanted_count=2) == Grant(A)
    found.occupied("two", B, 1)
    found.released("one", 21.0, 100.0)  # said again: its instance is used by now
    assert found.choose(21.0) == Grant(A)
    waits(found.choose(21.0, wanted_type=B))


def test_warm_instances_count_until_they_are_gone() -> None:
    found = admission(A, keep_alive=True, usage=Usage.on_demand)
    found.know_quota(A, Usage.on_demand, 2)
    for job in ("one", "two"):
        found.occupied(job, A, 1)
    for job, until in (("one", 100.0), ("two", 200.0)):
        found.released(job, 10.0, until)
        assert found.choose(10.0) == Grant(A, warm=True)
    wait = waits(found.choose(80.0, wanted_count=2))
    assert wait.until == 100.0
    assert "2 kept warm" in wait.reason
    waits(found.choose(150.0, wanted_count=2))
    found.released("two", 160.0, None)  # terminated
    assert found.choose(160.0, wanted_count=2) == Grant(A)


def test_of_warm_instances_the_oldest_is_taken() -> None:
    found = admission(A, keep_alive=True)
    found.know_quota(A, Usage.spot, 2)
    for job in ("one", "two"):
        found.occupied(job, A, 1)
    for job, until in (("one", 300.0), ("two", 100.0), ("one", 300.0)):
        found.released(job, 10.0, until)
    found.occupied("three", A, 1)
    assert found.choose(50.0) == Grant(A, warm=True)
    assert found.choose(101.0) == Grant(A)  # the one of "two" has expired: the one of "one" was taken


def test_warm_instances_that_the_service_does_not_have_are_forgotten() -> None:
    found = admission(A, keep_alive=True)
    found.occupied("one", A, 1)
    found.released("one", 0.0, 1000.0)
    assert found.choose(0.0) == Grant(A, warm=True)
    found.refused(A, refusal(1, 1), 0.0)
    waits(found.choose(0.0))
    assert found.choose(15.0) == Grant(A)


def test_no_more_is_kept_warm_than_the_quota_for_it() -> None:
    found = admission(A, keep_alive=True, usage=Usage.on_demand)
    found.know_quota(A, Usage.warm_pool, 1)
    for job in ("one", "two"):
        found.occupied(job, A, 1)
    for job in ("one", "two", "one"):
        found.released(job, 0.0, 100.0)
    assert found.choose(0.0) == Grant(A, warm=True)
    found.occupied("three", A, 1)
    assert found.choose(0.0) == Grant(A)


def test_without_keep_alive_nothing_is_warm() -> None:
    found = admission(A)
    found.occupied("one", A, 1)
    found.released("one", 0.0, 100.0)
    assert found.choose(0.0) == Grant(A)


def test_a_job_counts_once() -> None:
    found = admission(A)
    found.know_quota(A, Usage.spot, 2)
    found.occupied("one", A, 1)
    found.occupied("one", A, 1)
    assert found.choose(0.0) == Grant(A)
    found.released("one", 0.0)
    found.released("one", 0.0)
    found.released("never-was", 0.0)
    found.occupied("two", A, 1)
    assert found.choose(0.0) == Grant(A)


def test_hopeless_if_no_type_can_ever_do() -> None:
    found = admission(count=2)
    found.know_quota(A, Usage.spot, 0)
    assert found.is_hopeless() is None
    assert found.choose(0.0) == Grant(B)
    found.refused(B, refusal(1, 0, B), 0.0)
    message = found.is_hopeless()
    assert message is not None
    assert "needs 2 instances" in message
    assert f"0 ('{A} for spot training job usage'), 1 ('{B} for spot training job usage')" in message
    assert "Service Quotas" in message
    assert waits(found.choose(0.0)).until > 0.0
    assert found.is_hopeless(wanted_count=1) is None
    assert found.choose(0.0, wanted_type="ml.m5.large") == Grant("ml.m5.large")
    assert found.is_hopeless("ml.m5.large") is None
    assert "an instance" in str(found.is_hopeless(A, 1))


def test_the_pauses_are_the_generators() -> None:
    def pause(seed: int) -> float:
        found = Admission((A,), 1, Usage.spot, False, random.Random(seed))
        found.refused(A, refusal(1, 1), 0.0)
        return waits(found.choose(0.0)).until

    assert pause(1) == pause(1)
    assert pause(1) != pause(2)
