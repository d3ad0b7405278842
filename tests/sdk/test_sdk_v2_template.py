"""Estimators of version 2 of the SageMaker SDK as the job of trials."""

from __future__ import annotations

import pickle
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
from cloudtune.sagemaker_backend.trial_job_spec import image_of

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]
ROLE = "SomeExecutionRole"
GPU, CPU = "ml.g5.xlarge", "ml.m5.large"


@pytest.fixture(scope="module")
def sdk(account: Account) -> Any:
    for name in ("pytorch", "huggingface", "sklearn", "tensorflow", "estimator", "inputs", "debugger"):
        sdk_module(f"sagemaker.{name}", "v2")
    return sdk_module("sagemaker", "v2")


@pytest.fixture(scope="module")
def session(sdk: Any) -> Any:
    return sdk.Session()


@pytest.fixture
def common(session: Any, tmp_path: Path) -> dict[str, Any]:
    """Arguments of every estimator."""
    return {
        "entry_point": "train.py",
        "source_dir": str(write_code(tmp_path)),
        "role": ROLE,
        "instance_type": GPU,
        "instance_count": 1,
        "sagemaker_session": session,
    }


@pytest.fixture
def pytorch(sdk: Any, common: dict[str, Any]) -> Any:
    """Makes estimators for PyTorch."""
    return lambda **arguments: sdk.pytorch.PyTorch(
        **{"framework_version": "2.6.0", "py_version": "py312", **common, **arguments}
    )


def test_all_that_matters_is_taken_over(sdk: Any, common: dict[str, Any], tmp_path: Path) -> None:
    everything = sdk.estimator.Estimator(
        **{**common, "role": "arn:aws:iam::123456789012:role/mine", "instance_type": CPU, "instance_count": 2},
        image_uri="repo/mine:1",
        volume_size=77,
        max_run=600,
        max_wait=1200,
        use_spot_instances=True,
        max_retry_attempts=3,
        subnets=["subnet-1"],
        security_group_ids=["sg-1"],
        volume_kms_key="volume-key",
        output_kms_key="output-key",
        output_path="s3://bucket/out",
        environment={"A": "b"},
        tags=[{"Key": "team", "Value": "vision"}],
        metric_definitions=[{"Name": "acc", "Regex": "acc=(.*)"}],
        hyperparameters={"epochs": 9, "text": "3"},
        enable_network_isolation=True,
        model_uri="s3://bucket/pretrained",
        base_job_name="ignored",
        dependencies=[str(write_package(tmp_path))],
    )
    everything.set_hyperparameters(lr=0.5, sizes=[1, 2], label=LABEL)
    template = as_template(everything, inputs={"train": sdk.inputs.TrainingInput("s3://bucket/train")})
    assert template.spec == TrainingJobSpec(
        name="",
        image="repo/mine:1",
        role_arn="arn:aws:iam::123456789012:role/mine",
        output_s3_uri="s3://bucket/out",
        environment={"A": "b"},
        instance_type=CPU,
        instance_count=2,
        volume_size_gb=77,
        max_run_s=600,
        max_wait_s=1200,
        spot=True,
        channels={"model": "s3://bucket/pretrained", "train": "s3://bucket/train"},
        tags={"team": "vision"},
        metric_definitions={"acc": "acc=(.*)"},
        subnets=("subnet-1",),
        security_group_ids=("sg-1",),
        volume_kms_key="volume-key",
        output_kms_key="output-key",
        network_isolation=True,
        retry_attempts=3,
    )
    assert template.hyperparameters == {"epochs": 9, "text": "3", "lr": 0.5, "sizes": [1, 2], "label": LABEL}
    assert template.command == ("train.py",)
    assert template.source_dir == tmp_path / "code"
    assert template.dependencies == (tmp_path / "constant",)
    assert pickle.loads(pickle.dumps(template)) == template


def test_defaults_say_nothing(pytorch: Any) -> None:
    template = as_template(pytorch(tags={"a": "b"}, keep_alive_period_in_seconds=600))
    empty = TrainingJobSpec("", "", ROLE, "", instance_type=GPU)
    assert template.spec == replace(empty, tags={"a": "b"}, keep_alive_s=600)
    assert (template.framework_version, template.py_version) == ("2.6.0", "py312")


def test_a_script_of_syne_tune_gets_role_and_session(sdk: Any, pytorch: Any) -> None:
    from cloudtune.backend.sagemaker_backend.sagemaker_utils import (
        default_sagemaker_session,
        get_execution_role,
    )

    session, role = default_sagemaker_session(), get_execution_role()
    assert isinstance(session, sdk.Session) and role.startswith("arn:aws:iam::")
    template = as_template(pytorch(role=role, sagemaker_session=session))
    assert template.spec.role_arn == role


def test_an_estimator_that_has_been_used(pytorch: Any) -> None:
    """``fit`` leaves settings of its own behind: for its toolkit, for profiler and debugger, for output."""
    used = pytorch(hyperparameters={"epochs": 2, "label": '"quoted"'})
    fresh = as_template(used)
    used.fit(wait=False)
    assert as_template(used) == fresh
    assert fresh.hyperparameters == {"epochs": 2, "label": '"quoted"'}


