"""Experiments to run as they are: benchmarks, methods, launching; and what has become of them.

Public names are loaded on use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition as RealBenchmarkDefinition
    from cloudtune.experiments.comparison import compare_methods as compare_methods
    from cloudtune.experiments.experiment_result import ExperimentResult as ExperimentResult
    from cloudtune.experiments.loading import get_metadata as get_metadata
    from cloudtune.experiments.loading import list_experiments as list_experiments
    from cloudtune.experiments.loading import load_experiment as load_experiment
    from cloudtune.experiments.loading import load_experiments as load_experiments
    from cloudtune.experiments.loading import load_experiments_df as load_experiments_df

_HOME = {
    "ExperimentResult": "experiment_result",
    "RealBenchmarkDefinition": "benchmark_definitions",
    "compare_methods": "comparison",
    "get_metadata": "loading",
    "list_experiments": "loading",
    "load_experiment": "loading",
    "load_experiments": "loading",
    "load_experiments_df": "loading",
}
__all__ = [
    "ExperimentResult",
    "RealBenchmarkDefinition",
    "compare_methods",
    "get_metadata",
    "list_experiments",
    "load_experiment",
    "load_experiments",
    "load_experiments_df",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
