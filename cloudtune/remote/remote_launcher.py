"""One tuner, sent to a SageMaker training job that runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from cloudtune import names
from cloudtune.aws.code_archive import CodeArchive, upload_code
from cloudtune.aws.cost import highest_cost
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.mirror import INDEX_FILENAME
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.submission import SubmissionState
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.aws.training_request import MAX_RUN_S, create_training_job_request, validate_request
from cloudtune.clock import WallClock
from cloudtune.errors import AwsError, CloudtuneError, JobFailed, ResourceNotFound, SpecError
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import S3ExperimentPaths, S3Uri, code_archive
from cloudtune.remote import job_layout as layout
from cloudtune.remote.cloud import Cloud, connect
from cloudtune.remote.estimator_arguments import IMAGE_ARGUMENTS, resource_arguments
from cloudtune.remote.job_image import choose_image
from cloudtune.remote.job_view import Progress, end_of, follow_job
from cloudtune.remote.tuner_package import as_code, build_tuner_archive
from cloudtune.remote.tuning_job import JobResources, TuningJob, continued_by, tuning_job_spec
from cloudtune.remote.tuning_metrics import metric_definitions
from cloudtune.tuner import Tuner

DEFAULT_INSTANCE_TYPE = "ml.c5.4xlarge"
#: Where each trial has a job of its own.
SMALL_INSTANCE_TYPE = "ml.m5.large"
#: As instance type: the embedded emulator, whatever credentials there are.
LOCAL = "local"
_LOOK_AT_AWS_S = 15.0
_LOOK_AT_EMULATOR_S = 1.0
#: An experiment whose jobs keep ending too early is given up.
_MAX_JOBS = 5
_LOG_LINES = 20


class RemoteLauncher:
    """Runs a tuner inside one SageMaker training job: with a LocalBackend its trials, too; with a SageMakerBackend
    it starts a job for each of them from there, and comes back to them if it is interrupted.

    The tuner is pickled and unpickled in the job, so launch it from the Python that the image has. Its state goes
    to S3 all the while: ``load_experiment(tuner.name)`` works while it runs. The job is named as the tuner; a
    tuner of the same name (``suffix_tuner_name=False``) whose job has ended too early is continued in a new job.
    Without AWS credentials, the job runs on the embedded emulator.

    Args:
        tuner: Not yet run. The folder of its training script travels with it.
        role: IAM role of the job; default: ``$AWS_ROLE``, or the account's SageMaker role. Jobs of trials have it,
            too, unless their template names another.
        instance_type: What the job runs on; default: ml.c5.4xlarge, and ml.m5.large where it does nothing but
            tuning; ``"local"``: the embedded emulator even if there is AWS.
        dependencies: Folders of Python packages, or modules, that the tuner imports, or a script that runs there.
        store_logs_localbackend: Upload what the trials print.
        log_level: Of cloudtune in the job, a level or name of ``logging``; default ``INFO``.
        s3_path: Where experiments are kept, ``s3://bucket/prefix``; default: the backend's, or where
            ``load_experiment`` looks.
        no_tuner_logging: The job's log has errors of the tuner and new best values only.
        publish_tuning_metrics: Print how the best value moves such that the console can plot it.
        estimator_kwargs: As an estimator of the SageMaker SDK has them: ``image_uri`` or ``framework_version`` and
            ``py_version`` (PyTorch), ``max_run``, ``max_wait``, ``use_spot_instances``, ``volume_size``,
            ``environment``, ``tags``, ``subnets``, ``security_group_ids``, ``keep_alive_period_in_seconds``,
            ``volume_kms_key``, ``checkpoint_s3_uri`` (each tuner has a folder of its own below it; not where
            trials have jobs, whose checkpoints are with the experiment).

    Raises:
        SpecError: For arguments that cannot work.
    """

    def __init__(  # noqa: PLR0913  the names and defaults that users of Syne Tune know
        self,
        tuner: Tuner,
        role: str | None = None,
        instance_type: str | None = None,
        dependencies: Sequence[str | Path] | None = None,
        store_logs_localbackend: bool = False,
        log_level: int | str | None = None,
        s3_path: str | None = None,
        no_tuner_logging: bool = False,
        publish_tuning_metrics: bool = True,
        **estimator_kwargs: Any,
    ) -> None:
        if not isinstance(tuner, Tuner):
            raise SpecError(f"RemoteLauncher(tuner={tuner!r}) is no Tuner.", "Pass Tuner(...), not yet run.")
        if isinstance(dependencies, (str, Path)):
            raise SpecError(
                f"RemoteLauncher(dependencies={dependencies!r}) must be a list.", "Write [...] around it."
            )
        names.check_name(tuner.name, "The tuner's name")
        code = as_code(tuner)
        code.code_folders()  # which are missing on the laptop, not in the job
        self._trials_run_here = code.trials_run_here
        self._resources = resource_arguments(estimator_kwargs)
        self._image = {name: estimator_kwargs.get(name) for name in IMAGE_ARGUMENTS}
        self._log_level = _level(log_level)
        if not self._trials_run_here and "checkpoint_s3_uri" in self._resources:
            raise SpecError(
                "RemoteLauncher(checkpoint_s3_uri=...) is for trials that run on the tuner's instance; these have "
                "jobs of their own.",
                "Leave it out: their checkpoints are kept with the experiment (s3_path=...).",
            )
        s3_path = s3_path or getattr(tuner.trial_backend, "s3_path", None)
        self._s3_path = None if s3_path is None else S3Uri.parse(s3_path)
        self.tuner = tuner
        self.role = role
        self._default_type = DEFAULT_INSTANCE_TYPE if self._trials_run_here else SMALL_INSTANCE_TYPE
        self.instance_type = instance_type or self._default_type
        self.dependencies = list(dependencies or ())
        self.store_logs_localbackend = store_logs_localbackend
        self.no_tuner_logging = no_tuner_logging
        self.publish_tuning_metrics = publish_tuning_metrics
        self._clock = WallClock()
        self._console = Console(stderr=True)

    def run(self, wait: bool = True) -> None:
        """Launches the job.

        Args:
            wait: Follow the job to its end. Ctrl-C ends the waiting, not the job.

        Raises:
            SpecError: What is to be sent cannot work; nothing was sent.
            SnapshotError: The tuner cannot be pickled.
            AwsError: AWS refused.
            JobFailed: With ``wait``, if the job did not complete; with the reason and the end of its log.
        """
        self._refuse_begun()
        archive = build_tuner_archive(self.tuner, self.dependencies)
        if archive.skipped:
            self._say(f"Not sent, since jobs should not need them: {', '.join(archive.skipped)}")
        jobs_at_once = None if self._trials_run_here else self.tuner.n_workers + 1
        cloud = connect(self.instance_type == LOCAL, jobs_at_once)
        spec = self._spec(cloud, archive)
        self._say_where(cloud, spec)
        upload_code(S3Objects(cloud.session), S3Uri.parse(spec.channels[layout.CODE_CHANNEL]).bucket, archive)
        jobs = TrainingJobs(cloud.session, self._clock)
        state = S3Uri.parse(spec.environment[layout.ENV_STATE_URI])
        name = self._submit(jobs, spec, lambda: self._refuse_ended(S3Objects(cloud.session), state))
        if wait:
            self._wait(cloud, jobs, name, state)

    # -- the job

    def _refuse_begun(self) -> None:
        if self.tuner.tuning_status.num_trials_started > 0:
            raise SpecError(
                f"Tuner {self.tuner.name} has been run here: its journal would be missing in the job.",
                "Make a new Tuner, or continue this one with tuner.run().",
            )
        folder = self.tuner.paths.dir
        if any(self.tuner.paths.journal.glob("*.jsonl")) and not (folder / INDEX_FILENAME).exists():
            raise SpecError(
                f"An experiment {self.tuner.name} was tuned on this machine, in {folder}: its results would be "
                "taken for those of the job.",
                "Choose another tuner_name, continue that one with tuner.run(), or move its folder away.",
            )

    def _spec(self, cloud: Cloud, archive: CodeArchive) -> TrainingJobSpec:
        session = cloud.session
        instance_type = self._default_type if self.instance_type == LOCAL else self.instance_type
        role = session.role_arn(self.role)
        where = self._where(cloud)
        bucket = where.root.bucket
        resources = JobResources(
            instance_type=instance_type,
            role_arn=role,
            image=choose_image(
                session.region,
                instance_type,
                given=self._image["image_uri"],
                framework_version=self._image["framework_version"],
                py_version=self._image["py_version"],
                any_python=cloud.emulator is not None,
            ),
            **self._resources,
        )
        definitions = metric_definitions(self.tuner.scheduler) if self.publish_tuning_metrics else {}
        job = TuningJob(
            name=self.tuner.name,
            job_name=self.tuner.name,
            where=where,
            code=code_archive(bucket, archive.digest),
            command=[layout.RUN_TUNER],
            hyperparameters={
                "log_level": self._log_level,
                "no_tuner_logging": self.no_tuner_logging,
                "publish_tuning_metrics": self.publish_tuning_metrics,
            },
            wallclock_s=getattr(self.tuner.stop_criterion, "max_wallclock_time", None),
            n_workers=self.tuner.n_workers,
            trials_role_arn=None if self._trials_run_here else role,
            store_logs=self.store_logs_localbackend,
            metric_definitions=definitions,
        )
        spec = tuning_job_spec(job, resources, session.region)
        validate_request(create_training_job_request(spec))
        return spec

    def _where(self, cloud: Cloud) -> S3ExperimentPaths:
        if self._s3_path is None:
            return S3ExperimentPaths.of(cloud.session.default_bucket(), self.tuner.name)
        cloud.session.check_bucket(self._s3_path.bucket)
        return S3ExperimentPaths(self._s3_path / self.tuner.name)

    def _refuse_ended(self, objects: S3Objects, state: S3Uri) -> None:
        """Another job could only say the same again, for money."""
        ended = end_of(objects, state)
        if ended is not None:
            raise SpecError(
                f"The experiment {self.tuner.name} is over: {ended.error or ended.reason}.",
                f"For another one choose another tuner_name. What there is: {self._how_to_load(state)}",
            )

    def _submit(self, jobs: TrainingJobs, spec: TrainingJobSpec, refuse_ended: Callable[[], None]) -> str:
        """Name of the job. One that exists is adopted; if it has ended too early, another one follows it, unless
        ``refuse_ended`` raises."""
        wanted = spec
        for number in range(2, _MAX_JOBS + 2):
            submission = jobs.submit_all([wanted], on_message=self._say)[0]
            if submission.state is SubmissionState.failed:
                raise submission.error or AwsError(f"Job {wanted.name} could not be submitted.")
            status = submission.status
            if status is None or status.state not in (JobState.failed, JobState.stopped):
                existed = submission.state is SubmissionState.existing
                self._say(f"Job {wanted.name} {'was there already' if existed else 'submitted'}.")
                return wanted.name
            wanted = continued_by(spec, number)
            if not _is_there(jobs, wanted.name):
                refuse_ended()
        raise JobFailed(
            f"{_MAX_JOBS} jobs of {spec.name} have ended too early.",
            "Look at their logs; choose another tuner_name.",
        )

    # -- following it

    def _wait(self, cloud: Cloud, jobs: TrainingJobs, name: str, state: S3Uri) -> None:
        interval_s = _LOOK_AT_EMULATOR_S if cloud.session.endpoint_url else _LOOK_AT_AWS_S
        scheduler = self.tuner.scheduler
        metric, mode = scheduler.metric_names()[0], scheduler.metric_mode()[0]
        with TemporaryDirectory(prefix="cloudtune-follow-") as folder:
            progress = Progress(S3Objects(cloud.session), state, Path(folder), metric, mode)
            try:
                status = follow_job(jobs, name, progress, self._clock, interval_s, self._console)
            except (KeyboardInterrupt, CloudtuneError):  # credentials that expire overnight, for instance
                self._say(f"The job {name} goes on; results so far: {self._how_to_load(state)}")
                raise
        if status.state is not JobState.completed:
            raise self._failure(jobs, status, state)
        self._say(f"Results: {self._how_to_load(state)}")

    def _failure(self, jobs: TrainingJobs, status: JobStatus, state: S3Uri) -> JobFailed:
        tail = "\n".join(jobs.log_tail(status.name, _LOG_LINES))
        return JobFailed(
            f"Job {status.name} is {status.state}: {status.failure_reason or status.phase}\n{tail}",
            "Mend the cause and launch again; with suffix_tuner_name=False and the same tuner_name the experiment "
            f"continues. What there is: {self._how_to_load(state)}",
        )

    def _is_found(self, state: S3Uri) -> bool:
        """Whether ``load_experiment`` would look there."""
        return state == S3ExperimentPaths.of(state.bucket, self.tuner.name).state

    def _how_to_load(self, state: S3Uri) -> str:
        if not self._is_found(state):
            return f"aws s3 sync {state} ~/cloudtune/{self.tuner.name}"
        bucket = "" if self._s3_path is None else f", s3_bucket={state.bucket!r}"
        return f"load_experiment({self.tuner.name!r}{bucket})"

    # -- saying

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _say_where(self, cloud: Cloud, spec: TrainingJobSpec) -> None:
        if cloud.emulator is not None:
            why = "instance_type='local'" if self.instance_type == LOCAL else "no AWS credentials found"
            self._say(
                f"Using the embedded emulator at {cloud.emulator.endpoint_url} ({why}). "
                "For AWS: configure credentials ('aws configure') and name an instance type."
            )
        spot = " (spot)" if spec.spot else ""
        where = "On AWS" if cloud.emulator else "Cost"
        self._say(f"Tuning {self.tuner.name} on {spec.instance_type}{spot}. {where}: {self._cost(spec, cloud)}.")
        if spec.max_run_s == MAX_RUN_S:
            self._say(
                "It may run for 28 days; StoppingCriterion(max_wallclock_time=...) or max_run=... limits it."
            )

    def _cost(self, spec: TrainingJobSpec, cloud: Cloud) -> str:
        own = str(highest_cost([spec], cloud.session.region))
        trials = None if self._trials_run_here else self.tuner.highest_cost()
        return own if trials is None else f"for the tuner {own}; for the jobs of trials {trials}"


def _is_there(jobs: TrainingJobs, name: str) -> bool:
    try:
        jobs.describe(name)
    except ResourceNotFound:
        return False
    return True


def _level(given: int | str | None) -> int:
    if given is None:
        return logging.INFO
    level = logging.getLevelName(given.upper()) if isinstance(given, str) else given
    if not isinstance(level, int) or isinstance(level, bool):
        raise SpecError(
            f"RemoteLauncher(log_level={given!r}) is no level.", "Use 'INFO', 'DEBUG' or logging.INFO."
        )
    return level
