"""Limits on a job's life, capacity, and the platform's own failures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulator_rig import Rig, eventually, until_told
from fleet_rig import FleetRig, spot

from cloudtune.emulator import InterruptRule, SageMakerEmulator
from cloudtune.emulator.faults import Scenario
from cloudtune.emulator.faults.kinds import CapacityError, InternalError, Limits
from cloudtune.emulator.fleet.delays import FamilyDelays
from cloudtune.emulator.fleet.job_states import JobStatus, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.machine.deadlines import Cause, Deadlines, Due

SCALE = 50
FOREVER = "while True: signal.pause()"
GPU = {"type": "ml.g5.xlarge"}


def _messages(job: TrainingJob) -> list[tuple[str, str]]:
    return [(item["Status"], item["StatusMessage"]) for item in job.describe()["SecondaryStatusTransitions"]]


def test_spot_waits_for_capacity_and_gets_it() -> None:
    rig = FleetRig(CapacityError(limits=Limits(until_s=150.0)))
    job = rig.create("job", **spot())
    assert _messages(job) == [
        ("Starting", "Insufficient capacity error from EC2 while launching instances, retrying!")
    ]
    for _ in range(17):
        rig.later(10.0)
        assert rig.fleet.take_ready(1) == []
    rig.later(10.0)  # asked once a minute
    assert rig.fleet.take_ready(1) == [job]


def test_spot_without_capacity_waits_until_max_wait() -> None:
    rig = FleetRig(CapacityError(spot=True))
    job = rig.create("job", **spot(max_wait_s=3600))
    rig.later(3599.0)
    assert job.phase is Phase.starting
    rig.later(rig.fleet.next_due() - rig.clock.time)
    assert job.status is JobStatus.stopped
    assert [phase for phase, _ in _messages(job)] == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert rig.clock.time - job.created == 3600.0
    assert "BillableTimeInSeconds" not in job.describe()
    assert rig.used("spot") == 0


def test_max_wait_goes_on_over_attempts() -> None:
    rig = FleetRig(CapacityError(limits=Limits(after_s=100.0)))
    job = rig.create("job", run=True, **spot(max_wait_s=3600))
    rig.later(3000.0)
    for phase in (Phase.interrupted, Phase.starting):
        job.enter(phase)
    rig.fleet.relaunch(job)
    rig.later(599.0)
    assert job.phase is Phase.starting
    rig.later(1.0)
    assert job.phase is Phase.max_wait_exceeded


def test_on_demand_fails_for_want_of_capacity() -> None:
    rig = FleetRig(CapacityError(spot=False))
    job = rig.create("job")
    assert job.status is JobStatus.failed
    assert job.failure_reason == (
        "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML "
        "instance type."
    )
    assert rig.create("spot", **spot()).phase is Phase.starting
    [fault] = rig.audit.entries("fault")
    assert fault["job"] == "job"


def test_max_pending_lets_accelerated_instances_wait() -> None:
    limits = {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxPendingTimeInSeconds": 1800}}
    rig = FleetRig(CapacityError())
    job, cpu = rig.create("gpu", **GPU, **limits), rig.create("cpu", **limits)
    assert cpu.status is JobStatus.failed  # no effect on it
    rig.later(1799.0)
    assert job.phase is Phase.starting
    rig.later(1.0)
    assert _messages(job)[-1] == ("Stopped", "Training job exceeded MaxPendingTimeInSeconds provided")
    assert job.status is JobStatus.stopped


def test_max_pending_covers_a_slow_launch() -> None:
    limits = {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxPendingTimeInSeconds": 1800}}
    rig = FleetRig(delays=(FamilyDelays(("ml.",), start=(2000.0, 2000.0)),))
    job, cpu = rig.create("gpu", **GPU, **limits), rig.create("cpu", **limits)
    rig.later(1800.0)
    assert (job.phase, cpu.phase) == (Phase.stopped, Phase.starting)


def test_preferences_are_tried_in_their_order_at_each_launch() -> None:
    resources = {
        "InstancePreferences": [
            {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
            {"InstanceType": "ml.m5.xlarge", "InstanceCount": 4},
        ]
    }
    limits = {"MaxRuntimeInSeconds": 60, "MaxPendingTimeInSeconds": 1800}
    everything = CapacityError(limits=Limits(until_s=100.0))
    rig = FleetRig(everything, CapacityError(("ml.g5.*",), limits=Limits(until_s=1000.0)))
    job = rig.create("job", ResourceConfig=resources, StoppingCondition=limits)
    assert "SelectedInstanceType" not in job.describe()["ResourceConfig"]
    assert job.phase is Phase.starting  # one accelerated preference is enough for MaxPending
    rig.later(120.0)
    found = job.describe()["ResourceConfig"]
    assert (found["SelectedInstanceType"], found["SelectedInstanceCount"]) == ("ml.m5.xlarge", 4)
    assert job.cluster == (("ml.m5.xlarge", 4),)
    rig.fleet.take_ready(1)
    for phase in (Phase.downloading, Phase.restarting, Phase.starting):
        job.enter(phase)
    rig.clock.time += 2000.0
    rig.fleet.relaunch(job)
    rig.fleet.advance()
    assert job.cluster == (("ml.g5.xlarge", 1),)
    assert (rig.used("on_demand", "ml.g5.xlarge"), rig.used("on_demand", "ml.m5.xlarge")) == (1, 0)


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(time_scale=SCALE, stop_grace_s=0) as found:
        yield found


@pytest.fixture
def rig(aws: SageMakerEmulator) -> Iterator[Rig]:
    yield Rig(aws.endpoint_url, aws.role_arn)
    aws._faults.apply(Scenario())


LONG = {"MaxRuntimeInSeconds": 2_000_000}


def test_an_internal_error_ends_a_job(aws: SageMakerEmulator, rig: Rig) -> None:
    aws._faults.apply(Scenario(faults=(InternalError(training_s=10.0),)))
    job = rig.run("unlucky", FOREVER, StoppingCondition=LONG)
    assert job["FailureReason"] == "InternalServerError: We encountered an internal error. Please try again."
    assert rig.phases("unlucky") == ["Starting", "Downloading", "Training", "Failed"]


def test_a_retry_strategy_grants_more_attempts(aws: SageMakerEmulator, rig: Rig) -> None:
    aws._faults.apply(Scenario(faults=(InternalError(training_s=0.0, limits=Limits(times=2)),)))
    retry = {"MaximumRetryAttempts": 2}
    rig.submit("retried", until_told("retried"), StoppingCondition=LONG, RetryStrategy=retry)
    eventually(lambda: rig.phases("retried").count("Restarting") == 2, "it has been struck twice")
    rig.tell("retried")
    job = rig.ended("retried")
    assert job["TrainingJobStatus"] == "Completed"
    once = ["Starting", "Downloading", "Training"]
    assert rig.phases("retried") == [*once, "Restarting", *once, "Restarting", *once, "Uploading", "Completed"]
    billed = [entry for entry in aws.audit.entries("billed") if entry["job"] == "retried"]
    assert [entry["attempt"] for entry in billed] == [0, 1, 2]
    assert job["TrainingTimeInSeconds"] == max(1, round(sum(entry["seconds"] for entry in billed)))
    assert job["RetryStrategy"] == {"MaximumRetryAttempts": 2}
    assert len(rig.streams("retried")) == 3


def test_retries_run_out(aws: SageMakerEmulator, rig: Rig) -> None:
    aws._faults.apply(Scenario(faults=(InternalError(training_s=0.0),)))
    retry = {"MaximumRetryAttempts": 1}
    job = rig.run("hopeless", FOREVER, StoppingCondition=LONG, RetryStrategy=retry)
    assert job["FailureReason"].startswith("InternalServerError: ")
    assert rig.phases("hopeless").count("Restarting") == 1


def test_the_users_own_failure_is_not_retried(rig: Rig) -> None:
    retry = {"MaximumRetryAttempts": 5}
    job = rig.run("own-fault", "sys.exit(3)", StoppingCondition=LONG, RetryStrategy=retry)
    assert job["FailureReason"] == "AlgorithmError: , exit code: 3"
    assert "Restarting" not in rig.phases("own-fault")


def test_max_runtime_is_for_all_attempts_together(aws: SageMakerEmulator, rig: Rig) -> None:
    aws.add_interrupt_rule(InterruptRule("long", after_s=150.0))
    limits = {"MaxRuntimeInSeconds": 200, "MaxWaitTimeInSeconds": 1_000_000}
    job = rig.run("long", FOREVER, spot=True, StoppingCondition=limits)
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert rig.phases("long").count("Interrupted") == 1
    assert job["TrainingTimeInSeconds"] >= 200


def test_what_an_attempt_has_used_is_lacking_to_the_next() -> None:
    rig = FleetRig()
    job = rig.create("long", run=True, **spot(max_wait_s=1_000_000))
    rig.later(150.0)
    job.end_attempt()
    job.enter(Phase.interrupted)
    rig.later(70.0)
    second = Deadlines(job, 1, ("ml.m5.large",), rig.faults)
    second.began = rig.clock.time
    assert second.first() == Due(rig.clock.time + job.max_runtime_s - 150.0, Cause.max_runtime)


def test_a_job_that_is_stopped_while_it_waits_for_its_retry_stays_stopped() -> None:
    rig = FleetRig(CapacityError(limits=Limits(after_s=10.0)))
    job = rig.create("job", run=True, RetryStrategy={"MaximumRetryAttempts": 3}, **spot())
    rig.later(20.0)
    job.end_attempt()
    assert job.restart()
    job.enter(Phase.stopping)  # before the engine has heard of the attempt's end
    assert not job.restart()
    assert not job.enter(Phase.starting)
    assert job.enter(Phase.stopped)
    assert job.describe()["TrainingTimeInSeconds"] == 20


def test_an_attempts_end_is_billed_once() -> None:
    rig = FleetRig()
    job = rig.create("job", run=True)
    for _ in range(2):
        rig.later(30.0)
        job.end_attempt()
    assert job.seconds_used == 30.0
    assert len(rig.audit.entries("billed")) == 1
