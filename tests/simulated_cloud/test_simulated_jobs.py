"""Jobs of the simulated cloud: their lives, ends, bills, instances."""

from __future__ import annotations

from typing import Any

import pytest
from cloud_rig import CloudRig, curve, scenario

from cloudtune.aws.job_end import JobEnd, why
from cloudtune.emulator.faults.kinds import CapacityError, InternalError, Interruption, Limits, StaleRead
from cloudtune.errors import AlreadyExists, QuotaExceeded, ResourceNotFound, SpecError
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.simulated_cloud import CloudSettings, QuotaChange, TrialScript
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Outcome

DOWNLOAD, SETUP, EPOCH, END, UPLOAD, TERM = 20, 10, 60, 1, 5, 2


def test_a_life() -> None:
    rig = CloudRig()
    begin = rig.world.clock.now()
    name = rig.create()
    seen = [(0.0, rig.phase(name))]
    for second in range(1, 300):
        rig.later(1)
        if (phase := rig.phase(name)) != seen[-1][1]:
            seen.append((second, phase))
    end_of_script = DOWNLOAD + SETUP + 3 * EPOCH + END
    assert seen == [
        (0, "Downloading"),
        (DOWNLOAD, "Training"),
        (end_of_script, "Uploading"),
        (end_of_script + UPLOAD, "Completed"),
    ]
    status = rig.status(name)
    assert (status.created, status.started) == (begin, begin)
    assert status.ended == begin + end_of_script + UPLOAD
    assert status.last_modified == status.ended
    assert (status.instance_type, status.instance_count, status.spot) == ("ml.m5.large", 1, False)


#: What happens, and the seconds that are paid for.
BILLS: dict[str, tuple[dict[str, Any], float | None, float]] = {
    "completed": ({}, None, DOWNLOAD + SETUP + 3 * EPOCH + END + UPLOAD),
    "two epochs": ({"epochs": 2}, None, DOWNLOAD + SETUP + 2 * EPOCH + END + UPLOAD),
    "spot": ({"spot": True}, None, round(0.3 * (DOWNLOAD + SETUP + 3 * EPOCH + END + UPLOAD))),
    "stopped in training": ({}, 100.0, 100 + TERM + UPLOAD),
    "stopped in download": ({}, 7.0, 7 + UPLOAD),
    "max runtime": ({"max_run_s": 90}, None, 90 + TERM + UPLOAD),
}


@pytest.mark.parametrize("what", BILLS)
def test_bill(what: str) -> None:
    options, stop_after_s, billed = BILLS[what]
    rig = CloudRig()
    name = rig.create(**options)
    if stop_after_s is not None:
        rig.later(stop_after_s)
        rig.world.jobs.stop(name)
    rig.later(1000)
    assert rig.status(name).billable_s == billed
    entries = rig.world.audit.entries("billed", job=name)
    assert round(sum(entry["billable_seconds"] for entry in entries)) == billed


@pytest.mark.parametrize("name", ["calm", "realistic"])
def test_start_takes_what_the_emulator_says(name: str) -> None:
    rig = CloudRig(settings=CloudSettings(name))
    job = rig.create()
    rig.later(400)
    status = rig.status(job)
    assert status.created is not None and status.started is not None
    delay = status.started - status.created
    assert delay == 0 if name == "calm" else 60 <= delay <= 120
    again = CloudRig(settings=CloudSettings(name))
    assert again.create() == job
    again.later(400)
    assert again.status(job).started == status.started


def test_stop_while_starting_is_free() -> None:
    rig = CloudRig(settings=CloudSettings("realistic"))
    name = rig.create()
    rig.later(30)
    rig.world.jobs.stop(name)
    assert why(rig.status(name)) is JobEnd.stopped
    rig.world.jobs.stop(name)  # once more is no error
    rig.later(1000)
    assert rig.status(name).billable_s is None
    assert rig.world.launches == []


def test_a_deaf_script_is_killed_after_the_grace() -> None:
    rig = CloudRig(script=TrialScript(curve, stop_delay_s=10_000.0))
    name = rig.create(epochs=30)
    rig.later(100)
    rig.world.jobs.stop(name)
    rig.later(121)
    assert rig.phase(name) == "Stopping"
    rig.later(10)
    assert rig.phase(name) == "Stopped"
    assert rig.records("0-0")[-1]["kind"] == "report", "what is killed says no end"
    assert rig.status(name).billable_s == 100 + 120 + UPLOAD


