"""Methods as the launchers know them; pick some, or write your own of the same form."""

from __future__ import annotations

from typing import Any

from cloudtune.errors import SpecError
from cloudtune.experiments.baselines import MethodArguments, Methods, common_arguments
from cloudtune.optimizer import baselines
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.optimizer.schedulers import SuccessiveHalvingScheduler


def RandomSearch(method_arguments: MethodArguments, **kwargs: Any) -> Scheduler:  # noqa: N802  named as users know it
    """Every trial runs to the end."""
    return baselines.RandomSearch(
        **common_arguments(method_arguments), resource_attr=method_arguments.resource_attr, **kwargs
    )


def GridSearch(method_arguments: MethodArguments, **kwargs: Any) -> Scheduler:  # noqa: N802
    """All points of a grid, in random order."""
    return baselines.GridSearch(
        **common_arguments(method_arguments), resource_attr=method_arguments.resource_attr, **kwargs
    )


def ASHA(method_arguments: MethodArguments, **kwargs: Any) -> Scheduler:  # noqa: N802
    """Asynchronous successive halving; ``type="stopping"`` (default) or ``type="promotion"``."""
    return baselines.ASHA(
        **common_arguments(method_arguments), resource_attr=_resource_attr(method_arguments), **kwargs
    )


def SuccessiveHalving(method_arguments: MethodArguments, **kwargs: Any) -> Scheduler:  # noqa: N802
    """Synchronous successive halving, round after round."""
    return SuccessiveHalvingScheduler(
        **common_arguments(method_arguments), resource_attr=_resource_attr(method_arguments), **kwargs
    )


def _resource_attr(method_arguments: MethodArguments) -> str:
    if method_arguments.resource_attr is None:
        raise SpecError(
            "This method decides while trials train, but the benchmark has no resource_attr.",
            "Name the key that counts epochs in the script's reports: RealBenchmarkDefinition(resource_attr=...).",
        )
    return method_arguments.resource_attr


#: What ``launch_remote.py`` compares by default.
methods: Methods = {
    "RS": lambda arguments: RandomSearch(arguments),
    "ASHA": lambda arguments: ASHA(arguments, type="stopping"),
    "ASHA-PROM": lambda arguments: ASHA(arguments, type="promotion"),
}
