"""Jobs that are stopped, interrupted and timed out while they download and while they upload."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from emulator_rig import BUCKET, Rig, channel, eventually, until_told

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults import Faults, Scenario, SpotAttempt
from cloudtune.emulator.faults.kinds import InterruptionTrace, TraceEvent
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.errors import SpecError

#: Once; the next attempt leaves a small model.
LARGE_MODEL = """
first = not os.path.exists(ROOT + '/checkpoints/been')
open(ROOT + '/checkpoints/been', 'w').close()
with open(ROOT + '/model/weights', 'wb') as file:
    for _ in range(60 if first else 1):
        file.write(os.urandom(1 << 20))
"""
MEBIBYTES = 64


@pytest.fixture(scope="module")
def large(rig: Rig) -> dict[str, Any]:
    """A channel that takes a while to download."""
    for number in range(MEBIBYTES // 4):
        rig.put(f"large/{number}", bytes(4 << 20))
    return channel("large", f"s3://{BUCKET}/large/")


def phases_of(rig: Rig, name: str) -> list[str]:
    rig.ended(name)
    return rig.phases(name)


def test_stopped_while_uploading(rig: Rig) -> None:
    rig.submit("stop-upload", LARGE_MODEL)
    rig.reached("stop-upload", "Uploading")
    rig.sagemaker.stop_training_job(TrainingJobName="stop-upload")
    assert phases_of(rig, "stop-upload")[-3:] == ["Uploading", "Stopping", "Stopped"]
    assert rig.keys("output/stop-upload/") == ["output/model.tar.gz"]  # whoever stops a job gets its results
    assert rig.describe("stop-upload")["ModelArtifacts"]["S3ModelArtifacts"].endswith("/model.tar.gz")


def test_interrupted_while_uploading(emulator: SageMakerEmulator, rig: Rig) -> None:
    next_one = f"if os.path.exists(ROOT + '/checkpoints/been'):{textwrap.indent(until_told('upload'), '    ')}"
    rig.submit("lost-upload", next_one + LARGE_MODEL, spot=True)
    rig.reached("lost-upload", "Uploading")
    emulator.interrupt("lost-upload")
    rig.reached("lost-upload", "Interrupted")
    assert rig.keys("output/lost-upload/") == []
    rig.tell("upload")
    once = ["Starting", "Downloading", "Training", "Uploading"]
    assert phases_of(rig, "lost-upload") == [*once, "Interrupted", *once, "Completed"]
    assert len(rig.get("output/lost-upload/output/model.tar.gz") or b"") < 2 << 20
    billed = [entry for entry in emulator.audit.entries("billed") if entry["job"] == "lost-upload"]
    assert [entry["attempt"] for entry in billed] == [0, 1]
    total = sum(entry["seconds"] for entry in billed)
    assert rig.describe("lost-upload")["TrainingTimeInSeconds"] == max(1, round(total))


def test_a_notice_leaves_time_to_upload(emulator: SageMakerEmulator, rig: Rig) -> None:
    rig.submit("notice-upload", LARGE_MODEL, spot=True)  # a minute of grace
    rig.reached("notice-upload", "Uploading")
    emulator.interrupt("notice-upload", notice=True)
    assert phases_of(rig, "notice-upload")[-2:] == ["Uploading", "Completed"]


@pytest.fixture(scope="module")
def fast() -> Iterator[Rig]:
    """A minute of the service's passes in less than a millisecond."""
    with SageMakerEmulator(max_parallel_jobs=2, time_scale=100_000) as aws:
        yield Rig(aws.endpoint_url, aws.role_arn)


@pytest.mark.parametrize("limit", ["MaxRuntimeExceeded", "MaxWaitTimeExceeded"])
def test_time_is_over_while_downloading(fast: Rig, limit: str) -> None:
    for number in range(8):
        fast.put(f"large/{number}", bytes(4 << 20))
    is_spot = limit == "MaxWaitTimeExceeded"
    limits = {"MaxRuntimeInSeconds": 60, **({"MaxWaitTimeInSeconds": 60} if is_spot else {})}
    request = fast.request(f"over-{is_spot}", "print('never')", spot=is_spot, StoppingCondition=limits)
    request["InputDataConfig"].append(channel("large", f"s3://{BUCKET}/large/"))
    fast.sagemaker.create_training_job(**request)
    fast.ended(request["TrainingJobName"])
    found = fast.phases(request["TrainingJobName"])
    assert found[-2:] == ["Stopping", limit]
    assert "Training" not in found
    assert fast.describe(request["TrainingJobName"])["ModelArtifacts"]["S3ModelArtifacts"] == ""


def test_a_closing_emulator_waits_for_no_copies() -> None:
    with SageMakerEmulator(max_parallel_jobs=1) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.submit("closing", LARGE_MODEL)
        rig.reached("closing", "Uploading")
    assert not [thread.name for thread in threading.enumerate() if thread.name == "job-closing"]
    assert [found["TrainingJobStatus"] for found in aws.jobs()] == ["InProgress"]
    assert [entry["job"] for entry in aws.audit.entries("billed")] == ["closing"]


def test_a_trace_strikes_whoever_has_instances() -> None:
    clock = ServiceClock(start=1000.0)
    faults = Faults(clock, AuditLog(), Scenario(faults=(InterruptionTrace((TraceEvent(50.0),)),)))
    downloading = SpotAttempt("job", 0, ("ml.m5.large",), faults.since + 10, float("inf"))
    strike = faults.next_interruption(downloading)
    assert strike is not None and strike.when == faults.since + 50
    later = SpotAttempt("job", 0, ("ml.m5.large",), faults.since + 51, float("inf"))
    assert faults.next_interruption(later) is None
    faults.apply(Scenario())  # just before it strikes
    faults.fired(strike, "job")


def test_interrupted_while_downloading(emulator: SageMakerEmulator, rig: Rig, large: dict[str, Any]) -> None:
    request = rig.request("lost-download", "print('trained')", spot=True)
    request["InputDataConfig"].append(large)

    def interrupted() -> bool:
        try:
            emulator.interrupt(name)
        except ValueError:  # not yet, or not any more
            return rig.describe(name)["TrainingJobStatus"] == "Completed"
        return True

    for number in range(20):  # until one is hit in time
        name = request["TrainingJobName"] = f"lost-download-{number}"
        rig.sagemaker.create_training_job(**request)
        eventually(interrupted)
        found = phases_of(rig, name)
        if found[:3] == ["Starting", "Downloading", "Interrupted"]:
            break
    assert found[2:] == ["Interrupted", "Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert [line for line in rig.all_logs(name) if line == "trained"] == ["trained"]


def test_a_job_that_is_being_stopped_has_no_instance_to_lose() -> None:
    with SageMakerEmulator(max_parallel_jobs=1, stop_grace_s=5) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        deaf = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(ROOT + '/checkpoints/ready', 'w').write('1')
        while True: signal.pause()
        """
        rig.submit("deaf", deaf, spot=True)
        rig.printed("checkpoints/deaf/ready")
        rig.sagemaker.stop_training_job(TrainingJobName="deaf")
        with pytest.raises(SpecError, match="Stop"):
            aws.interrupt("deaf")
        assert phases_of(rig, "deaf")[-2:] == ["Stopping", "Stopped"]
        assert aws.audit.entries("fault") == []