def test_names_are_unique_and_errors_are_the_service_s() -> None:
    rig = CloudRig()
    rig.create()
    with pytest.raises(AlreadyExists, match="must be unique"):
        rig.create()
    with pytest.raises(ResourceNotFound):
        rig.status("nobody")
    with pytest.raises(SpecError, match="would be refused"):
        rig.world.jobs.create(TrainingJobSpec("bad_name!", "image", "role", "s3://b"))


def test_quota() -> None:
    settings = CloudSettings(
        scenario(quotas=(("ml.m5.large", "on_demand", 1), ("ml.m5.large", "spot", 0)), delays="realistic"),
        quota_changes=(QuotaChange(3000.0, "ml.m5.large", "on_demand", 2),),
    )
    rig = CloudRig(settings=settings)
    quotas = rig.world.jobs.quotas(["ml.m5.large"])
    assert quotas["ml.m5.large", Usage.on_demand] == 1
    first = rig.create(0)
    words = (
        "The account-level service limit 'ml.m5.large for training job usage' is 1 Instances, with current "
        "utilization of 1 Instances and a request delta of 1 Instances."
    )
    with pytest.raises(QuotaExceeded, match=words):
        rig.create(1)
    with pytest.raises(QuotaExceeded, match="for spot training job usage' is 0 Instances"):
        rig.create(1, spot=True)
    while not rig.status(first).state.is_final:
        rig.later(1)
    with pytest.raises(QuotaExceeded):  # the instance is released a while later
        rig.create(1)
    rig.later(200)
    rig.create(1)
    rig.later(3000)
    rig.create(2)
    rig.create(3)
    with pytest.raises(QuotaExceeded, match="is 2 Instances"):
        rig.create(4)


def test_quotas_may_be_unreadable() -> None:
    rig = CloudRig(settings=CloudSettings(quotas_readable=False))
    assert rig.world.jobs.quotas(["ml.m5.large"]) == {}


def test_warm_pool() -> None:
    settings = CloudSettings(scenario(quotas=(("*", "warm_pool", 1),), delays="realistic"))
    rig = CloudRig(settings=settings)
    first = rig.create(0, keep_alive_s=600)
    rig.later(400)
    assert rig.status(first).warm_pool_status == "Available"
    second = rig.create(1, keep_alive_s=600)
    assert rig.phase(second) == "Downloading", "no wait for instances"
    retained = rig.status(first)
    assert (retained.warm_pool_status, retained.retained_billable_s) == (
        "Reused",
        round(rig.world.clock.now() - (retained.ended or 0.0)),
    )
    rig.later(300)
    assert rig.status(second).warm_pool_status == "Available"
    rig.later(100)
    rig.world.jobs.release_warm_pool(second)
    rig.world.jobs.release_warm_pool(second)
    released = rig.status(second)
    assert released.warm_pool_status == "Terminated"
    assert released.retained_billable_s == round(rig.world.clock.now() - (released.ended or 0.0))
    assert rig.phase(rig.create(2)) == "Starting"


def test_no_capacity() -> None:
    rig = CloudRig(CapacityError(instance_types=("ml.m5.*",)))
    assert why(rig.status(rig.create(0))) is JobEnd.capacity
    assert rig.phase(rig.create(1, number=0, instance_type="ml.c5.xlarge")) == "Downloading"
    rig.create(0, number=1, instance_type="ml.c5.xlarge")
    rig.later(500)
    assert rig.epochs("0-0r1") == [1, 2, 3]
    assert rig.world.violations == []


def test_interrupted_job_runs_again_from_its_last_checkpoint() -> None:
    rig = CloudRig(Interruption(training_s=140.0, limits=Limits(times=1)), rung_levels=(1, 4))
    name = rig.create(epochs=4, spot=True)
    rig.later(DOWNLOAD + 141)
    assert [launch.from_level for launch in rig.world.launches] == [0]
    rig.later(1000)
    assert why(rig.status(name)) is JobEnd.completed
    assert [launch.from_level for launch in rig.world.launches] == [0, 2], "a minute after level 1: one at level 2"
    assert rig.epochs("0-0") == [1, 2, 3, 4]
    kinds = [(record["kind"], record.get("run")) for record in rig.records("0-0") if record["kind"] != "report"]
    assert kinds == [("hello", 0), ("hello", 1), ("end", None)]
    assert rig.status(name).billable_s == round(
        0.3 * (DOWNLOAD + 140 + DOWNLOAD + SETUP + 2 * EPOCH + END + UPLOAD)
    )


