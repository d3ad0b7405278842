"""From the template of all trials to the job of one attempt of one trial; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudtune import constants, names
from cloudtune.aws.images import image_uri
from cloudtune.errors import SpecError
from cloudtune.instance_info import price_per_hour
from cloudtune.job_spec import TrainingJobSpec, encode_hyperparameters
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote import trial_layout
from cloudtune.sagemaker_backend.template import MAX_ENVIRONMENT_VALUE, TrialTemplate
from cloudtune.trial import Trial

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
MAX_HYPERPARAMETERS = 100
MAX_HYPERPARAMETER_VALUE = 2500

TAG_EXPERIMENT, TAG_TRIAL, TAG_ATTEMPT = "cloudtune-experiment", "cloudtune-trial", "cloudtune-attempt"


@dataclass(frozen=True)
class TrialPlace:
    """Where the trials of one experiment run, and what all of them are told.

    Args:
        tuner_name: The experiment's.
        where: Its place in S3.
        code: Folder of the code archive in S3.
        region: Of the jobs.
        rung_levels: Resource levels at which checkpoints are needed; None: all.
        resource_attr: Name of the resource level in reports, if there is one.
        config_as_json: The script gets its configuration as a file.
    """

    tuner_name: str
    where: S3ExperimentPaths
    code: S3Uri
    region: str
    rung_levels: tuple[int, ...] | None
    resource_attr: str | None
    config_as_json: bool = False


def instances_of(template: TrialTemplate, config: Mapping[str, Any]) -> tuple[str, int]:
    """Type and number of the instances that a trial asks for: its configuration's ``st_instance_type`` and
    ``st_instance_count``, else the template's.

    Raises:
        SpecError: They are of the wrong kind.
    """
    values = {**template.hyperparameters, **config}
    kind = values.get(constants.ST_INSTANCE_TYPE, template.spec.instance_type)
    if not isinstance(kind, str) or not kind.startswith("ml."):
        raise SpecError(
            f"{constants.ST_INSTANCE_TYPE} is {kind!r}, which is no instance type.",
            "Let the search space choose among names such as ml.m5.large.",
        )
    count = values.get(constants.ST_INSTANCE_COUNT, template.spec.instance_count)
    count = getattr(count, "item", lambda: count)()  # NumPy's
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise SpecError(
            f"{constants.ST_INSTANCE_COUNT} is {count!r}, which is no number of instances.",
            "Let the search space choose among whole numbers from 1.",
        )
    return kind, count


def trial_job(
    template: TrialTemplate,
    place: TrialPlace,
    trial: Trial,
    number: int,
    seen_level: int,
    instance_type: str | None = None,
) -> TrainingJobSpec:
    """The job of one attempt.

    Args:
        template: Its role must have been filled in.
        trial: In its current attempt.
        number: Which job, from 0, this is for the attempt.
        seen_level: Highest resource level of the trial that is recorded.
        instance_type: Used in place of what the trial asks for.

    Raises:
        SpecError: The trial's configuration does not fit into a job, or no image for its instance is known.
    """
    wanted_type, count = instances_of(template, trial.config)
    instance_type = instance_type or wanted_type
    spec = template.spec
    label = names.trial_label(trial.trial_id, trial.attempt, number)
    return replace(
        spec,
        name=names.trial_job_name(place.tuner_name, trial.trial_id, trial.attempt, number),
        image=image_of(template, place.region, instance_type),
        output_s3_uri=spec.output_s3_uri or str(place.where.root / "output" / label),
        entrypoint=trial_layout.ENTRYPOINT,
        hyperparameters=_hyperparameters(template, trial, instance_type, count),
        environment={
            **spec.environment,
            **_environment(template, place, trial, label, seen_level, (instance_type, count)),
        },
        instance_type=instance_type,
        instance_count=count,
        checkpoint_s3_uri=str(place.where.checkpoints / str(trial.trial_id)),
        checkpoint_local_path=layout.CHECKPOINTS_PATH,
        channels={**spec.channels, layout.CODE_CHANNEL: str(place.code)},
        tags={
            **spec.tags,
            TAG_EXPERIMENT: place.tuner_name,
            TAG_TRIAL: str(trial.trial_id),
            TAG_ATTEMPT: str(trial.attempt),
        },
    )


def image_of(template: TrialTemplate, region: str, instance_type: str) -> str:
    """The template's image, or the PyTorch image for that kind of instance.

    Raises:
        SpecError: None is known.
    """
    return template.spec.image or image_uri(
        region=region,
        instance_type=instance_type,
        version=template.framework_version,
        py_version=template.py_version,
    )


def _hyperparameters(template: TrialTemplate, trial: Trial, instance_type: str, count: int) -> dict[str, Any]:
    values = {**template.hyperparameters, **trial.config}
    # A script that does not tune them need not know them.
    actual = {constants.ST_INSTANCE_TYPE: instance_type, constants.ST_INSTANCE_COUNT: count}
    values.update({name: value for name, value in actual.items() if name in values})
    if len(values) > MAX_HYPERPARAMETERS:
        raise SpecError(
            f"Trial {trial.trial_id} has {len(values)} hyperparameters; a job can have {MAX_HYPERPARAMETERS}.",
            "Leave out of the configuration what is the same for all trials, or put several into one list.",
        )
    for name, text in encode_hyperparameters(values).items():
        if len(text) > MAX_HYPERPARAMETER_VALUE:
            raise SpecError(
                f"Trial {trial.trial_id}: the hyperparameter {name!r} has {len(text)} characters as JSON; a job "
                f"can have {MAX_HYPERPARAMETER_VALUE} for each.",
                "Put it into a file beside the script, and give the file's name.",
            )
    return values


def _environment(
    template: TrialTemplate,
    place: TrialPlace,
    trial: Trial,
    label: str,
    seen_level: int,
    resources: tuple[str, int],
) -> dict[str, str]:
    environment = {
        "AWS_DEFAULT_REGION": place.region,
        layout.ENV_COMMAND: json.dumps(list(template.command)),
        trial_layout.ENV_REPORTS_URI: str(place.where.reports / label),
        trial_layout.ENV_SEEN_LEVEL: str(seen_level),
        constants.ENV_TRIAL_ID: str(trial.trial_id),
        constants.ENV_ATTEMPT: str(trial.attempt),
        trial_layout.ENV_TRIAL_BEGUN: repr(trial.creation_time),
    }
    if place.resource_attr is not None:
        environment[trial_layout.ENV_RESOURCE_ATTR] = place.resource_attr
    if place.config_as_json:
        environment[trial_layout.ENV_CONFIG_AS_JSON] = "1"
    levels = None if place.rung_levels is None else ",".join(map(str, place.rung_levels))
    # Too many to be said: then the script keeps a checkpoint at every level, which is never wrong.
    if levels is not None and len(levels) <= MAX_ENVIRONMENT_VALUE:
        environment[constants.ENV_RUNG_LEVELS] = levels
    instance_type, count = resources
    price = price_per_hour(instance_type, place.region)
    if price is not None:
        environment[constants.ENV_PRICE_PER_HOUR] = repr(price * count)
    for name, value in environment.items():
        if len(value) > MAX_ENVIRONMENT_VALUE:
            raise SpecError(
                f"Trial {trial.trial_id}: {name} would have {len(value)} characters in the job's environment; "
                f"{MAX_ENVIRONMENT_VALUE} are possible.",
                f"Shorten what it is made of: {value:.80}...",
            )
    return environment
