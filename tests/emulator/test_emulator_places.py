"""Who a job is, and where it waits: what a team's own code in and around jobs relies on."""

from __future__ import annotations

import json
import site
import subprocess
from pathlib import Path

import pytest
from emulator_rig import BUCKET, Rig, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.job_environment import make_interpreter
from cloudtune.emulator.machine.ml_folder import JobFolder

_IDENTITY = f"""
import boto3
session = boto3.client('sts').get_caller_identity()['Arn']
role = boto3.client('iam').get_role(RoleName=session.split('/')[-2])['Role']['Arn']
boto3.client('s3').put_object(Bucket={BUCKET!r}, Key='identity', Body=json.dumps([session, role]).encode())
"""


def test_a_job_is_its_role(rig: Rig) -> None:
    role = "arn:aws:iam::123456789012:role/teams/vision/Trainer"
    job = rig.run("identity", _IDENTITY, RoleArn=role)
    assert job["TrainingJobStatus"] == "Completed", rig.all_logs("identity")
    session = "arn:aws:sts::123456789012:assumed-role/Trainer/SageMaker"
    assert json.loads(rig.printed("identity")) == [session, role]


def _message(rig: Rig, name: str) -> str:
    return str(rig.describe(name)["SecondaryStatusTransitions"][0]["StatusMessage"])


def test_jobs_beyond_the_places_say_why_they_wait() -> None:
    with SageMakerEmulator(max_parallel_jobs=1, stop_grace_s=0) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.submit("first", "time.sleep(600)")
        rig.reached("first", "Training")
        rig.submit("second", "print('runs')")
        eventually(lambda: "max_parallel_jobs" in _message(rig, "second"), "it says why it waits")
        assert rig.phases("second") == ["Starting"]
        rig.sagemaker.stop_training_job(TrainingJobName="first")
        assert rig.ended("second")["TrainingJobStatus"] == "Completed"
        assert "max_parallel_jobs" not in _message(rig, "second")


def test_packages_that_pip_installed_for_the_user_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "only_the_users.py").write_text("ANSWER = 42")
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "USER_SITE", str(tmp_path / "user"))
    folder = JobFolder(tmp_path / "job")
    folder.create()
    python = make_interpreter(folder) / "python3"
    command = [str(python), "-c", "import only_the_users, moto; print(only_the_users.ANSWER)"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "42\n"


def test_a_job_that_looks_for_opt_ml_where_there_is_none_is_told_where_it_is() -> None:
    with SageMakerEmulator(isolation="none") as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        assert rig.run("lost", "open('/opt/ml/no-such-folder/x')")["TrainingJobStatus"] == "Failed"
        *_, error, remark = rig.all_logs("lost")
        assert error.startswith("FileNotFoundError")
        assert "SAGEMAKER_BASE_DIR" in remark
        rig.run("other", "sys.exit('something else')")
        assert rig.all_logs("other") == ["something else"]
