"""What all trial jobs of an experiment have in common: made once, from what the user gives, and plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudtune.aws.code_archive import import_name
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.backend.local.arguments import EntryPoint
from cloudtune.errors import SpecError
from cloudtune.job_spec import DEFAULT_CHECKPOINT_PATH, TrainingJobSpec
from cloudtune.remote import job_layout as layout
from cloudtune.sagemaker_backend.channels import channel_uris
from cloudtune.sagemaker_backend.given_job import REQUIREMENTS, GivenJob
from cloudtune.sagemaker_backend.sdk_v2_template import is_estimator, job_of_estimator
from cloudtune.sagemaker_backend.sdk_v3_template import is_model_trainer, job_of_model_trainer
from cloudtune.sagemaker_backend.trial_script import locate_script

#: Longest value of an environment variable of a job.
MAX_ENVIRONMENT_VALUE = 512
_OWN_NAME = "cloudtune"


@dataclass(frozen=True)
class TrialTemplate:
    """A job and its script.

    Args:
        spec: Of every trial job. ``name``, ``entrypoint``, ``arguments``, code channel, checkpoints and what else
            belongs to one trial are filled in later; ``role_arn``, ``image`` and ``output_s3_uri`` may be empty:
            the role is then found when a session begins, the others for each trial.
        command: What runs; the first word a Python script relative to ``source_dir``, or a program.
        source_dir: Folder that travels, with all it holds.
        dependencies: Folders of packages, or modules, that travel as well.
        hyperparameters: Given to every trial unless its configuration has them.
        requirements: Pattern of the files, in ``source_dir`` and the dependencies, that the job installs from;
            None: there are none.
        framework_version, py_version: Choose the PyTorch image where ``spec.image`` is empty.
    """

    spec: TrainingJobSpec
    command: tuple[str, ...]
    source_dir: Path
    dependencies: tuple[Path, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    requirements: str | None = REQUIREMENTS
    framework_version: str | None = None
    py_version: str | None = None


def as_template(
    given: object,
    *,
    entry_point: EntryPoint | None = None,
    source_dir: str | Path | None = None,
    dependencies: Sequence[str | Path] = (),
    hyperparameters: Mapping[str, Any] | None = None,
    inputs: object = None,
) -> TrialTemplate:
    """The template that ``given`` stands for.

    Args:
        given: A :class:`TrainingJobSpec`, an estimator of the SageMaker SDK's version 2, or a ``ModelTrainer`` of
            its version 3. Read once and not kept. ``name`` and ``output_s3_uri`` of a spec may be empty.
        entry_point: A Python script, an executable file, or a command such as ``("torchrun", "train.py")``;
            default: that of ``given``, if it has one.
        source_dir: Folder of the code; default: that of ``given``, or the script's.
        dependencies: Folders of packages, or modules, that the script imports besides.
        hyperparameters: Given to every trial, over those of ``given``; a trial's configuration wins.
        inputs: Data as ``estimator.fit`` takes it: an S3 URI, or names of channels to S3 URIs.

    Raises:
        SpecError: It is none of these, or something of it is wrong or cannot be had.
    """
    job = _given_job(given)
    if entry_point is None:
        entry_point = job.entry_point
        source_dir = job.source_dir if source_dir is None else source_dir
    if entry_point is None:
        raise SpecError(
            f"This {type(given).__name__} names no script to run.",
            'Pass entry_point=... with the path of the training script ("train.py").',
        )
    folder, command = locate_script(entry_point, source_dir)
    channels = {**job.spec.channels, **channel_uris(inputs)}
    template = TrialTemplate(
        spec=replace(job.spec, channels=channels, hyperparameters={}),
        command=command,
        source_dir=folder,
        dependencies=_dependencies([*job.dependencies, *_as_list(dependencies)]),
        hyperparameters={**job.spec.hyperparameters, **(hyperparameters or {})},
        requirements=job.requirements,
        framework_version=job.framework_version,
        py_version=job.py_version,
    )
    _refuse_what_trials_have(template.spec)
    refuse_invalid(template)
    return template


def _given_job(given: object) -> GivenJob:
    if isinstance(given, TrainingJobSpec):
        return GivenJob(given)
    if is_estimator(given):
        return job_of_estimator(given)
    if is_model_trainer(given):
        return job_of_model_trainer(given)
    raise SpecError(
        f"SageMakerBackend needs a job to run trials in, and {given!r:.200} is none.",
        "Pass a TrainingJobSpec with entry_point=..., an estimator of the SageMaker SDK (version 2), or a "
        "ModelTrainer (version 3).",
    )


def _as_list(dependencies: Sequence[str | Path]) -> list[str | Path]:
    if isinstance(dependencies, (str, Path)):
        raise SpecError(f"dependencies={dependencies!r} must be a list.", "Write [...] around it.")
    return list(dependencies)


def _dependencies(given: Sequence[str | Path]) -> tuple[Path, ...]:
    paths = tuple(Path(path).expanduser().absolute() for path in given)
    for path in paths:
        if not path.exists():
            raise SpecError(f"The dependency {str(path)!r} does not exist.", "Mend the path.")
        if import_name(path) == _OWN_NAME:
            raise SpecError(
                f"The dependency {str(path)!r} would hide the package {_OWN_NAME}, which is in every job anyway.",
                "Leave it out, or rename it.",
            )
    return paths


def _refuse_what_trials_have(spec: TrainingJobSpec) -> None:
    """What is one trial's alone, and would be overwritten."""
    if spec.entrypoint or spec.arguments:
        raise SpecError(
            "The job of trials has an entrypoint or arguments of its own, where cloudtune's supervisor has to be.",
            "Say what to run by SageMakerBackend(entry_point=...), which may be a command of several words.",
        )
    if spec.checkpoint_s3_uri is not None or spec.checkpoint_local_path != DEFAULT_CHECKPOINT_PATH:
        raise SpecError(
            "The job of trials names a place for checkpoints, but jobs that share one overwrite each other's.",
            f"Leave it out: each trial has its own, which the script finds as --st_checkpoint_dir or at "
            f"{DEFAULT_CHECKPOINT_PATH}.",
        )
    if layout.CODE_CHANNEL in spec.channels:
        raise SpecError(f"The channel {layout.CODE_CHANNEL!r} is where trials find their code.", "Rename yours.")


def refuse_invalid(template: TrialTemplate) -> None:
    """Refuses what the service would refuse of every trial.

    Raises:
        SpecError: Naming each field and its limit.
    """
    spec = template.spec
    validate_request(
        create_training_job_request(
            replace(
                spec,
                name="trial",
                image=spec.image or "image",
                role_arn="arn:aws:iam::123456789012:role/role",
                output_s3_uri=spec.output_s3_uri or "s3://bucket",
                hyperparameters=template.hyperparameters,
            )
        )
    )
    size = len(json.dumps(list(template.command)))
    if size > MAX_ENVIRONMENT_VALUE:
        raise SpecError(
            f"The command of trials has {size} characters; {MAX_ENVIRONMENT_VALUE} are possible.",
            "Put it into a script, and give that as entry_point.",
        )
