"""Version 3 of the SageMaker SDK where there are no namespaces: its drivers have ``/opt/ml`` built in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sdk_rig import Account, sdk_module, write_source

from cloudtune.emulator import SageMakerEmulator

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]

#: A process of its own: the SDK keeps its clients, and with them the first emulator's address, for ever.
TRAIN = """
import sys
from sagemaker.core.training.configs import Compute, SourceCode
from sagemaker.train import ModelTrainer

trainer = ModelTrainer(
    training_image="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-gpu-py312",
    role=sys.argv[1],
    source_code=SourceCode(source_dir=sys.argv[2], entry_script="train.py"),
    compute=Compute(instance_type="ml.g5.xlarge", instance_count=1),
    hyperparameters={"epochs": 2, "lr": 0.5},
)
trainer.train(wait=True, logs=True)
"""


def test_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk_module("sagemaker.train", "v3")
    with SageMakerEmulator(isolation="none") as aws:
        for name, value in aws.environment(proxy=True).items():
            monkeypatch.setenv(name, value)
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, aws.role_arn, str(write_source(tmp_path / "source"))],
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        account = Account(aws)
        (job,) = aws.jobs()
        assert job["TrainingJobStatus"] == "Completed"
        model = account.model(job["ModelArtifacts"]["S3ModelArtifacts"])
        assert {key: model["hps"][key] for key in ("epochs", "lr")} == {"epochs": 2, "lr": 0.5}
