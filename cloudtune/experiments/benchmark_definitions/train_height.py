"""An artificial learning curve."""

from __future__ import annotations

from typing import Any

from cloudtune.config_space import randint
from cloudtune.experiments.benchmark_definitions.definition import (
    TRAINING_SCRIPTS,
    RealBenchmarkDefinition,
    with_overrides,
)
from cloudtune.experiments.training_scripts.train_height.train_height import (
    MAX_RESOURCE_ATTR,
    METRIC_MODE,
    METRIC_NAME,
    RESOURCE_ATTR,
)


def train_height_benchmark(sagemaker_backend: bool = False, **kwargs: Any) -> RealBenchmarkDefinition:
    """Costs nothing but time: ``sleep_time`` seconds for each of ``steps`` steps.

    Args:
        sagemaker_backend: For one job per trial: a small instance, and time for jobs to start.
        kwargs: Fields that differ.
    """
    definition = RealBenchmarkDefinition(
        script=TRAINING_SCRIPTS / "train_height" / "train_height.py",
        config_space={
            "width": randint(0, 20),
            "height": randint(-100, 100),
            "sleep_time": 0.1,
            MAX_RESOURCE_ATTR: 27,
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
