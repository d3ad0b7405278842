"""Version 3 of the SageMaker SDK, unmodified, with the driver scripts that it puts into its jobs."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
from sdk_rig import Account, eventually, sdk_module, write_source, write_wheel

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]
NUMBERS = itertools.count()
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-gpu-py312"


@pytest.fixture(scope="module")
def sdk(account: Account) -> Any:
    return sdk_module("sagemaker.train", "v3")


@pytest.fixture(scope="module")
def session(sdk: Any) -> Any:
    from sagemaker.core.helper.session_helper import Session

    return Session()


@pytest.fixture
def trainer(sdk: Any, session: Any, account: Account, tmp_path: Path) -> Any:
    """Makes trainers of jobs with these hyperparameters."""
    from sagemaker.core.training.configs import Compute, SourceCode

    def make(
        hyperparameters: dict[str, Any],
        source: Path | None = None,
        requirements: str | None = None,
        spot: bool = False,
        instances: int = 1,
        **arguments: Any,
    ) -> Any:
        return sdk.ModelTrainer(
            training_image=IMAGE,
            role=account.aws.role_arn,
            sagemaker_session=session,
            source_code=SourceCode(
                source_dir=str(source or write_source(tmp_path / "source")),
                entry_script="train.py",
                requirements=requirements,
            ),
            compute=Compute(
                instance_type="ml.g5.xlarge", instance_count=instances, enable_managed_spot_training=spot
            ),
            hyperparameters=hyperparameters,
            base_job_name=f"v3-{next(NUMBERS)}",  # what the SDK adds has whole seconds
            **arguments,
        )

    return make


def job_name(trainer: Any) -> str:
    return str(trainer._latest_training_job.training_job_name)


def test_account_bucket_and_role(session: Any, account: Account) -> None:
    """The SDK asks https://sts.us-east-1.amazonaws.com for all of these."""
    from sagemaker.core.helper.session_helper import get_execution_role

    assert session.account_id() == account.aws.account_id
    assert session.default_bucket() == f"sagemaker-us-east-1-{account.aws.account_id}"
    account.s3.head_bucket(Bucket=session.default_bucket())
    assert f":{account.aws.account_id}:" in get_execution_role(session)


def test_train_with_logs(
    trainer: Any, session: Any, account: Account, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sagemaker.core.training.configs import InputData

    source = write_source(tmp_path / "source", requirements="./wheels/tiny_dependency-1.0-py3-none-any.whl\n")
    write_wheel(source / "wheels")
    session.upload_string_as_file_body("1,2,3", session.default_bucket(), "data/numbers.csv")
    numbers = InputData(channel_name="numbers", data_source=f"s3://{session.default_bucket()}/data/")
    label = 'a "q" ü'
    trained = trainer({"epochs": 4, "lr": 0.25, "label": label}, source, requirements="requirements.txt")
    with caplog.at_level(logging.INFO):
        trained.train(input_data_config=[numbers], wait=True, logs=True)

    job = trained._latest_training_job
    assert job.training_job_status == "Completed"
    assert "begins after epoch 0 with lr 0.25 and label " + repr(label) in caplog.text
    assert "epoch=4 loss=0.25;" in caplog.text
    model = account.model(job.model_artifacts.s3_model_artifacts)
    assert model["label"] == label
    assert model["channels"] == {"numbers": {"numbers.csv": "1,2,3"}}
    assert model["dependency"] == "installed for this job"
    from sagemaker.core.resources import TrainingJob

    found = TrainingJob.get(job.training_job_name)
    assert found.training_job_arn == job.training_job_arn
    assert job.training_job_name in [each.training_job_name for each in TrainingJob.get_all(name_contains="v3-")]


def test_failing_script(trainer: Any, account: Account, caplog: pytest.LogCaptureFixture) -> None:
    from sagemaker.core.utils.exceptions import FailedStatusError

    failing = trainer({"epochs": 1, "lr": -1})
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(FailedStatusError, match=r"(?s)AlgorithmError: .*exit code: 1"),
    ):
        failing.train(wait=True, logs=True)
    assert "ValueError: a negative learning rate" in account.printed(job_name(failing))


def test_quotes_break_the_driver_as_they_do_on_aws(trainer: Any, account: Account) -> None:
    broken = trainer({"epochs": 1, "label": "it's"})
    broken.train(wait=False)
    assert account.ended(job_name(broken))["FailureReason"].endswith("exit code: 2")
    assert "unexpected EOF" in account.printed(job_name(broken))


def test_spot_with_checkpoints(trainer: Any, session: Any, account: Account) -> None:
    from sagemaker.core.training.configs import CheckpointConfig, StoppingCondition

    checkpoints = f"s3://{session.default_bucket()}/spot"
    spot = trainer(
        {"epochs": 12, "wait-after": 3},
        spot=True,
        checkpoint_config=CheckpointConfig(s3_uri=checkpoints, local_path="/opt/ml/checkpoints"),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=600, max_wait_time_in_seconds=1200),
    )
    spot.train(wait=False)
    name = job_name(spot)
    account.wait_printed(name, "epoch=3 ")
    stored = eventually(lambda: account.epoch_stored(checkpoints), "a checkpoint is uploaded")
    account.aws.interrupt(name)
    spot._latest_training_job.wait()

    phases = account.phases(name)
    assert phases.count("Interrupted") == 1 and phases[-1] == "Completed"
    printed = account.printed(name)
    assert int(printed.rpartition("begins after epoch ")[2].split()[0]) >= stored > 0
    assert account.get(f"{checkpoints}/epoch.txt") == b"12"


def test_stopped_job_never_hears_of_it(trainer: Any, account: Account) -> None:
    """As on AWS: the drivers keep SIGTERM to themselves, and the script is killed at last."""
    endless = trainer({"epochs": 1000, "seconds": 0.1})
    endless.train(wait=False)
    name = job_name(endless)
    account.wait_printed(name, "epoch=2 ")
    endless._latest_training_job.stop()
    account.ended(name)
    assert account.phases(name)[-1] == "Stopped"
    assert "the script got SIGTERM" not in account.printed(name)
    endless._latest_training_job.wait()  # no error: it was stopped by request


def test_two_instances(trainer: Any, account: Account, caplog: pytest.LogCaptureFixture) -> None:
    pair = trainer({"epochs": 2}, instances=2)
    with caplog.at_level(logging.INFO):
        pair.train(wait=True, logs=True)
    assert caplog.text.count("epoch=2 loss=0.5;") == 2
    assert len(account.streams(job_name(pair))) == 2
