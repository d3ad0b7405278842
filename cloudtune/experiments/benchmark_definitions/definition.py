"""What a benchmark is."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cloudtune.errors import SpecError

TRAINING_SCRIPTS = Path(__file__).parent.parent / "training_scripts"


@dataclass(frozen=True)
class RealBenchmarkDefinition:
    """A training script with its search space, and the experiment that suits it.

    Args:
        script: Path of the training script.
        config_space: Search space; constants, such as ``max_resource_attr``, included.
        max_wallclock_time: Seconds that an experiment takes.
        n_workers: Trials at the same time.
        instance_type: Of the job that tunes, or (with one job per trial) of each trial's job.
        metric: What the script reports, to be optimised; a list for multi-objective methods.
        mode: "min" or "max"; a list for multi-objective methods.
        max_resource_attr: Key of ``config_space`` that tells the script how far to train.
        framework: Name of the SageMaker framework whose image runs the script.
        resource_attr: Key in reports that counts units of training.
        estimator_kwargs: Further settings of the job that tunes, as ``RemoteLauncher`` has them: ``environment``,
            ``tags``, ``subnets``, ``max_run``, ``framework_version``, ...
        max_num_evaluations: Reports after which an experiment ends.
        points_to_evaluate: Configurations to begin with.
    """

    script: Path
    config_space: dict[str, Any]
    max_wallclock_time: float
    n_workers: int
    instance_type: str
    metric: str | list[str]
    mode: str | list[str]
    max_resource_attr: str
    framework: str = "PyTorch"
    resource_attr: str | None = None
    estimator_kwargs: dict[str, Any] | None = None
    max_num_evaluations: int | None = None
    points_to_evaluate: list[dict[str, Any]] | None = None


def with_overrides(definition: RealBenchmarkDefinition, overrides: dict[str, Any]) -> RealBenchmarkDefinition:
    """``definition`` with the fields in ``overrides`` replaced.

    Raises:
        SpecError: It has no such field.
    """
    names = [field.name for field in fields(definition)]
    for name in overrides:
        if name not in names:
            raise SpecError(f"A benchmark definition has no field {name!r}.", f"Choose from: {', '.join(names)}")
    return replace(definition, **overrides)
