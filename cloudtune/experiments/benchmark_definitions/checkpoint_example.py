"""A script that writes its own checkpoints."""

from __future__ import annotations

from typing import Any

from cloudtune.config_space import uniform
from cloudtune.experiments.benchmark_definitions.definition import (
    TRAINING_SCRIPTS,
    RealBenchmarkDefinition,
    with_overrides,
)
from cloudtune.experiments.training_scripts.checkpoint_example.checkpoint_example import (
    MAX_RESOURCE_ATTR,
    METRIC_MODE,
    METRIC_NAME,
    RESOURCE_ATTR,
)


def checkpoint_example_benchmark(sagemaker_backend: bool = False, **kwargs: Any) -> RealBenchmarkDefinition:
    """Tries pausing and resuming: a trial that goes on from its checkpoint has a value that shows it.

    Args:
        sagemaker_backend: For one job per trial: a small instance, and time for jobs to start.
        kwargs: Fields that differ.
    """
    definition = RealBenchmarkDefinition(
        script=TRAINING_SCRIPTS / "checkpoint_example" / "checkpoint_example.py",
        config_space={
            "multiplier": uniform(0, 1),
            "sleep_time": 0.1,
            MAX_RESOURCE_ATTR: 9,
        },
        max_wallclock_time=1800 if sagemaker_backend else 15,
        n_workers=4,
        instance_type="ml.m5.large",
        metric=METRIC_NAME,
        mode=METRIC_MODE,
        max_resource_attr=MAX_RESOURCE_ATTR,
        resource_attr=RESOURCE_ATTR,
    )
    return with_overrides(definition, kwargs)
