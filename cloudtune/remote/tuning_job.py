"""From an experiment to the SageMaker job that tunes it: code archive and job specification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudtune
from cloudtune import constants, names
from cloudtune.aws.session import ENV_ROLE
from cloudtune.aws.training_request import MAX_RUN_S
from cloudtune.instance_info import price_per_hour
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout

#: Older ones, which many images have, know no conditional writes to S3 (IfMatch), by which claims are renewed.
BOTO3 = "boto3>=1.35.69"
#: Requirements of the tuner itself; those of training scripts are added to them.
CORE_REQUIREMENTS = ("numpy>=1.26", "scipy>=1.11", "pandas>=2.1", BOTO3, "dill>=0.3.8", "rich>=13.7")
#: Seconds that a job may take besides tuning: starting trials, installing, uploading.
OVERHEAD_S = 900


@dataclass(frozen=True)
class JobResources:
    """What a tuning job runs on.

    Args:
        instance_type: One instance of it.
        role_arn: Role of the job.
        image: Container image.
        spot: Use spot capacity; the job continues after interruptions.
        volume_size_gb: Disk for code, data and checkpoints.
        max_run_s: Overrides the limit made from the experiment's wallclock time.
        max_wait_s: With ``spot``: waiting and running together, seconds.
        tags: Of the job.
        environment: Added to the job's.
        subnets, security_group_ids: To run in a VPC.
        volume_kms_key: Encrypts the disk.
        checkpoint_s3_uri: Overrides where the platform keeps the checkpoints of trials on this instance: below it,
            each experiment has a folder of its own, since trials of all experiments have the same numbers.
    """

    instance_type: str
    role_arn: str
    image: str
    spot: bool = False
    volume_size_gb: int = 30
    max_run_s: int | None = None
    max_wait_s: int | None = None
    keep_alive_s: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    subnets: Sequence[str] = ()
    security_group_ids: Sequence[str] = ()
    volume_kms_key: str | None = None
    checkpoint_s3_uri: str | None = None


@dataclass(frozen=True)
class TuningJob:
    """One experiment to be tuned inside one job.

    Args:
        name: Of the experiment.
        job_name: Of the job; differs from ``name`` when an experiment is continued by a second job.
        where: Its place in S3.
        code: Folder of the code archive in S3.
        command: What the supervisor runs, relative to the archive; the first entry a script.
        hyperparameters: Become ``--name value`` of that command.
        wallclock_s: How long it tunes; None: unknown.
        n_workers: Trials at the same time.
        trials_role_arn: Trials have jobs of their own, as this role unless the tuner says otherwise; None: they
            run on the tuner's instance.
        store_logs: Upload the trials' output.
        metric_definitions: Name to regular expression, for the console's plots.
    """

    name: str
    job_name: str
    where: S3ExperimentPaths
    code: S3Uri
    command: Sequence[str]
    hyperparameters: Mapping[str, Any]
    wallclock_s: float | None
    n_workers: int
    trials_role_arn: str | None = None
    store_logs: bool = False
    metric_definitions: Mapping[str, str] = field(default_factory=dict)


def tuning_job_spec(job: TuningJob, resources: JobResources, region: str) -> TrainingJobSpec:
    """The job's specification; pure."""
    environment = {
        "AWS_DEFAULT_REGION": region,
        layout.ENV_STATE_URI: str(job.where.state),
        layout.ENV_COMMAND: json.dumps(list(job.command)),
        layout.ENV_TUNER_NAME: job.name,
    }
    if job.store_logs:
        environment[layout.ENV_LOGS_URI] = str(job.where.logs)
    return TrainingJobSpec(
        name=job.job_name,
        image=resources.image,
        role_arn=resources.role_arn,
        output_s3_uri=str(job.where.root / "output"),
        entrypoint=layout.ENTRYPOINT,
        hyperparameters=dict(job.hyperparameters),
        environment={**environment, **_about_trials(job, resources), **resources.environment},
        instance_type=resources.instance_type,
        volume_size_gb=resources.volume_size_gb,
        max_run_s=resources.max_run_s or max_run_s(job.wallclock_s),
        max_wait_s=resources.max_wait_s,
        spot=resources.spot,
        keep_alive_s=resources.keep_alive_s,
        checkpoint_s3_uri=_checkpoints_of(job, resources),
        checkpoint_local_path=layout.CHECKPOINTS_PATH,
        channels={layout.CODE_CHANNEL: str(job.code)},
        tags={"cloudtune-experiment": job.name, **resources.tags},
        metric_definitions=dict(job.metric_definitions),
        subnets=tuple(resources.subnets),
        security_group_ids=tuple(resources.security_group_ids),
        volume_kms_key=resources.volume_kms_key,
    )


def _about_trials(job: TuningJob, resources: JobResources) -> dict[str, str]:
    if job.trials_role_arn is not None:
        instance = f"{resources.instance_type} spot" if resources.spot else resources.instance_type
        return {layout.ENV_TUNER_INSTANCE: instance, ENV_ROLE[0]: job.trials_role_arn}
    price = price_per_hour(resources.instance_type)
    # Trials share the instance: together they cost what it costs.
    return {} if price is None else {constants.ENV_PRICE_PER_HOUR: repr(price / job.n_workers)}


def _checkpoints_of(job: TuningJob, resources: JobResources) -> str | None:
    if job.trials_role_arn is not None:
        # Each trial's job has a place there: synced with this job as well, it would be restored and deleted here.
        return None
    if resources.checkpoint_s3_uri is None:
        return str(job.where.checkpoints)
    return str(S3ExperimentPaths(S3Uri.parse(resources.checkpoint_s3_uri) / job.name).checkpoints)


def continued_by(spec: TrainingJobSpec, number: int) -> TrainingJobSpec:
    """The ``number``-th job of an experiment whose last one has ended too early: a job's name is used up, but
    state and checkpoints stay where they are."""
    return replace(spec, name=names.retry_name(spec.name, number))


def max_run_s(wallclock_s: float | None) -> int:
    """Limit of a job that tunes for ``wallclock_s`` seconds: a fifth more, and the overhead."""
    return MAX_RUN_S if wallclock_s is None else min(MAX_RUN_S, int(1.2 * wallclock_s) + OVERHEAD_S)


def package_folder() -> Path:
    """The installed package, which travels with every job."""
    return Path(cloudtune.__file__).parent
