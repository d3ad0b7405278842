"""Version 2 of the SageMaker SDK, unmodified, with the training toolkit 5.1.4 inside its jobs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from sdk_rig import Account, eventually, sdk_module, write_source, write_wheel

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]
ROLE = "SomeExecutionRole"


@pytest.fixture(scope="module")
def sdk(account: Account) -> Any:
    sdk_module("sagemaker_training", "v2")
    sdk_module("sagemaker.pytorch", "v2")
    return sdk_module("sagemaker", "v2")


@pytest.fixture(scope="module")
def session(sdk: Any) -> Any:
    return sdk.Session()


@pytest.fixture
def estimator(sdk: Any, session: Any, tmp_path: Path) -> Any:
    """Makes estimators; arguments go to ``PyTorch``."""

    def make(source: Path | None = None, **arguments: Any) -> Any:
        return sdk.pytorch.PyTorch(
            **{
                "entry_point": "train.py",
                "source_dir": str(source or write_source(tmp_path / "source")),
                "role": ROLE,
                "instance_type": "ml.g5.xlarge",
                "instance_count": 1,
                "framework_version": "2.6.0",
                "py_version": "py312",
                "sagemaker_session": session,
                "metric_definitions": [{"Name": "loss", "Regex": r"loss=([0-9.]+);"}],
                **arguments,
            }
        )

    return make


def test_account_bucket_and_role(sdk: Any, session: Any, account: Account) -> None:
    """The SDK asks https://sts.us-east-1.amazonaws.com for all of these."""
    assert session.account_id() == account.aws.account_id
    assert session.default_bucket() == f"sagemaker-us-east-1-{account.aws.account_id}"
    account.s3.head_bucket(Bucket=session.default_bucket())
    assert session.expand_role(ROLE).endswith(f":role/service-role/{ROLE}")
    assert f":{account.aws.account_id}:" in sdk.get_execution_role(session)


def test_fit_with_logs_and_attach(
    sdk: Any, session: Any, account: Account, estimator: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    label = 'it\'s a "q" $HOME ü'
    source = write_source(tmp_path / "source", requirements="./wheels/tiny_dependency-1.0-py3-none-any.whl\n")
    write_wheel(source / "wheels")
    data = session.upload_string_as_file_body("1,2,3", session.default_bucket(), "data/numbers.csv")
    trained = estimator(source, hyperparameters={"epochs": 4, "lr": 0.25, "label": label}, tags={"team": "a b"})
    trained.fit({"numbers": data}, wait=True, logs="All")

    printed = capfd.readouterr().out
    assert "begins after epoch 0 with lr 0.25 and label " + repr(label) in printed
    assert "epoch=4 loss=0.25;" in printed
    assert "Training seconds: " in printed and "Billable seconds: " in printed
    model = account.model(trained.model_data)
    assert model == {
        "label": label,
        "hps": {"epochs": 4, "lr": 0.25, "label": label},
        "channels": {"numbers": {"numbers.csv": "1,2,3"}},
        "dependency": "installed for this job",
    }
    assert importlib.util.find_spec("tiny_dependency") is None
    name = trained.latest_training_job.name
    metrics = account.describe(name)["FinalMetricDataList"]
    assert [(metric["MetricName"], metric["Value"]) for metric in metrics] == [("loss", 0.25)]

    for kind in (sdk.estimator.Estimator, sdk.pytorch.PyTorch):
        attached = kind.attach(name, sagemaker_session=session)
        assert attached.model_data == trained.model_data
        assert attached.latest_training_job.name == name
        assert json.loads(attached.hyperparameters()["label"]) == label
        assert {"Key": "team", "Value": "a b"} in attached.tags
    assert capfd.readouterr().out.count("Completed - Training job completed") == 2


def test_failing_script(sdk: Any, account: Account, estimator: Any, capfd: pytest.CaptureFixture[str]) -> None:
    failing = estimator(hyperparameters={"epochs": 1, "lr": -1})
    with pytest.raises(sdk.exceptions.UnexpectedStatusException, match="ExecuteUserScriptError") as caught:
        failing.fit(wait=True, logs="All")
    assert caught.value.actual_status == "Failed"
    assert "AlgorithmError: " in str(caught.value) and "exit code: 1" in str(caught.value)
    assert "ValueError: a negative learning rate" in capfd.readouterr().out
    reason = account.describe(failing.latest_training_job.name)["FailureReason"]
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1") and len(reason) <= 1024


def test_spot_with_checkpoints(session: Any, account: Account, estimator: Any) -> None:
    checkpoints = f"s3://{session.default_bucket()}/spot"
    spot = estimator(
        hyperparameters={"epochs": 12, "wait-after": 3},
        use_spot_instances=True,
        max_run=600,
        max_wait=1200,
        checkpoint_s3_uri=checkpoints,
    )
    spot.fit(wait=False)
    name = spot.latest_training_job.name
    account.wait_printed(name, "epoch=3 ")
    stored = eventually(lambda: account.epoch_stored(checkpoints), "a checkpoint is uploaded")
    account.aws.interrupt(name)
    spot.latest_training_job.wait(logs="None")

    phases = account.phases(name)
    assert phases.count("Interrupted") == 1 and phases[-1] == "Completed"
    printed = account.printed(name)
    resumed_after = int(printed.rpartition("begins after epoch ")[2].split()[0])
    assert resumed_after >= stored > 0
    assert "epoch=12 " in printed
    assert len(account.streams(name)) == 2
    assert account.get(f"{checkpoints}/epoch.txt") == b"12"


def test_stopped_job_never_hears_of_it(session: Any, account: Account, estimator: Any) -> None:
    """As on AWS: the container's shell keeps SIGTERM to itself, and the script is killed at last."""
    endless = estimator(hyperparameters={"epochs": 1000, "seconds": 0.1})
    endless.fit(wait=False)
    name = endless.latest_training_job.name
    account.wait_printed(name, "epoch=2 ")
    endless.latest_training_job.stop()
    account.ended(name)
    assert account.phases(name)[-1] == "Stopped"
    assert "the script got SIGTERM" not in account.printed(name)
    endless.latest_training_job.wait(logs="None")  # no error: it was stopped by request


def test_two_instances(account: Account, estimator: Any, capfd: pytest.CaptureFixture[str]) -> None:
    pair = estimator(hyperparameters={"epochs": 2}, instance_count=2)
    pair.fit(wait=True, logs="All")
    printed = capfd.readouterr().out
    assert printed.count("epoch=2 loss=0.5;") == 2
    streams = account.streams(pair.latest_training_job.name)
    assert sorted(stream.partition("/")[2].rpartition("-")[0] for stream in streams) == ["algo-1", "algo-2"]
    assert account.model(pair.model_data)["hps"] == {"epochs": 2}