def test_scratch_repeats_and_s3_does_not() -> None:
    rig = CloudRig(
        Interruption(training_s=140.0, limits=Limits(times=1)), script=TrialScript(curve, checkpointing=False)
    )
    name = rig.create(epochs=4, spot=True)
    rig.later(1000)
    assert [launch.from_level for launch in rig.world.launches] == [0, 0]
    assert rig.epochs("0-0") == [1, 2, 3, 4]
    printed = [line for _, line in rig.world.jobs.log_page(name, None).lines]
    assert len(printed) == 2 + 4
    assert rig.records("0-0")[-1]["count"] == 4


@pytest.mark.parametrize("notice", [True, False])
def test_what_was_reported_in_the_last_moment(notice: bool) -> None:
    """The report at 130 s is on its way when the instance goes at 130.5 s."""
    fault = Interruption(training_s=130.5, notice=notice, limits=Limits(times=1))
    rig = CloudRig(fault)
    rig.create(epochs=4, spot=True)
    rig.later(DOWNLOAD + 135)
    assert rig.epochs("0-0") == ([1, 2] if notice else [1])
    assert rig.world.levels_reported(rig.world.launches[0]) == ([1, 2] if notice else [1])
    rig.later(1000)
    assert rig.epochs("0-0") == [1, 2, 3, 4]


@pytest.mark.parametrize("retries", [None, 1])
def test_internal_error(retries: int | None) -> None:
    rig = CloudRig(InternalError(training_s=80.0, limits=Limits(times=1)))
    name = rig.create(retry_attempts=retries)
    rig.later(1000)
    assert why(rig.status(name)) is (JobEnd.internal if retries is None else JobEnd.completed)
    assert rig.epochs("0-0") == ([1] if retries is None else [1, 2, 3])


def test_scripted_ends() -> None:
    faults = (Fault(0, 0, 2), Fault(1, 0, 2, Outcome.interrupted))
    rig = CloudRig(script=TrialScript(curve, faults=faults))
    failing, unlucky = rig.create(0), rig.create(1)
    rig.later(1000)
    assert why(rig.status(failing)) is JobEnd.user_code
    assert "scripted fault at level 2" in rig.status(failing).failure_reason
    end = rig.records("0-0")[-1]
    assert (end["exit_code"], end["stopped"]) == (1, False)
    assert "scripted fault" in end["tail"]
    assert why(rig.status(unlucky)) is JobEnd.internal
    assert rig.epochs("0-0") == rig.epochs("1-0") == [1]


def test_max_wait_of_spot() -> None:
    rig = CloudRig(settings=CloudSettings(scenario(Interruption(training_s=10.0, limits=Limits(times=99)))))
    name = rig.create(spot=True, max_run_s=400, max_wait_s=500)
    rig.later(2000)
    assert why(rig.status(name)) in (JobEnd.max_wait, JobEnd.max_runtime)
    assert rig.status(name).state.is_final


def test_lists_lag() -> None:
    rig = CloudRig(StaleRead(operations=("ListTrainingJobs",), appears_s=30.0, lag_s=10.0))
    name = rig.create()
    begin = rig.world.clock.now()
    assert rig.world.jobs.changed("-exp", None) == []
    rig.later(31)
    assert [status.phase for status in rig.world.jobs.changed("-exp", None)] == ["Training"]
    assert rig.world.jobs.changed("-other", None) == []
    rig.later(185 + 5)
    assert rig.phase(name) == "Completed"
    assert [status.phase for status in rig.world.jobs.changed("-exp", begin)] == ["Uploading"]
    rig.later(10)
    (status,) = rig.world.jobs.changed("-exp", begin)
    assert status.phase == "Completed"
    assert status.billable_s is None, "a summary does not say"
    assert rig.world.jobs.changed("-exp", (status.last_modified or 0.0) + 1) == []


def test_describe_is_stale() -> None:
    rig = CloudRig(StaleRead(operations=("DescribeTrainingJob",), lag_s=15.0))
    name = rig.create()
    rig.later(DOWNLOAD + 1)
    assert rig.phase(name) != "Training"
    rig.later(15)
    assert rig.phase(name) == "Training"
