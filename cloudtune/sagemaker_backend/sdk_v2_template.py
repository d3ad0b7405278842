"""An estimator of the SageMaker SDK's version 2 as a job; the SDK is not imported, only its object is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtune.aws.images import has_pytorch
from cloudtune.errors import SpecError
from cloudtune.job_spec import DEFAULT_CHECKPOINT_PATH, TrainingJobSpec, decode_hyperparameters
from cloudtune.remote.estimator_arguments import resource_arguments
from cloudtune.sagemaker_backend.given_job import GivenJob
from cloudtune.sagemaker_backend.sdk_objects import impossible, is_a, text_of

#: Attributes that :func:`resource_arguments` knows.
_RESOURCES = (
    "use_spot_instances",
    "volume_size",
    "max_run",
    "max_wait",
    "keep_alive_period_in_seconds",
    "tags",
    "environment",
    "subnets",
    "security_group_ids",
    "volume_kms_key",
)
#: What the SDK adds to hyperparameters for its own toolkit.
_RESERVED = "sagemaker_"
_LEAVE_OUT = "Leave it out."
_TORCHRUN = (
    'Start the processes by the command: entry_point=("torchrun", "--nproc_per_node", "8", "train.py"), or '
    "another launcher that the image has."
)
#: What trials cannot be given, and the way out.
_IMPOSSIBLE = {
    "distribution": _TORCHRUN,
    "instance_groups": "Give one instance_type and instance_count.",
    "compiler_config": "Compile in the script, or pass image_uri of an image that does.",
    "git_config": "Clone the repository, and pass the folder as source_dir.",
    "rules": "Look at what trials report instead.",
    "tensorboard_output_config": "Write to --st_checkpoint_dir, which is kept in S3.",
    "encrypt_inter_container_traffic": "Leave it out: jobs of one instance have no such traffic.",
    "training_repository_access_mode": "Use an image in Amazon ECR.",
    "training_plan": _LEAVE_OUT,
    "instance_placement_config": _LEAVE_OUT,
    "enable_infra_check": _LEAVE_OUT,
    "disable_output_compression": _LEAVE_OUT,
    "_enable_remote_debug": _LEAVE_OUT,
    "_enable_session_tag_chaining": _LEAVE_OUT,
    "is_nova_job": "Pass an estimator with a training script.",
    "training_recipe_file": "Pass an estimator with a training script.",
    "algorithm_arn": "Pass an estimator with an image and a training script.",
}


def is_estimator(given: object) -> bool:
    """Whether it is an ``Estimator``, or of a class for a framework."""
    return is_a(given, "EstimatorBase")


def job_of_estimator(estimator: Any) -> GivenJob:
    """All that ``fit`` would send, apart from names, and from defaults of profiler and debugger.

    Raises:
        SpecError: It asks for something that trials cannot have.
    """
    _refuse_impossible(estimator)
    named = {name: getattr(estimator, name, None) for name in _RESOURCES}
    named["keep_alive_period_in_seconds"] = named["keep_alive_period_in_seconds"] or None
    image, framework_version, py_version = _image(estimator)
    retries = getattr(estimator, "max_retry_attempts", None)
    model = estimator.model_uri
    spec = TrainingJobSpec(
        name="",
        image=image,
        role_arn=text_of(estimator, "role", estimator.role),
        output_s3_uri=_output(estimator),
        entrypoint=tuple(getattr(estimator, "container_entry_point", None) or ()),
        arguments=tuple(getattr(estimator, "container_arguments", None) or ()),
        hyperparameters=_hyperparameters(estimator),
        instance_type=text_of(estimator, "instance_type", estimator.instance_type),
        instance_count=estimator.instance_count,
        checkpoint_s3_uri=estimator.checkpoint_s3_uri,
        checkpoint_local_path=estimator.checkpoint_local_path or DEFAULT_CHECKPOINT_PATH,
        channels={} if model is None else {estimator.model_channel_name: text_of(estimator, "model_uri", model)},
        metric_definitions={item["Name"]: item["Regex"] for item in estimator.metric_definitions or ()},
        output_kms_key=estimator.output_kms_key,
        network_isolation=bool(estimator.enable_network_isolation()),
        retry_attempts=retries,
        **resource_arguments(named, type(estimator).__name__),
    )
    return GivenJob(
        spec=spec,
        entry_point=estimator.entry_point,
        source_dir=estimator.source_dir,
        dependencies=list(estimator.dependencies or ()),
        # The SDK's own containers install from this one alone.
        requirements="requirements.txt",
        framework_version=framework_version,
        py_version=py_version,
    )


def _refuse_impossible(estimator: Any) -> None:
    for name, way_out in _IMPOSSIBLE.items():
        value = getattr(estimator, name, None)
        if value:
            raise impossible(estimator, name.removeprefix("_"), value, way_out)
    if estimator.input_mode not in (None, "File"):
        raise impossible(
            estimator, "input_mode", estimator.input_mode, "Use 'File', or read from S3 in the script."
        )
    hook = getattr(estimator, "debugger_hook_config", None)
    for name in ("collection_configs", "hook_parameters"):
        if getattr(hook, name, None):
            raise impossible(estimator, "debugger_hook_config", hook, _LEAVE_OUT)
    profiler = getattr(estimator, "profiler_config", None)
    for name in ("framework_profile_params", "system_monitor_interval_millis"):
        if getattr(profiler, name, None):
            raise impossible(estimator, "profiler_config", profiler, _LEAVE_OUT)
    if estimator.instance_type in ("local", "local_gpu"):
        raise impossible(
            estimator,
            "instance_type",
            estimator.instance_type,
            "Name the instance type that AWS would use; without AWS credentials, jobs run on the emulator here.",
        )


def _image(estimator: Any) -> tuple[str, str | None, str | None]:
    """URI, or empty with version of PyTorch and Python: then it goes with each trial's kind of instance."""
    version, python = getattr(estimator, "framework_version", None), getattr(estimator, "py_version", None)
    if (
        getattr(estimator, "image_uri", None) is None
        and getattr(estimator, "_framework_name", None) == "pytorch"
        and has_pytorch(version, python)
    ):
        return "", version, python
    try:
        return text_of(estimator, "image_uri", estimator.training_image_uri()), None, None
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"{type(estimator).__name__} names no image: {error}", "Pass image_uri=... to it."
        ) from error


def _output(estimator: Any) -> str:
    """Empty where the SDK has chosen it in ``fit``."""
    path = estimator.output_path
    if not path or estimator._is_output_path_set_from_default_bucket_and_prefix:
        return ""
    return text_of(estimator, "output_path", path)


def _hyperparameters(estimator: Any) -> dict[str, Any]:
    """As they were given."""
    values: Mapping[str, Any] = getattr(estimator, "_hyperparameters", None) or {}
    own = {name: value for name, value in values.items() if not name.startswith(_RESERVED)}
    if getattr(estimator, "model_dir", None):  # of TensorFlow
        own["model_dir"] = estimator.model_dir
    if is_a(estimator, "Framework") or not estimator.source_dir:
        return own
    # With a source_dir, the general class has turned them into JSON.
    return {**own, **decode_hyperparameters({name: text for name, text in own.items() if isinstance(text, str)})}
