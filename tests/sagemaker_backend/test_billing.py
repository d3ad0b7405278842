"""What jobs cost, from what the service says at each moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudtune.aws.cost import SPOT_SHARE
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.sagemaker_backend.billing import Bill, Rate, instance_bill, job_bill, warm_pool_bill

RATE = Rate(3.6, instance_count=2)  # a tenth of a cent a second and instance
LISTED = JobStatus("0-0-x", "arn", JobState.running, "Training", created=1000.0)
DESCRIBED = replace(LISTED, started=1100.0, instance_type="ml.m5.large", instance_count=2)
ENDED = replace(DESCRIBED, state=JobState.completed, phase="Completed", ended=1400.0)


def about(usd: float, billed_s: float, final: bool) -> object:
    """Equal to a bill but for rounding."""
    return pytest.approx((usd, billed_s, final))


def parts(bill: Bill | None) -> tuple[float, float, bool]:
    assert bill is not None
    return bill.usd, bill.billed_s, bill.final


def test_an_ended_job_costs_what_the_service_says() -> None:
    assert parts(job_bill(replace(ENDED, billable_s=290), RATE, 9999.0)) == about(0.58, 290, True)
    # For a spot job the billable seconds contain the saving: no other factor applies.
    spot = replace(RATE, spot=True)
    assert parts(job_bill(replace(ENDED, training_s=300, billable_s=90), spot, 9999.0)) == about(0.18, 90, True)


def test_an_ended_job_of_which_no_seconds_are_told_is_billed_by_its_times() -> None:
    failed = replace(ENDED, state=JobState.failed)
    assert parts(job_bill(failed, RATE, 9999.0)) == about(0.6, 300.0, True)
    no_instances = replace(failed, started=None, ended=1300.0)
    assert parts(job_bill(no_instances, RATE, 9999.0)) == about(0.0, 0.0, True)


def test_a_listing_never_makes_a_bill_final() -> None:
    listed = replace(LISTED, state=JobState.completed, phase="Completed", ended=1400.0)
    assert parts(job_bill(listed, RATE, 9999.0)) == about(0.8, 400.0, False)
    assert job_bill(listed, RATE, 9999.0, running_since=1150.0).billed_s == 250.0


@pytest.mark.parametrize("phase", ["", "Pending", "Starting", "LaunchingMLInstances"])
def test_waiting_for_instances_is_free(phase: str) -> None:
    assert parts(job_bill(replace(LISTED, phase=phase), RATE, 5000.0)) == about(0.0, 0.0, False)


def test_a_running_job_is_estimated_until_now() -> None:
    assert parts(job_bill(DESCRIBED, RATE, 1250.0)) == about(0.3, 150.0, False)
    assert job_bill(LISTED, RATE, 1250.0).billed_s == 250.0  # from its creation: nothing else is known
    assert job_bill(LISTED, RATE, 1250.0, running_since=1200.0).billed_s == 50.0
    assert job_bill(DESCRIBED, replace(RATE, spot=True), 1250.0).billed_s == pytest.approx(150 * SPOT_SHARE)
    assert job_bill(DESCRIBED, RATE, 900.0).billed_s == 0.0  # the clocks differ


def test_a_warm_pool_costs_until_it_ends() -> None:
    assert warm_pool_bill(replace(ENDED, warm_pool_status=""), RATE, 1500.0) is None
    assert warm_pool_bill(replace(DESCRIBED, warm_pool_status="InUse"), RATE, 1500.0) is None
    assert parts(warm_pool_bill(replace(ENDED, warm_pool_status="Available"), RATE, 1500.0)) == about(
        0.2, 100.0, False
    )
    for status in ("Reused", "Terminated"):
        ended = replace(ENDED, warm_pool_status=status, retained_billable_s=60)
        assert parts(warm_pool_bill(ended, RATE, 9999.0)) == about(0.12, 60, True)
    never = replace(ENDED, warm_pool_status="Terminated")  # no room for it in the quota
    assert parts(warm_pool_bill(never, RATE, 9999.0)) == about(0.0, 0, True)


def test_rates_and_facts() -> None:
    rate = Rate.of("ml.m5.large", 3, False, "us-east-1")
    assert rate == Rate(0.115, 3, False)
    assert Rate.of("ml.m5.unknown", 1, False, "us-east-1") is None
    bill = instance_bill(Rate(3.6), 100.0, 160.0)
    assert parts(bill) == about(0.06, 60.0, False)
    assert bill.fact("tuner").trial_id is None
