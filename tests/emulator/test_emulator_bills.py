"""What cloudtune says that jobs have cost, against the emulator's own records of what it bills."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from fleet_rig import REGION, FleetRig, spot

from cloudtune.aws.job_status import JobStatus
from cloudtune.emulator.fleet.job_states import Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.sagemaker_backend.billing import Rate, job_bill, warm_pool_bill


@pytest.fixture
def rig() -> FleetRig:
    found = FleetRig()
    found.quotas.set_limit("*", "warm_pool", 10)
    return found


def told(job: TrainingJob) -> JobStatus:
    """As boto3 gives it."""

    def parsed(value: Any) -> Any:
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)

    answer = {k: parsed(v) if k.endswith("Time") and v else v for k, v in job.describe().items()}
    return JobStatus.of(answer)


def billed(rig: FleetRig, job: TrainingJob, what: str) -> float:
    """Seconds of all instances, by the emulator's records."""
    entries = [entry for entry in rig.audit.entries("billed", job=job.name) if entry["what"] == what]
    seconds = [(entry["billable_seconds"], i["instance_count"]) for entry in entries for i in entry["instances"]]
    return sum(float(billable) * int(count) for billable, count in seconds)


def check(rig: FleetRig, job: TrainingJob, seconds: float) -> None:
    status = told(job)
    rate = Rate.of(status.instance_type, status.instance_count or 0, bool(status.spot), REGION)
    assert rate is not None
    bill = job_bill(status, rate, rig.clock.now())
    assert bill.final
    assert bill.billed_s * rate.instance_count == billed(rig, job, "training") == seconds
    assert bill.usd == pytest.approx(seconds * 0.115 / 3600)


def test_jobs_that_complete_are_stopped_fail_or_are_interrupted(rig: FleetRig) -> None:
    done = rig.create("done", count=2, run=True)
    rig.complete(done, 77.0)
    check(rig, done, 154.0)

    stopped = rig.create("stopped", run=True)
    rig.later(30.0)
    stopped.enter(Phase.stopping)
    rig.later(45.0)  # billed as well
    stopped.end_attempt()
    stopped.enter(Phase.stopped)
    check(rig, stopped, 75.0)

    failed = rig.create("failed", run=True)
    rig.later(20.0)
    failed.end_attempt()
    failed.fail("AlgorithmError: no")
    check(rig, failed, 20.0)

    interrupted = rig.create("interrupted", run=True, **spot())
    rig.later(100.0)
    interrupted.end_attempt()
    interrupted.enter(Phase.interrupted)
    rig.later(1000.0)  # nobody pays for waiting
    for phase in (Phase.starting, Phase.downloading, Phase.training):
        interrupted.enter(phase)
    rig.complete(interrupted, 200.0)
    share = rig.audit.entries("billed", job="interrupted")[0]["billable_seconds"] / 100.0
    check(rig, interrupted, 300.0 * share)


def test_warm_pools(rig: FleetRig) -> None:
    job = rig.create("kept", keep_alive=600, run=True)
    rig.complete(job, 50.0)
    rate = Rate(0.115)
    rig.later(100.0)
    while_idle = warm_pool_bill(told(job), rate, rig.clock.now())
    assert while_idle is not None and (while_idle.billed_s, while_idle.final) == (100.0, False)
    rig.later(501.0)
    bill = warm_pool_bill(told(job), rate, rig.clock.now())
    assert bill is not None and bill.final
    assert bill.billed_s == billed(rig, job, "warm_pool") == 600.0
    check(rig, job, 50.0)
