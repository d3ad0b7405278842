"""Objects with the attributes of the SageMaker SDKs' own, which are tried in tests/sdk: what is read of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtune.errors import SpecError
from cloudtune.sagemaker_backend.template import as_template

GPU = "ml.g5.xlarge"


class EstimatorBase(SimpleNamespace):
    """As version 2 names it."""

    def enable_network_isolation(self) -> bool:
        return False

    def training_image_uri(self) -> str:
        if self.image_uri is None:
            raise ValueError("no such version")
        return str(self.image_uri)


class Framework(EstimatorBase):
    """Likewise."""


class ModelTrainer(SimpleNamespace):
    """As version 3 names it."""


class Unassigned:
    """What version 3 has where nothing was said."""


for _kind in (EstimatorBase, Framework, ModelTrainer, Unassigned):
    _kind.__module__ = "sagemaker.something"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("print('hello')\n")
    return tmp_path


def estimator(code: Path, kind: type[EstimatorBase] = Framework, **changes: Any) -> EstimatorBase:
    unset = (
        "keep_alive_period_in_seconds max_wait tags environment subnets security_group_ids volume_kms_key "
        "output_kms_key max_retry_attempts model_uri metric_definitions output_path checkpoint_s3_uri "
        "checkpoint_local_path dependencies"
    )
    return kind(
        **{
            **dict.fromkeys(unset.split()),
            "image_uri": "repo/mine:1",
            "role": "SomeRole",
            "instance_type": GPU,
            "instance_count": 1,
            "input_mode": "File",
            "max_run": 86400,
            "volume_size": 30,
            "use_spot_instances": False,
            "entry_point": "train.py",
            "source_dir": str(code),
            "_hyperparameters": {},
            "_is_output_path_set_from_default_bucket_and_prefix": False,
            **changes,
        }
    )


def trainer(code: Path, **changes: Any) -> ModelTrainer:
    return ModelTrainer(
        **{
            "training_image": "repo/mine:1",
            "training_mode": "SAGEMAKER_TRAINING_JOB",
            "training_input_mode": "File",
            "role": "arn:aws:iam::123456789012:role/mine",
            "source_code": SimpleNamespace(
                source_dir=str(code),
                entry_script="train.py",
                command=None,
                args=None,
                requirements=None,
                ignore_patterns=None,
            ),
            "compute": SimpleNamespace(instance_type=GPU, instance_count=2, volume_kms_key_id=Unassigned()),
            "stopping_condition": SimpleNamespace(
                max_runtime_in_seconds=600, max_wait_time_in_seconds=Unassigned()
            ),
            "networking": None,
            "output_data_config": None,
            "checkpoint_config": None,
            "input_data_config": None,
            "environment": {},
            "hyperparameters": {"lr": 0.5},
            "tags": [SimpleNamespace(key="team", value="vision")],
            **changes,
        }
    )


def test_reserved_hyperparameters_and_chosen_output_are_the_sdks(code: Path) -> None:
    """What ``fit`` has left behind."""
    used = estimator(
        code,
        _hyperparameters={"lr": 0.5, "text": '"x"', "sagemaker_program": '"train.py"'},
        output_path="s3://default",
        _is_output_path_set_from_default_bucket_and_prefix=True,
    )
    template = as_template(used)
    assert template.hyperparameters == {"lr": 0.5, "text": '"x"'}
    assert template.spec.output_s3_uri == ""


def test_hyperparameters_that_the_general_class_has_encoded(code: Path) -> None:
    encoded = estimator(code, EstimatorBase, _hyperparameters={"lr": "0.5", "text": '"3"', "model_dir": '"/m"'})
    assert as_template(encoded).hyperparameters == {"lr": 0.5, "text": "3", "model_dir": "/m"}


def test_pytorch_that_the_table_knows_has_an_image_for_each_instance(code: Path) -> None:
    def given(version: str, **changes: Any) -> Any:
        arguments = {"_framework_name": "pytorch", "framework_version": version, "py_version": None, **changes}
        return as_template(estimator(code, image_uri=None, **arguments))

    assert (given("2.6").spec.image, given("2.6").framework_version) == ("", "2.6")
    for arguments in ({"version": "1.4"}, {"version": "2.6", "py_version": "py36"}):
        with pytest.raises(SpecError, match=r"Framework names no image: no such version"):
            given(**arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distribution": {"mpi": {"enabled": True}}}, ["Framework(distribution=", "torchrun"]),
        ({"instance_groups": [1]}, ["instance_groups", "instance_type"]),
        ({"training_plan": "arn"}, ["training_plan"]),
        ({"_enable_remote_debug": True}, ["(enable_remote_debug="]),
        ({"instance_type": "local"}, ["instance_type='local'", "emulator"]),
        ({"instance_type": SimpleNamespace()}, ["instance_type", "pipeline"]),
        ({"tags": "team"}, ["Framework(tags='team')"]),
        ({"checkpoint_s3_uri": "s3://bucket/x"}, ["--st_checkpoint_dir"]),
        ({"container_entry_point": ["bash"]}, ["entry_point="]),
        ({"profiler_config": SimpleNamespace(framework_profile_params=1)}, ["profiler_config"]),
    ],
)
def test_refused_of_version_2(code: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        as_template(estimator(code, **changes))
    for word in words:
        assert word in str(caught.value)


def test_defaults_of_profiler_and_debugger_say_nothing(code: Path) -> None:
    defaults = {
        "profiler_config": SimpleNamespace(s3_output_path="s3://x", framework_profile_params=None),
        "debugger_hook_config": SimpleNamespace(s3_output_path="s3://x", collection_configs=None),
        "rules": None,
        "distribution": {},
    }
    assert as_template(estimator(code, **defaults)) == as_template(estimator(code))


def test_version_3(code: Path) -> None:
    template = as_template(trainer(code))
    spec = template.spec
    assert (spec.instance_type, spec.instance_count, spec.max_run_s, spec.max_wait_s) == (GPU, 2, 600, None)
    assert (spec.tags, spec.volume_kms_key) == ({"team": "vision"}, None)
    assert (template.command, template.hyperparameters, template.requirements) == (
        ("train.py",),
        {"lr": 0.5},
        None,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distributed": object()}, ["ModelTrainer(distributed="]),
        ({"training_mode": SimpleNamespace(name="LOCAL_CONTAINER")}, ["training_mode", "emulator"]),
        ({"compute": SimpleNamespace(instance_preferences=["x"])}, ["fallback_instance_types"]),
        ({"source_code": SimpleNamespace(command="a | b", ignore_patterns=None, requirements=None)}, ["run.sh"]),
        (
            {
                "source_code": SimpleNamespace(
                    source_dir="/nowhere", requirements="needs.txt", ignore_patterns=None
                )
            },
            ["needs.txt", "/nowhere"],
        ),
        ({"environment": {"A": 3}}, ["ModelTrainer(environment="]),
        ({"output_data_config": SimpleNamespace(compression_type="NONE")}, ["compression_type"]),
    ],
)
def test_refused_of_version_3(code: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        as_template(trainer(code, **changes))
    for word in words:
        assert word in str(caught.value)


def test_a_class_of_that_name_alone_is_none_of_the_sdks(code: Path) -> None:
    mine = type("ModelTrainer", (), {"__module__": "mine"})
    with pytest.raises(SpecError, match="TrainingJobSpec"):
        as_template(mine(), entry_point=code / "train.py")
