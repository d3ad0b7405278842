"""A ``ModelTrainer`` of version 3 of the SageMaker SDK as the job of trials."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sdk_rig import Account, sdk_module
from template_rig import LABEL, run_as_job, tune, write_code, write_data, write_package

from cloudtune.backend import SageMakerBackend
from cloudtune.errors import SpecError
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.sagemaker_backend.template import as_template
from cloudtune.sagemaker_backend.trial_package import build_trial_archive

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-gpu-py312"
GPU = "ml.g5.xlarge"


@pytest.fixture(scope="module")
def sdk(account: Account) -> Any:
    for name in ("core.helper.session_helper", "core.training.configs", "core.shapes", "train.distributed"):
        sdk_module(f"sagemaker.{name}", "v3")
    sdk_module("sagemaker.train", "v3")
    return sdk_module("sagemaker", "v3")


@pytest.fixture(scope="module")
def configs(sdk: Any) -> Any:
    return sdk.core.training.configs


@pytest.fixture(scope="module")
def shapes(sdk: Any) -> Any:
    return sdk.core.shapes


@pytest.fixture(scope="module")
def session(sdk: Any) -> Any:
    return sdk.core.helper.session_helper.Session()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return write_code(tmp_path)


Make = Callable[..., Any]


@pytest.fixture
def trainer(sdk: Any, configs: Any, session: Any, account: Account, code: Path) -> Make:
    """Makes trainers."""
    return lambda **arguments: sdk.train.ModelTrainer(
        **{
            "training_image": IMAGE,
            "role": account.aws.role_arn,
            "sagemaker_session": session,
            "source_code": configs.SourceCode(source_dir=str(code), entry_script="train.py"),
            "compute": configs.Compute(instance_type=GPU, instance_count=1),
            **arguments,
        }
    )


def test_all_that_matters_is_taken_over(
    trainer: Make, configs: Any, shapes: Any, account: Account, code: Path
) -> None:
    source = shapes.S3DataSource(s3_data_type="S3Prefix", s3_uri="s3://bucket/b")
    everything = trainer(
        source_code=configs.SourceCode(
            source_dir=str(code), command="torchrun --nproc_per_node 2 train.py", args=["--note", "a b", 3]
        ),
        compute=configs.Compute(
            instance_type=GPU,
            instance_count=2,
            volume_size_in_gb=77,
            volume_kms_key_id="volume-key",
            enable_managed_spot_training=True,
        ),
        stopping_condition=configs.StoppingCondition(
            max_runtime_in_seconds=600, max_wait_time_in_seconds=1200, max_pending_time_in_seconds=7200
        ),
        networking=configs.Networking(
            subnets=["subnet-1"], security_group_ids=["sg-1"], enable_network_isolation=True
        ),
        output_data_config=configs.OutputDataConfig(s3_output_path="s3://bucket/out", kms_key_id="output-key"),
        input_data_config=[
            configs.InputData(channel_name="a", data_source="s3://bucket/a/"),
            configs.InputData(channel_name="b", data_source=source),
            shapes.Channel(channel_name="c", data_source=shapes.DataSource(s3_data_source=source)),
        ],
        environment={"A": "b"},
        tags=[shapes.Tag(key="team", value="vision")],
        hyperparameters={"epochs": 9, "lr": 0.5, "label": LABEL},
        base_job_name="ignored",
    )
    everything = everything.with_retry_strategy(shapes.RetryStrategy(maximum_retry_attempts=3))
    everything = everything.with_metric_definitions([configs.MetricDefinition(name="acc", regex="acc=(.*)")])
    template = as_template(everything, inputs=[configs.InputData(channel_name="d", data_source="s3://bucket/d")])
    assert template.spec == TrainingJobSpec(
        name="",
        image=IMAGE,
        role_arn=account.aws.role_arn,
        output_s3_uri="s3://bucket/out",
        environment={"A": "b"},
        instance_type=GPU,
        instance_count=2,
        volume_size_gb=77,
        max_run_s=600,
        max_wait_s=1200,
        max_pending_s=7200,
        spot=True,
        channels={"a": "s3://bucket/a/", "b": "s3://bucket/b", "c": "s3://bucket/b", "d": "s3://bucket/d"},
        tags={"team": "vision"},
        metric_definitions={"acc": "acc=(.*)"},
        subnets=("subnet-1",),
        security_group_ids=("sg-1",),
        volume_kms_key="volume-key",
        output_kms_key="output-key",
        network_isolation=True,
        retry_attempts=3,
    )
    assert template.hyperparameters == {"epochs": 9, "lr": 0.5, "label": LABEL}
    assert template.command == ("torchrun", "--nproc_per_node", "2", "train.py", "--note", "a b", "3")
    assert template.source_dir == code
    assert pickle.loads(pickle.dumps(template)) == template


def test_defaults_are_those_of_the_sdk(trainer: Make, account: Account, session: Any) -> None:
    template = as_template(trainer(base_job_name="mine"))
    output = f"s3://{session.default_bucket()}/mine"
    empty = TrainingJobSpec("", IMAGE, account.aws.role_arn, output, instance_type=GPU)
    assert template.spec == replace(empty, max_run_s=3600)
    assert template.command == ("train.py",)


def test_a_trainer_that_has_been_used(trainer: Make) -> None:
    used = trainer(hyperparameters={"epochs": 2, "label": "x"}, base_job_name="used")
    fresh = as_template(used)
    used.train(wait=False)
    assert as_template(used) == fresh


def test_requirements_are_those_that_are_named(trainer: Make, configs: Any, code: Path) -> None:
    (code / "needs.txt").write_text("tqdm\n")
    (code / "requirements-dev.txt").write_text("pytest\n")
    given = trainer(
        source_code=configs.SourceCode(source_dir=str(code), entry_script="train.py", requirements="needs.txt")
    )
    files = dict(build_trial_archive(as_template(given)).listing)
    assert files["requirements.txt"] == len("boto3>=1.35.69\ntqdm\n")
    assert as_template(trainer()).requirements is None


Change = Callable[[Any], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sdk: {"distributed": sdk.train.distributed.Torchrun()}, ["distributed", "torchrun"]),
        (lambda sdk: {"training_input_mode": "FastFile"}, ["training_input_mode", "File"]),
        (lambda sdk: {"source_code": None}, ["names no script"]),
        (
            lambda sdk: {"checkpoint_config": sdk.core.training.configs.CheckpointConfig(s3_uri="s3://bucket/c")},
            ["checkpoints", "--st_checkpoint_dir"],
        ),
        (
            lambda sdk: {"networking": {"enable_inter_container_traffic_encryption": True}},
            ["enable_inter_container_traffic_encryption"],
        ),
        (
            lambda sdk: {
                "compute": {
                    "instance_groups": [
                        sdk.core.shapes.InstanceGroup(
                            instance_type=GPU, instance_count=1, instance_group_name="one"
                        )
                    ]
                }
            },
            ["instance_groups", "instance_type"],
        ),
        (lambda sdk: {"compute": {"instance_type": "ml.m5.huge"}}, ["ml.m5.huge"]),
        (lambda sdk: {"source_code": {"command": "cd src && python train.py"}}, ["command", "run.sh"]),
        (lambda sdk: {"source_code": {"command": "python -m train", "ignore_patterns": ["*.bin"]}}, ["*.bin"]),
        (lambda sdk: {"input_data_config": [{"channel_name": "a", "data_source": "/data"}]}, ["'a'", "/data"]),
        (
            lambda sdk: {
                "input_data_config": [
                    {"channel_name": "a", "data_source": "s3://bucket/a", "content_type": "text/csv"}
                ]
            },
            ["content_type"],
        ),
        (lambda sdk: {"output_data_config": {"compression_type": "NONE"}}, ["compression_type"]),
    ],
)
def test_what_trials_cannot_have_is_refused(
    trainer: Make, sdk: Any, configs: Any, code: Path, change: Change, words: list[str]
) -> None:
    kinds = {
        "compute": configs.Compute,
        "networking": configs.Networking,
        "output_data_config": configs.OutputDataConfig,
        "source_code": lambda **given: configs.SourceCode(source_dir=str(code), **given),
    }
    arguments = change(sdk)
    for name, value in arguments.items():
        if name in kinds and isinstance(value, dict):
            arguments[name] = kinds[name](**value)
        elif isinstance(value, list):
            arguments[name] = [configs.InputData(**item) for item in value]
    given = trainer(**arguments)
    with pytest.raises(SpecError) as caught:
        as_template(given)
    for word in words:
        assert word in str(caught.value)


def test_its_job_runs_and_the_console_reads_its_metrics(account: Account, trainer: Make, tmp_path: Path) -> None:
    backend = SageMakerBackend(
        trainer(hyperparameters={"label": LABEL, "epochs": 9}),
        metrics_names=["loss"],
        inputs={"numbers": write_data(account)},
        dependencies=[write_package(tmp_path)],
    )
    ended = run_as_job(account, backend.template)
    assert ended["RoleArn"] == account.aws.role_arn
    assert [(m["MetricName"], m["Value"]) for m in ended["FinalMetricDataList"]] == [("loss", 3.00001)]
    assert account.model(ended["ModelArtifacts"]["S3ModelArtifacts"]) == {}


def test_a_whole_experiment(account: Account, trainer: Make, configs: Any, code: Path) -> None:
    write_package(code)
    given = trainer(
        hyperparameters={"label": LABEL},
        input_data_config=[configs.InputData(channel_name="numbers", data_source=write_data(account))],
    )
    tuner = tune(SageMakerBackend(given))
    jobs = account.sagemaker.list_training_jobs(NameContains=tuner.name)["TrainingJobSummaries"]
    assert len(jobs) >= 4  # at least one trial was promoted
