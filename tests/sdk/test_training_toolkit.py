"""The training toolkit 5.1.4 in jobs that a plain client sends, as framework images run it in script mode."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from sdk_rig import SCRIPT, Account, sdk_module

from cloudtune.emulator import SageMakerEmulator

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]
BUCKET = "plain-scripts"


@pytest.fixture(scope="module", params=["root", "user", "none"])
def plain_account(request: pytest.FixtureRequest) -> Iterator[Account]:
    """An account whose jobs are isolated in that way."""
    sdk_module("sagemaker_training", "v2")
    with SageMakerEmulator(isolation=request.param) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        account = Account(aws)
        account.s3.create_bucket(Bucket=BUCKET)
        yield account


def script_mode(account: Account, name: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Runs the script as framework images do; the job's end."""
    code = io.BytesIO()
    with tarfile.open(fileobj=code, mode="w:gz") as archive:
        member = tarfile.TarInfo("train.py")
        member.size = len(SCRIPT.encode())
        archive.addfile(member, io.BytesIO(SCRIPT.encode()))
    account.s3.put_object(Bucket=BUCKET, Key=f"{name}/sourcedir.tar.gz", Body=code.getvalue())
    hyperparameters |= {
        "sagemaker_submit_directory": f"s3://{BUCKET}/{name}/sourcedir.tar.gz",
        "sagemaker_program": "train.py",
        "sagemaker_region": "us-east-1",
    }
    account.sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=account.aws.role_arn,
        AlgorithmSpecification={
            "TrainingImage": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312",
            "TrainingInputMode": "File",
        },
        HyperParameters={key: json.dumps(value) for key, value in hyperparameters.items()},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/{name}/checkpoints"},
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/output"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 300},
    )
    return account.ended(name)


def test_script_mode(plain_account: Account) -> None:
    wanted = {"epochs": 2, "lr": 0.5, "label": "a 'b' \"c\"", "checkpoints": "/opt/ml/checkpoints"}
    job = script_mode(plain_account, "toolkit-trains", dict(wanted))
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = plain_account.model(job["ModelArtifacts"]["S3ModelArtifacts"])
    assert model["label"] == wanted["label"]
    assert {key: model["hps"][key] for key in ("epochs", "lr", "label")} == {
        key: wanted[key] for key in ("epochs", "lr", "label")
    }
    assert plain_account.epoch_stored(f"s3://{BUCKET}/toolkit-trains/checkpoints") == 2
    assert "Reporting training SUCCESS" in plain_account.printed("toolkit-trains")


def test_failing_script(plain_account: Account) -> None:
    job = script_mode(plain_account, "toolkit-fails", {"epochs": 1, "lr": -1})
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1")
    assert "ValueError: a negative learning rate" in plain_account.printed("toolkit-fails")
