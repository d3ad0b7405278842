"""How long instances take to come and go."""

from __future__ import annotations

import statistics

import pytest
from emulator_rig import Rig
from fleet_rig import FleetRig, spot
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.fleet.delays import REALISTIC, Delays, FamilyDelays
from cloudtune.emulator.fleet.job_states import Phase

SLOW = (
    FamilyDelays(("ml.g",), start=(200.0, 200.0), stop=(30.0, 30.0)),
    FamilyDelays(
        ("ml.",), start=(100.0, 100.0), spot_start=(400.0, 400.0), stop=(10.0, 10.0), release=(60.0, 60.0)
    ),
)
CPU, GPU = (("ml.m5.large", 1),), (("ml.g5.xlarge", 1),)


@settings(max_examples=50, deadline=None)
@given(st.integers(), st.text("ab-1", max_size=10), st.integers(0, 9), st.booleans())
def test_a_draw_depends_on_seed_job_and_attempt_alone(seed: int, name: str, attempt: int, is_spot: bool) -> None:
    first, second = Delays(REALISTIC, seed), Delays(REALISTIC, seed)
    second.start_s(GPU, is_spot, "another", 3)
    found = first.start_s(CPU, is_spot, name, attempt)
    assert found == second.start_s(CPU, is_spot, name, attempt)
    entry = REALISTIC[-1]
    low, high = entry.spot_start if is_spot else entry.start
    assert low <= found <= high
    calm = Delays()
    assert calm.start_s(CPU, is_spot, name, attempt) == calm.stop_s(GPU, name) == calm.release_s(CPU, name) == 0


def test_other_jobs_attempts_and_seeds_wait_otherwise() -> None:
    delays = Delays(REALISTIC, 1)
    base = delays.start_s(CPU, False, "job", 0)
    others = [delays.start_s(CPU, False, "job2", 0), delays.start_s(CPU, False, "job", 1)]
    delays.use(REALISTIC, 2)
    others.append(delays.start_s(CPU, False, "job", 0))
    assert base not in others and len(set(others)) == 3


def test_gpus_and_spot_take_longer() -> None:
    delays = Delays(REALISTIC)

    def mean(cluster: tuple[tuple[str, int], ...], is_spot: bool) -> float:
        return statistics.fmean(delays.start_s(cluster, is_spot, f"job-{n}", 0) for n in range(200))

    assert mean(CPU, False) < mean(CPU, True) < mean(GPU, True)
    assert mean(CPU, False) < mean(GPU, False)
    assert mean(CPU + GPU, False) == pytest.approx(mean(GPU, False), rel=0.1)  # the slowest counts


def test_a_job_says_what_it_waits_for() -> None:
    rig = FleetRig(delays=SLOW)
    job = rig.create("job")

    def message() -> str:
        [transition] = job.describe()["SecondaryStatusTransitions"]
        return str(transition["StatusMessage"])

    assert message() == "Launching requested ML instances"
    rig.later(rig.fleet.next_due() - rig.clock.time)
    assert message() == "Preparing the instances for training"
    assert rig.fleet.take_ready(1) == []
    rig.later(rig.fleet.next_due() - rig.clock.time)
    assert rig.clock.time - job.created == 100.0
    assert rig.fleet.take_ready(1) == [job]
    assert [item["Status"] for item in job.describe()["SecondaryStatusTransitions"]] == ["Starting"]


def test_instances_of_all_jobs_are_launched_at_once_and_the_oldest_ready_job_runs_first() -> None:
    rig = FleetRig(delays=SLOW)
    slow, first = rig.create("slow", type="ml.g5.xlarge"), rig.create("first")
    rig.later(50.0)
    second = rig.create("second")
    rig.later(50.0)
    assert rig.fleet.take_ready(1) == [first]
    rig.later(100.0)
    assert rig.fleet.take_ready(1) == [slow]  # created before second, which has waited for longer
    assert rig.fleet.take_ready(5) == [second]


def test_an_interrupted_job_waits_for_new_instances() -> None:
    rig = FleetRig(delays=SLOW)
    job = rig.create("job", **spot())
    later = rig.create("later", **spot())
    rig.later(400.0)
    assert rig.fleet.take_ready(2) == [job, later]
    for phase in (Phase.downloading, Phase.training, Phase.interrupted, Phase.starting):
        job.enter(phase)
    newer = rig.create("newer")
    rig.fleet.relaunch(job)
    rig.later(0.0)
    rig.later(100.0)
    assert rig.fleet.launching() == [job, newer]
    assert rig.fleet.take_ready(1) == [newer]
    newest = rig.create("newest")
    rig.later(300.0)
    assert rig.fleet.take_ready(1) == [job]  # before the newest, which was ready first
    assert rig.fleet.take_ready(1) == [newest]
    assert job.attempt == 1


def test_the_quota_is_free_again_some_time_after_the_end() -> None:
    rig = FleetRig(delays=SLOW)
    job = rig.create("job")
    rig.later(100.0)
    rig.stop(job)
    assert rig.used("on_demand") == 1
    rig.later(59.0)
    assert rig.used("on_demand") == 1
    rig.later(1.0)
    assert rig.used("on_demand") == 0


def test_delays_of_a_job_that_really_runs() -> None:
    with SageMakerEmulator(time_scale=200, max_parallel_jobs=1) as aws:
        aws.delays.use(SLOW)
        rig = Rig(aws.endpoint_url, aws.role_arn)
        forever = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True: signal.pause()"
        rig.submit("job", forever, StoppingCondition={"MaxRuntimeInSeconds": 2_000_000})
        rig.reached("job", "Training")
        rig.sagemaker.stop_training_job(TrainingJobName="job")
        job = rig.ended("job")
        starting, *_, stopping, stopped = job["SecondaryStatusTransitions"]
        assert starting["Status"] == "Starting"
        assert (starting["EndTime"] - starting["StartTime"]).total_seconds() >= 100
        assert (stopped["StartTime"] - stopping["StartTime"]).total_seconds() >= 10
        assert (stopped["StartTime"] - job["TrainingEndTime"]).total_seconds() >= 9.9  # not billed


def test_a_job_that_is_being_taken_down_is_in_nobodys_way() -> None:
    with SageMakerEmulator(max_parallel_jobs=1, stop_grace_s=0) as aws:
        aws.delays.use((FamilyDelays(("ml.",), stop=(1e6, 1e6)),))
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.submit("stopped", "while True: signal.pause()")
        rig.reached("stopped", "Training")
        rig.sagemaker.stop_training_job(TrainingJobName="stopped")
        rig.submit("next", "")
        assert rig.ended("next")["TrainingJobStatus"] == "Completed"
        assert rig.describe("stopped")["TrainingJobStatus"] == "Stopping"
        assert aws.health()["busy"] == 1


def test_an_instance_is_gone_when_it_is_due() -> None:
    rig = FleetRig(delays=SLOW)
    job = rig.create("job")
    rig.later(100.0)
    rig.fleet.take_ready(1)
    job.enter(Phase.downloading)
    rig.later(7.0)
    job.end_attempt()
    job.enter(Phase.stopping)
    rig.fleet.take_down(job, Phase.max_runtime_exceeded)
    assert rig.fleet.next_due() == rig.clock.time + 10.0
    rig.fleet.stop(job)  # asked once more
    rig.later(9.0)
    assert job.phase is Phase.stopping and rig.fleet.size() == 1
    rig.later(1.0)
    assert job.phase is Phase.max_runtime_exceeded and rig.fleet.size() == 0
    assert job.describe()["TrainingTimeInSeconds"] == 7
