"""How a method is made from the arguments of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cloudtune.optimizer.scheduler import Scheduler


@dataclass(frozen=True)
class MethodArguments:
    """What a method is given.

    Args:
        config_space: Search space with constants, ``max_resource_attr`` among them.
        metric: Key of the objective in reports; a list for several.
        mode: ``"min"`` or ``"max"``.
        random_seed: Of this run.
        resource_attr: Key of the resource in reports.
        max_resource_attr: Key of the maximum resource in ``config_space``.
        scheduler_kwargs: Further arguments for the scheduler, from the command line or the benchmark.
        num_gpus_per_trial: For the backend.
    """

    config_space: dict[str, Any]
    metric: str | list[str]
    mode: str | list[str]
    random_seed: int
    resource_attr: str | None = None
    max_resource_attr: str | None = None
    scheduler_kwargs: dict[str, Any] = field(default_factory=dict)
    num_gpus_per_trial: float = 1


Method: TypeAlias = "Callable[[MethodArguments], Scheduler]"
Methods: TypeAlias = "dict[str, Method]"


def common_arguments(arguments: MethodArguments) -> dict[str, Any]:
    """Keyword arguments that all schedulers take."""
    return {
        "config_space": arguments.config_space,
        "metric": arguments.metric,
        "mode": arguments.mode,
        "random_seed": arguments.random_seed,
        "max_resource_attr": arguments.max_resource_attr,
        **arguments.scheduler_kwargs,
    }
