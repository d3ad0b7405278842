"""Benchmarks: training scripts with the search spaces and settings that suit them."""

from cloudtune.experiments.benchmark_definitions.checkpoint_example import checkpoint_example_benchmark
from cloudtune.experiments.benchmark_definitions.definition import RealBenchmarkDefinition
from cloudtune.experiments.benchmark_definitions.mlp_digits import mlp_digits_benchmark
from cloudtune.experiments.benchmark_definitions.registry import real_benchmark_definitions
from cloudtune.experiments.benchmark_definitions.train_height import train_height_benchmark

__all__ = [
    "RealBenchmarkDefinition",
    "checkpoint_example_benchmark",
    "mlp_digits_benchmark",
    "real_benchmark_definitions",
    "train_height_benchmark",
]
