"""Where users of Syne Tune look for this."""

from cloudtune.experiments.benchmark_definitions.definition import RealBenchmarkDefinition

__all__ = ["RealBenchmarkDefinition"]
