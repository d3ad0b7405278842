"""Tuning methods by the names that papers give them, with the arguments that they need and no others.

Each is a scheduler with a searcher; further keyword arguments are those of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.optimizer.schedulers.fifo import FIFOScheduler
from cloudtune.optimizer.schedulers.hyperband import HyperbandScheduler


class RandomSearch(FIFOScheduler):
    """Random search.

    Args:
        config_space: Domains and constants by name.
        metric: Key in reports of the objective, or a list of keys.
        kwargs: Of :class:`~cloudtune.optimizer.schedulers.FIFOScheduler`.
    """

    def __init__(self, config_space: dict[str, Any], metric: str | Sequence[str], **kwargs: Any) -> None:
        _refuse_searcher("RandomSearch", kwargs)
        super().__init__(config_space, metric=metric, searcher="random", **kwargs)


class GridSearch(FIFOScheduler):
    """Grid search; ``search_options={"num_samples": {...}}`` says how fine the grid is.

    Args:
        config_space: Domains and constants by name.
        metric: Key in reports of the objective, or a list of keys.
        kwargs: Of :class:`~cloudtune.optimizer.schedulers.FIFOScheduler`.
    """

    def __init__(self, config_space: dict[str, Any], metric: str | Sequence[str], **kwargs: Any) -> None:
        _refuse_searcher("GridSearch", kwargs)
        super().__init__(config_space, metric=metric, searcher="grid", **kwargs)


class ASHA(HyperbandScheduler):
    """Asynchronous successive halving (Li et al., MLSys 2020) on random configurations: ``type="stopping"`` (the
    default) or ``type="promotion"``.

    Args:
        config_space: Domains and constants by name.
        metric: Key in reports of the objective.
        resource_attr: Key in reports of the resource spent, say ``"epoch"``.
        kwargs: Of :class:`~cloudtune.optimizer.schedulers.HyperbandScheduler`.
    """

    def __init__(self, config_space: dict[str, Any], metric: str, resource_attr: str, **kwargs: Any) -> None:
        _refuse_searcher("ASHA", kwargs)
        super().__init__(config_space, metric=metric, searcher="random", resource_attr=resource_attr, **kwargs)


#: Method by name.
baselines_dict: dict[str, Callable[..., Scheduler]] = {
    "Random Search": RandomSearch,
    "Grid Search": GridSearch,
    "ASHA": ASHA,
}


def _refuse_searcher(name: str, kwargs: dict[str, Any]) -> None:
    if "searcher" in kwargs:
        raise SpecError(
            f"{name} brings its own searcher.", "Use FIFOScheduler or HyperbandScheduler for another searcher."
        )
