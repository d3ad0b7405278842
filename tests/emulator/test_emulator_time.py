"""Limits and waits of the service, in scaled time; and the fixture for users' tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest
from emulator_rig import BUCKET, Rig

from cloudtune.emulator import InterruptRule, SageMakerEmulator
from cloudtune.emulator.pytest_plugin import sagemaker_emulator
from cloudtune.errors import SpecError

__all__ = ["sagemaker_emulator"]
DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(ROOT + '/checkpoints/x', 'w').write('1')
while True: signal.pause()
"""


@pytest.fixture
def fast() -> Iterator[SageMakerEmulator]:
    """Ten minutes pass in a second."""
    with SageMakerEmulator(max_parallel_jobs=1, time_scale=600) as aws:
        yield aws


def test_limits_pass_faster(fast: SageMakerEmulator) -> None:
    rig = Rig(fast.endpoint_url, fast.role_arn)
    rig.submit("in-the-way", DEAF, StoppingCondition={"MaxRuntimeInSeconds": 86_400})
    limits = {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 300}
    rig.submit("never-launched", "", spot=True, StoppingCondition=limits)
    waiting = rig.ended("never-launched")
    assert (waiting["TrainingJobStatus"], waiting["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert rig.phases("never-launched") == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert "BillableTimeInSeconds" not in waiting
    rig.sagemaker.stop_training_job(TrainingJobName="in-the-way")  # 0.2 s of grace
    deaf = rig.run("deaf", DEAF, StoppingCondition={"MaxRuntimeInSeconds": 3000})  # 5 s
    assert deaf["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert rig.get("checkpoints/deaf/x") == b"1"

    limits = {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}
    running = rig.run("waited-too-long", DEAF, spot=True, StoppingCondition=limits)
    assert running["SecondaryStatus"] == "MaxWaitTimeExceeded"


def test_rules_apply_to_jobs_that_run_already(fast: SageMakerEmulator) -> None:
    rig = Rig(fast.endpoint_url, fast.role_arn)
    code = "sys.exit(0) if os.path.exists(ROOT + '/checkpoints/x') else None\n" + DEAF
    limits = {"MaxRuntimeInSeconds": 86_400, "MaxWaitTimeInSeconds": 86_400}
    rig.submit("late-rule", code, spot=True, StoppingCondition=limits)
    rig.printed("checkpoints/late-rule/x")
    fast.add_interrupt_rule(InterruptRule("other", after_s=0))
    fast.add_interrupt_rule(InterruptRule("late", after_s=0, notice=True))
    assert rig.ended("late-rule")["TrainingJobStatus"] == "Completed"
    assert rig.phases("late-rule").count("Interrupted") == 1


def test_on_demand_jobs_are_not_interrupted(fast: SageMakerEmulator) -> None:
    fast.add_interrupt_rule(InterruptRule(after_s=0))
    rig = Rig(fast.endpoint_url, fast.role_arn)
    rig.run("on-demand", "time.sleep(0.3)")
    assert rig.phases("on-demand").count("Interrupted") == 0


@pytest.fixture
def _foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "somebody-elses")
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "somebody-elses")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")


@pytest.mark.usefixtures("_foreign_settings")
def test_the_environment_is_enough_for_any_client(sagemaker_emulator: SageMakerEmulator) -> None:
    assert boto3.client("sts").get_caller_identity()["Account"] == sagemaker_emulator.account_id
    code = "import boto3; boto3.client('s3').create_bucket(Bucket='from-a-child')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    names = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    assert names == ["from-a-child"]  # nothing of the tests before
    assert BUCKET not in names
    assert os.environ["AWS_ENDPOINT_URL"] == sagemaker_emulator.endpoint_url


def test_before_its_start_it_has_no_address() -> None:
    with pytest.raises(SpecError, match="has not been started"):
        _ = SageMakerEmulator().endpoint_url


def test_closing_twice_is_closing_once() -> None:
    emulator = SageMakerEmulator().start()
    rig = Rig(emulator.endpoint_url, emulator.role_arn)
    rig.submit("cut-off", DEAF)
    rig.printed("checkpoints/cut-off/x")
    emulator.close()
    emulator.close()
    assert emulator.wait_closed(0)


def test_one_is_started_once() -> None:
    with SageMakerEmulator() as emulator:
        address = emulator.endpoint_url
        with pytest.raises(SpecError, match="started before"):
            emulator.start()
        assert emulator.endpoint_url == address
        assert Rig(address, emulator.role_arn).keys("") == []
    with pytest.raises(SpecError, match="another one"):
        emulator.start()
