"""All benchmarks, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudtune.experiments.benchmark_definitions.checkpoint_example import checkpoint_example_benchmark
from cloudtune.experiments.benchmark_definitions.definition import RealBenchmarkDefinition
from cloudtune.experiments.benchmark_definitions.mlp_digits import mlp_digits_benchmark
from cloudtune.experiments.benchmark_definitions.train_height import train_height_benchmark

_FACTORIES: dict[str, Callable[..., RealBenchmarkDefinition]] = {
    "mlp_digits": mlp_digits_benchmark,
    "train_height": train_height_benchmark,
    "checkpoint_example": checkpoint_example_benchmark,
}


def real_benchmark_definitions(
    sagemaker_backend: bool = False, **kwargs: Any
) -> dict[str, RealBenchmarkDefinition]:
    """The benchmarks that train; the first is the default.

    Args:
        sagemaker_backend: Whether each trial is to be a SageMaker job of its own.
        kwargs: Fields of all definitions that differ, such as ``n_workers=4``.

    Raises:
        SpecError: A definition has no such field.
    """
    return {name: factory(sagemaker_backend, **kwargs) for name, factory in _FACTORIES.items()}
