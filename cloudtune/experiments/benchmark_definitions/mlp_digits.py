"""A multi-layer perceptron on scikit-learn's handwritten digits: real learning, no download, seconds per trial."""

from __future__ import annotations

from typing import Any

from cloudtune.config_space import lograndint, loguniform, randint, uniform
from cloudtune.experiments.benchmark_definitions.definition import (
    TRAINING_SCRIPTS,
    RealBenchmarkDefinition,
    with_overrides,
)

# As in the training script, which cannot be imported here: it imports torch.
METRIC_NAME = "accuracy"
RESOURCE_ATTR = "epoch"
MAX_RESOURCE_ATTR = "epochs"


def mlp_digits_benchmark(sagemaker_backend: bool = False, **kwargs: Any) -> RealBenchmarkDefinition:
    """The default benchmark.

    Args:
        sagemaker_backend: For one job per trial: a small instance, and time for jobs to start.
        kwargs: Fields that differ.
    """
    definition = RealBenchmarkDefinition(
        script=TRAINING_SCRIPTS / "mlp_digits" / "mlp_digits.py",
        config_space={
            "n_units_1": lograndint(4, 512),
            "n_units_2": lograndint(4, 512),
            "batch_size": randint(8, 128),
            "dropout_1": uniform(0, 0.9),
            "dropout_2": uniform(0, 0.9),
            "learning_rate": loguniform(1e-5, 1),
            "weight_decay": loguniform(1e-8, 1),
            MAX_RESOURCE_ATTR: 27,
        },
        max_wallclock_time=1800 if sagemaker_backend else 15,
        n_workers=2,
        instance_type="ml.m5.large" if sagemaker_backend else "ml.c5.xlarge",
        metric=METRIC_NAME,
        mode="max",
        max_resource_attr=MAX_RESOURCE_ATTR,
        resource_attr=RESOURCE_ATTR,
    )
    return with_overrides(definition, kwargs)
