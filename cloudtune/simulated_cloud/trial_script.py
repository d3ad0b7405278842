"""A training script that exists only as a curve, and how it reads its job as a real one would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudtune import constants, names
from cloudtune.errors import SpecError
from cloudtune.job_spec import decode_hyperparameters
from cloudtune.remote import trial_layout
from cloudtune.testing.scripted_world import Curve, Fault
from cloudtune.trial import Config

_CHECKPOINT_INTERVAL_S = 60.0


@dataclass
class TrialScript:
    """What every trial job runs.

    Args:
        curve: What it reports at a level, besides ``resource_attr``.
        epoch_s: Seconds per resource level, or a function that gives them for a configuration.
        max_resource_attr: Key of the configuration that tells how far to train.
        resource_attr: Key of the level in reports.
        setup_s: From the start of the container to the beginning of the first epoch.
        stop_delay_s: From SIGTERM to its end; it goes on reporting meanwhile.
        end_delay_s: From the last report to its end.
        checkpointing: Whether it writes and reads checkpoints.
        faults: Attempts that end while they work on a level, each time they get there: ``failed`` by an error of
            the script; ``interrupted`` by one of the service.
    """

    curve: Curve
    epoch_s: float | Callable[[Config], float] = 60.0
    max_resource_attr: str = "epochs"
    resource_attr: str = "epoch"
    setup_s: float = 10.0
    stop_delay_s: float = 2.0
    end_delay_s: float = 1.0
    checkpointing: bool = True
    faults: Sequence[Fault] = ()

    def report(self, config: Config, level: int) -> dict[str, Any]:
        """What it reports at ``level``."""
        return {**self.curve(config, level), self.resource_attr: level}

    def seconds_per_level(self, config: Config) -> float:
        """Raises SpecError unless they are positive."""
        seconds = self.epoch_s(config) if callable(self.epoch_s) else self.epoch_s
        if not seconds > 0:
            raise SpecError(f"TrialScript: epoch_s is {seconds!r} for {config}.", "Give a positive number.")
        return seconds

    def fault(self, order: TrialOrder, from_level: int, max_level: int) -> Fault | None:
        """What goes wrong first in a run that begins after ``from_level``."""
        found = [
            fault
            for fault in self.faults
            if (fault.trial_id, fault.attempt) == (order.trial_id, order.attempt)
            and from_level < fault.level <= max_level
        ]
        return min(found, key=lambda fault: fault.level, default=None)


@dataclass(frozen=True)
class TrialOrder:
    """What a job tells its container.

    Args:
        job: Its name.
        trial_id, attempt, number: Whose job it is; see :func:`cloudtune.names.parse_trial_label`.
        config: The hyperparameters.
        instance_type: What it runs on.
        reports_root: S3 URI of the reports of all jobs of the experiment.
        label: Of this job's.
        checkpoints: S3 URI of the trial's checkpoints; empty: none are kept.
        resource_attr: Key of the level in reports, as far as the tuner knows.
        seen_level: Highest level that the tuner has recorded.
        rung_levels: At which checkpoints are needed; None: at all.
        checkpoint_interval_s: After which one is written at any level.
    """

    job: str
    trial_id: int
    attempt: int
    number: int
    config: Config
    instance_type: str
    reports_root: str
    label: str
    checkpoints: str
    resource_attr: str | None
    seen_level: int
    rung_levels: frozenset[int] | None
    checkpoint_interval_s: float

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> TrialOrder:
        """From a CreateTrainingJob request. Raises SpecError where it is no trial's."""
        environment: Mapping[str, str] = request.get("Environment", {})
        root, _, label = environment.get(trial_layout.ENV_REPORTS_URI, "").rstrip("/").rpartition("/")
        parsed = names.parse_trial_label(label)
        if parsed is None:
            raise SpecError(
                f"Job {request['TrainingJobName']} has no {trial_layout.ENV_REPORTS_URI} with a trial's label."
            )
        rungs = environment.get(constants.ENV_RUNG_LEVELS)
        return cls(
            str(request["TrainingJobName"]),
            *parsed,
            config=decode_hyperparameters(request.get("HyperParameters", {})),
            instance_type=str(request["ResourceConfig"]["InstanceType"]),
            reports_root=root,
            label=label,
            checkpoints=str(request.get("CheckpointConfig", {}).get("S3Uri", "")).rstrip("/"),
            resource_attr=environment.get(trial_layout.ENV_RESOURCE_ATTR),
            seen_level=int(environment.get(trial_layout.ENV_SEEN_LEVEL, "0")),
            rung_levels=None if rungs is None else frozenset(map(int, filter(None, rungs.split(",")))),
            checkpoint_interval_s=float(
                environment.get(constants.ENV_CHECKPOINT_INTERVAL_S, str(_CHECKPOINT_INTERVAL_S))
            ),
        )
