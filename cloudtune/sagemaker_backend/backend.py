"""Trials as SageMaker training jobs, one each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudtune.aws.cost import highest_cost_of_trials
from cloudtune.backend.local.arguments import EntryPoint
from cloudtune.clock import VirtualClock
from cloudtune.config_space import Categorical, Domain, Ordinal
from cloudtune.constants import ST_INSTANCE_COUNT, ST_INSTANCE_TYPE
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import AttemptKey, BackendContext, ExperimentStore, Fact
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.sagemaker_backend.aws_place import AwsPlace
from cloudtune.sagemaker_backend.drive import Drive, InlineDrive, ThreadDrive
from cloudtune.sagemaker_backend.metric_definitions import metric_definitions
from cloudtune.sagemaker_backend.ports import Cloud
from cloudtune.sagemaker_backend.session import open_session
from cloudtune.sagemaker_backend.template import TrialTemplate, as_template, refuse_invalid
from cloudtune.sagemaker_backend.trial_script import moved, script_path
from cloudtune.trial import Trial


class SageMakerBackend:
    """Runs each trial as a SageMaker training job of its own, on instances of its own.

    The script's folder travels once; reports come back through S3. Trials survive the tuner; a new one with the
    same name finds them again. Without AWS credentials, jobs run on the embedded emulator.

    Args:
        sm_estimator: What the jobs of trials are like: a :class:`~cloudtune.job_spec.TrainingJobSpec` (with
            ``entry_point``), an estimator of the SageMaker SDK, version 2, or a ``ModelTrainer`` of version 3. Its
            instance type and number may be tuned, by ``st_instance_type`` and ``st_instance_count`` in the space.
        metrics_names: Metrics that the console plots for each job.
        s3_path: Where experiments are kept, ``s3://bucket/prefix``; default: where ``load_experiment`` looks.
        delete_checkpoints: Checkpoints of trials that will not be resumed are deleted: when they are over, or, if
            trials go on from checkpoints of others, when the experiment is.
        pass_args_as_json: The configuration is passed as a file: ``--st_config_json_filename``.
        entry_point: A Python script, an executable, or a command such as ``("torchrun", "train.py")``; default:
            the template's.
        source_dir: Folder that travels; default: the template's, or the script's.
        dependencies: Folders of packages, or modules, that the script needs besides.
        hyperparameters: Given to every trial unless its configuration has them.
        fallback_instance_types: Used, in this order, while there are no instances of the template's type.
        inputs: Data channels: name to S3 URI, or an input of the SDK.
        cloud: Where jobs run; default: the account of the environment's credentials, or the emulator.

    Raises:
        SpecError: An argument makes no sense.
    """

    #: The machine of the tuner, also of one that RemoteLauncher sends away, does nothing but tuning.
    trials_run_here = False

    def __init__(  # noqa: PLR0913  the names and defaults that users of Syne Tune know, and a few of ours
        self,
        sm_estimator: object,
        metrics_names: Sequence[str] | None = None,
        s3_path: str | None = None,
        delete_checkpoints: bool = False,
        pass_args_as_json: bool = False,
        *,
        entry_point: EntryPoint | None = None,
        source_dir: str | os.PathLike[str] | None = None,
        dependencies: Sequence[str | Path] = (),
        hyperparameters: Mapping[str, Any] | None = None,
        fallback_instance_types: Sequence[str] = (),
        inputs: object = None,
        cloud: Cloud | None = None,
    ) -> None:
        template = as_template(
            sm_estimator,
            entry_point=entry_point,
            source_dir=None if source_dir is None else Path(source_dir),
            dependencies=dependencies,
            hyperparameters=hyperparameters,
            inputs=inputs,
        )
        if metrics_names:
            definitions = {**template.spec.metric_definitions, **metric_definitions(list(metrics_names))}
            template = replace(template, spec=replace(template.spec, metric_definitions=definitions))
        self._template = template
        self._fallback = _instance_types(fallback_instance_types)
        for instance_type in self._fallback:
            refuse_invalid(replace(template, spec=replace(template.spec, instance_type=instance_type)))
        self._s3_path = None if s3_path is None else S3Uri.parse(s3_path)
        self._given_cloud = cloud
        self._cloud = cloud
        self._drive: Drive | None = None
        #: Of the last session, when that is over: logs can still be read.
        self._last_drive: Drive | None = None
        self.delete_checkpoints = delete_checkpoints
        self.pass_args_as_json = pass_args_as_json

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drive": None, "_last_drive": None, "_cloud": None, "_given_cloud": None}

    @property
    def template(self) -> TrialTemplate:
        """What the jobs of all trials have in common."""
        return self._template

    @property
    def s3_path(self) -> str | None:
        """Where experiments are kept; None: where ``load_experiment`` looks."""
        return None if self._s3_path is None else str(self._s3_path)

    def entrypoint_path(self) -> Path:
        """The training script."""
        return script_path(self._template)

    def code_folders(self) -> list[Path]:
        """The script's folder, and what else the trials import."""
        return [self._template.source_dir, *self._template.dependencies]

    def move_code(self, folder: Path, packages: Path) -> None:
        """The first of :meth:`code_folders` is ``folder`` now, the others are in ``packages``."""
        self._template = moved(self._template, folder, packages)

    def metadata(self) -> dict[str, Any]:
        spec = self._template.spec
        place = {} if self.s3_path is None else {"s3_path": self.s3_path}
        return {
            **place,
            "backend": type(self).__name__,
            "entrypoint": self.entrypoint_path().stem,
            "entry_point": " ".join(self._template.command),
            "instance_type": spec.instance_type,
            "instance_count": spec.instance_count,
            "spot": spec.spot,
        }

    def highest_cost(
        self,
        n_workers: int,
        stop_criterion: object,
        config_space: Mapping[str, Any],
        overlap: bool = False,
        drain: bool = False,
    ) -> str | None:
        """See :class:`~cloudtune.experiment.ports.HasCost`."""
        limits = (getattr(stop_criterion, name, None) for name in ("max_wallclock_time", "max_cost"))
        types, counts = (_choices(config_space.get(name)) for name in (ST_INSTANCE_TYPE, ST_INSTANCE_COUNT))
        spec = replace(self._template.spec, instance_count=max([self._template.spec.instance_count, *counts]))
        others = [*self._fallback, *types]
        return str(
            highest_cost_of_trials(spec, n_workers, *limits, other_types=others, overlap=overlap, drain=drain)
        )

    def make_store(self, paths: ExperimentPaths) -> ExperimentStore:
        """The journal on this machine, mirrored to S3, where one tuner at a time may write."""
        cloud = self._connected()
        return cloud.make_store(paths, cloud.where(paths.name))

    def open(self, context: BackendContext) -> None:
        """See :meth:`TrialBackend.open`.

        Raises:
            SpecError: The script is missing, or its folder is no code; no role or image is known.
            AwsError: AWS refuses.
        """
        self.close()
        is_virtual = isinstance(context.clock, VirtualClock)
        desk = open_session(self._connected(), self._template, self._fallback, context, self.pass_args_as_json)
        self._drive = InlineDrive(desk) if is_virtual else ThreadDrive(desk)

    def start(self, trial: Trial) -> None:
        """See :meth:`TrialBackend.start`. The job is created as soon as quota and rates allow."""
        self._opened().start(trial, may_create=True)

    def adopt(self, trial: Trial) -> None:
        """See :meth:`TrialBackend.adopt`."""
        self._opened().start(trial, may_create=False)

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        """See :meth:`TrialBackend.poll`."""
        return self._opened().collect(seen)

    def stop(self, trial_id: int, attempt: int) -> None:
        """See :meth:`TrialBackend.stop`. The script gets SIGTERM, and two minutes."""
        self._opened().stop(AttemptKey(trial_id, attempt))

    def wait(self, timeout_s: float) -> None:
        """Returns as soon as there is news, at the latest after ``timeout_s`` seconds."""
        self._opened().wait(timeout_s)

    def close(self) -> None:
        """See :meth:`TrialBackend.close`. What jobs were asked is sent before; it takes some seconds."""
        drive, self._drive = self._drive, None
        if drive is not None:
            self._last_drive = drive
            drive.close()

    def acknowledge(self, trial_id: int, level: int) -> None:
        """See :meth:`SupportsAcknowledge.acknowledge`: the next attempt is told from where to resume."""
        self._opened().acknowledge(trial_id, level)

    def retire(self, trial_id: int, attempt: int) -> None:
        """See :meth:`SupportsRetire.retire`."""
        self._opened().retire(AttemptKey(trial_id, attempt))

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> None:
        """What the source has stored becomes the target's, which must not run."""
        self._opened().desk.files.copy_checkpoint(source_trial_id, target_trial_id)

    def delete_checkpoint(self, trial_id: int) -> None:
        """See :meth:`SupportsCheckpoints.delete_checkpoint`. Deleted again later: a job that ends may upload once
        more."""
        self._opened().delete_checkpoint(trial_id)

    def waiting(self) -> set[int]:
        """See :meth:`HasWaiting.waiting <cloudtune.experiment.ports.HasWaiting.waiting>`."""
        return set() if self._drive is None else self._drive.waiting()

    def stdout(self, trial_id: int) -> list[str]:
        """What the trial's jobs have printed, output and errors, over all attempts; from CloudWatch. Also when
        tuning is over."""
        return (self._drive or self._last_drive or self._opened()).log(trial_id)

    def stderr(self, trial_id: int) -> list[str]:
        """Nothing: a job has one log. See :meth:`stdout`."""
        return []

    def _connected(self) -> Cloud:
        if self._cloud is None:
            self._cloud = AwsPlace(self._s3_path)
        return self._cloud

    def _opened(self) -> Drive:
        if self._drive is None:
            raise SpecError("SageMakerBackend is not open.", "Call open(context) first; a Tuner does.")
        return self._drive


def _choices(entry: Any) -> list[Any]:
    """What a trial may get for an entry of the search space; nothing if it is not there."""
    if not isinstance(entry, Domain):
        return [] if entry is None else [entry]
    return list(entry.categories) if isinstance(entry, (Categorical, Ordinal)) else [getattr(entry, "upper", 1)]


def _instance_types(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(name, str) and name.startswith("ml.") for name in given):
        raise SpecError(
            f"fallback_instance_types={given!r} are no instance types.",
            'Write ["ml.g5.xlarge", "ml.g4dn.xlarge"].',
        )
    return tuple(given)
