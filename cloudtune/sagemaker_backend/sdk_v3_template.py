"""A ``ModelTrainer`` of the SageMaker SDK's version 3 as a job; only the object is read, without the SDK."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.job_spec import DEFAULT_CHECKPOINT_PATH, TrainingJobSpec
from cloudtune.remote.estimator_arguments import resource_arguments
from cloudtune.sagemaker_backend.channels import channel_uris
from cloudtune.sagemaker_backend.given_job import GivenJob
from cloudtune.sagemaker_backend.sdk_objects import impossible, is_a, text_of, value_of

_LEAVE_OUT = "Leave it out."
_SCRIPT = "Pass a ModelTrainer with training_image and source_code."
#: What trials cannot be given, by the part of the trainer that has it ("": itself), and the way out.
_IMPOSSIBLE: dict[str, dict[str, str]] = {
    "": {
        "distributed": 'Start the processes by source_code.command, such as "torchrun --nproc_per_node 8 t.py".',
        "algorithm_name": _SCRIPT,
        "training_image_config": "Use an image in Amazon ECR.",
        "model_package_config": _LEAVE_OUT,
        "_tensorboard_output_config": "Write to --st_checkpoint_dir, which is kept in S3.",
        "_infra_check_config": _LEAVE_OUT,
        "_session_chaining_config": _LEAVE_OUT,
        "_remote_debug_config": _LEAVE_OUT,
        "_jumpstart_config": _SCRIPT,
        "_is_nova_recipe": _SCRIPT,
        "_is_llmft_recipe": _SCRIPT,
    },
    "compute": {
        "instance_groups": "Give one instance_type and instance_count.",
        "instance_preferences": "Name the first as instance_type, the others as fallback_instance_types.",
        "training_plan_arn": _LEAVE_OUT,
        "instance_placement_config": _LEAVE_OUT,
    },
    "networking": {
        "enable_inter_container_traffic_encryption": "Leave it out: jobs of one instance have no such traffic."
    },
}
# Signs that only a shell understands; also a line's end.
_SHELL = re.compile(r"[;&|<>$`*?~#\n]")


def is_model_trainer(given: object) -> bool:
    return is_a(given, "ModelTrainer")


def job_of_model_trainer(trainer: Any) -> GivenJob:
    """All that ``train`` would send, apart from names.

    Raises:
        SpecError: It asks for something that trials cannot have.
    """
    _refuse_impossible(trainer)
    compute, stopping, networking = trainer.compute, trainer.stopping_condition, trainer.networking
    output, checkpoints = trainer.output_data_config, trainer.checkpoint_config
    named = {
        "use_spot_instances": value_of(compute, "enable_managed_spot_training"),
        "volume_size": value_of(compute, "volume_size_in_gb"),
        "volume_kms_key": value_of(compute, "volume_kms_key_id"),
        "keep_alive_period_in_seconds": value_of(compute, "keep_alive_period_in_seconds") or None,
        "max_run": value_of(stopping, "max_runtime_in_seconds"),
        "max_wait": value_of(stopping, "max_wait_time_in_seconds"),
        "subnets": value_of(networking, "subnets"),
        "security_group_ids": value_of(networking, "security_group_ids"),
        "tags": _tags(value_of(trainer, "tags")),
        "environment": trainer.environment,
    }
    retry = value_of(trainer, "_retry_strategy")
    spec = TrainingJobSpec(
        name="",
        image=text_of(trainer, "training_image", trainer.training_image),
        role_arn=trainer.role or "",
        output_s3_uri=value_of(output, "s3_output_path") or "",
        hyperparameters=dict(trainer.hyperparameters or {}),
        instance_type=text_of(compute, "instance_type", value_of(compute, "instance_type")),
        instance_count=value_of(compute, "instance_count") or 1,
        checkpoint_s3_uri=value_of(checkpoints, "s3_uri"),
        checkpoint_local_path=value_of(checkpoints, "local_path") or DEFAULT_CHECKPOINT_PATH,
        channels=channel_uris(trainer.input_data_config),
        metric_definitions={item.name: item.regex for item in value_of(trainer, "_metric_definitions") or ()},
        output_kms_key=value_of(output, "kms_key_id"),
        network_isolation=bool(value_of(networking, "enable_network_isolation")),
        retry_attempts=value_of(retry, "maximum_retry_attempts"),
        max_pending_s=value_of(stopping, "max_pending_time_in_seconds"),
        **resource_arguments(named, type(trainer).__name__),
    )
    return _with_code(spec, trainer.source_code)


def _refuse_impossible(trainer: Any) -> None:
    for part, names in _IMPOSSIBLE.items():
        owner = getattr(trainer, part) if part else trainer
        for name, way_out in names.items():
            value = value_of(owner, name)
            if value:
                raise impossible(owner, name.removeprefix("_"), value, way_out)
    mode = trainer.training_mode
    if getattr(mode, "name", mode) != "SAGEMAKER_TRAINING_JOB":
        way_out = "Leave it out: without AWS credentials, jobs run on the emulator here."
        raise impossible(trainer, "training_mode", mode, way_out)
    if trainer.training_input_mode not in (None, "File"):
        way_out = "Use 'File', or read from S3 in the script."
        raise impossible(trainer, "training_input_mode", trainer.training_input_mode, way_out)
    compression = value_of(trainer.output_data_config, "compression_type")
    if compression not in (None, "GZIP"):
        raise impossible(trainer.output_data_config, "compression_type", compression, _LEAVE_OUT)


def _tags(tags: Any) -> Any:
    """As the service has them; what the SDK's settings file says is so already."""
    return tags and [
        tag if isinstance(tag, Mapping) else {"Key": value_of(tag, "key"), "Value": value_of(tag, "value")}
        for tag in tags
    ]


def _with_code(spec: TrainingJobSpec, code: Any) -> GivenJob:
    if code is None:
        return GivenJob(spec, requirements=None)
    own_patterns = getattr(type(code), "model_fields", {}).get("ignore_patterns")
    further = set(code.ignore_patterns or ()) - set(getattr(own_patterns, "default", None) or ())
    if further:
        raise impossible(code, "ignore_patterns", sorted(further), "Keep what is no code out of source_dir.")
    if code.requirements is not None and not Path(code.source_dir or ".", code.requirements).is_file():
        raise SpecError(
            f"{type(code).__name__}(requirements={code.requirements!r}): there is no such file in "
            f"{code.source_dir!r}.",
            "Mend the path, which is relative to source_dir.",
        )
    entry_point = _words(code) if code.command else code.entry_script
    return GivenJob(spec, entry_point, code.source_dir, requirements=code.requirements)


def _words(code: Any) -> Sequence[str]:
    """The command, as words: hyperparameters follow, and no shell sees them."""
    if _SHELL.search(code.command):
        raise impossible(
            code, "command", code.command, "Put what a shell has to do into a script (run.sh), and call that."
        )
    return [*shlex.split(code.command), *map(str, code.args or ())]