@pytest.mark.parametrize(
    ("module", "kind", "arguments", "part"),
    [
        ("pytorch", "PyTorch", {"framework_version": "2.6", "py_version": "py312"}, "pytorch-training:2.6.0-gpu-"),
        ("pytorch", "PyTorch", {"framework_version": "1.13.1", "py_version": "py39"}, ":1.13.1-gpu-py39"),
        ("sklearn", "SKLearn", {"framework_version": "1.2-1", "instance_type": CPU}, "scikit-learn:1.2-1-cpu-py3"),
        ("tensorflow", "TensorFlow", {"framework_version": "2.16", "py_version": "py310"}, ":2.16-gpu-py310"),
        (
            "huggingface",
            "HuggingFace",
            {"transformers_version": "4.49.0", "pytorch_version": "2.5.1", "py_version": "py311"},
            "huggingface-pytorch-training:2.5.1-transformers4.49.0-gpu-py311",
        ),
    ],
)
def test_frameworks_have_their_images(
    sdk: Any, common: dict[str, Any], module: str, kind: str, arguments: dict[str, Any], part: str
) -> None:
    given = getattr(getattr(sdk, module), kind)(**{**common, **arguments})
    template = as_template(given)
    uri = image_of(template, "us-east-1", template.spec.instance_type)
    assert part in uri
    if "2.6" not in part:  # there the SDK leaves the short version as it is
        assert uri == given.training_image_uri()


def test_images_follow_the_instances_of_trials(pytorch: Any) -> None:
    template = as_template(pytorch())
    assert "-cpu-" in image_of(template, "us-east-1", CPU) and "-gpu-" in image_of(template, "us-east-1", GPU)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"distribution": {"torch_distributed": {"enabled": True}}}, ["distribution", "torchrun"]),
        ({"distribution": {"mpi": {"enabled": True}}}, ["distribution", "torchrun"]),
        ({"checkpoint_s3_uri": "s3://bucket/c"}, ["checkpoints", "--st_checkpoint_dir"]),
        ({"checkpoint_local_path": "/tmp/x"}, ["checkpoints", "--st_checkpoint_dir"]),
        ({"git_config": {"repo": "https://example.com/x"}}, ["git_config", "source_dir"]),
        ({"source_dir": "s3://bucket/code.tar.gz"}, ["s3://bucket/code.tar.gz", "source_dir"]),
        ({"input_mode": "Pipe"}, ["input_mode='Pipe'", "File"]),
        ({"encrypt_inter_container_traffic": True}, ["encrypt_inter_container_traffic"]),
        ({"container_entry_point": ["bash"], "image_uri": "x/y:z"}, ["entrypoint", "entry_point="]),
        ({"volume_size": 0}, ["PyTorch(volume_size=0)"]),
        ({"max_wait": 100}, ["spot"]),
        ({"instance_type": "ml.m5.huge", "image_uri": "x/y:z"}, ["ml.m5.huge"]),
        ({"environment": {"A": 3}}, ["PyTorch(environment="]),
        ({"framework_version": "2.99"}, ["PyTorch names no image", "image_uri="]),
    ],
)
def test_what_trials_cannot_have_is_refused(pytorch: Any, arguments: dict[str, Any], words: list[str]) -> None:
    given = pytorch(**arguments)
    with pytest.raises(SpecError) as caught:
        as_template(given)
    for word in words:
        assert word in str(caught.value)


def test_rules_of_the_debugger_are_refused_and_hooks_too(sdk: Any, pytorch: Any) -> None:
    hook = sdk.debugger.DebuggerHookConfig(
        s3_output_path="s3://bucket/x", collection_configs=[sdk.debugger.CollectionConfig(name="weights")]
    )
    for arguments, word in (
        ({"debugger_hook_config": hook}, "debugger_hook_config"),
        ({"rules": [sdk.debugger.ProfilerRule.sagemaker(sdk.debugger.rule_configs.ProfilerReport())]}, "rules"),
    ):
        with pytest.raises(SpecError, match=word):
            as_template(pytorch(**arguments))


def test_an_image_without_a_script_is_told_one(sdk: Any, common: dict[str, Any], tmp_path: Path) -> None:
    bare = {name: value for name, value in common.items() if name not in ("entry_point", "source_dir")}
    given = sdk.estimator.Estimator(**bare, image_uri="repo/mine:1")
    with pytest.raises(SpecError, match="names no script"):
        as_template(given)
    assert as_template(given, entry_point=tmp_path / "code" / "train.py").command == ("train.py",)


def test_its_job_runs_and_the_console_reads_its_metrics(account: Account, pytorch: Any, tmp_path: Path) -> None:
    given = pytorch(hyperparameters={"label": LABEL, "epochs": 9}, dependencies=[str(write_package(tmp_path))])
    backend = SageMakerBackend(given, metrics_names=["loss"], inputs={"numbers": write_data(account)})
    ended = run_as_job(account, backend.template)
    assert ended["RoleArn"].endswith(f"role/service-role/{ROLE}")
    assert [(m["MetricName"], m["Value"]) for m in ended["FinalMetricDataList"]] == [("loss", 3.00001)]
    assert account.model(ended["ModelArtifacts"]["S3ModelArtifacts"]) == {}


def test_a_whole_experiment(account: Account, pytorch: Any, tmp_path: Path) -> None:
    given = pytorch(
        hyperparameters={"label": LABEL}, dependencies=[str(write_package(tmp_path))], tags={"team": "vision"}
    )
    tuner = tune(SageMakerBackend(given, inputs={"numbers": write_data(account)}))
    jobs = account.sagemaker.list_training_jobs(NameContains=tuner.name)["TrainingJobSummaries"]
    assert len(jobs) >= 4  # at least one trial was promoted
    for job in jobs:
        tags = account.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
        assert {"Key": "team", "Value": "vision"} in tags
