"""What all schedulers share: the search space, the objectives, the seed, and reading reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from cloudtune.config_space import config_space_to_json_dict, normalise_config_space
from cloudtune.errors import SpecError
from cloudtune.optimizer.searchers.searcher import Searcher
from cloudtune.optimizer.seed import Seed
from cloudtune.trial import Metrics, Trial

_MODES = ("min", "max")
_MAX_KEYS_SHOWN = 20


class Problem:
    """What is tuned.

    Args:
        config_space: Domains and constants by name.
        metric: Key in reports of the objective, or a list of keys.
        mode: ``"min"`` or ``"max"``; one for all objectives, or a list.
        random_seed: See :class:`Seed`.
        resource_attr: Key in reports of the resource spent; None if reports have none.
    """

    def __init__(
        self,
        config_space: dict[str, Any],
        metric: str | Sequence[str],
        mode: str | Sequence[str],
        random_seed: int | None,
        resource_attr: str | None,
    ) -> None:
        self.config_space = normalise_config_space(config_space)
        self.metrics = _check_metrics(metric)
        self.modes = _check_modes(mode, len(self.metrics))
        self.seed = Seed(random_seed)
        self.resource_attr = resource_attr
        if resource_attr is not None and (not isinstance(resource_attr, str) or resource_attr in self.metrics):
            raise SpecError(
                f"resource_attr={resource_attr!r} must be a key of the reports, and none of the metrics "
                f"{self.metrics!r}.",
                'The key under which the script reports its progress, say resource_attr="epoch".',
            )

    def require_level(self, scheduler: str) -> None:
        """Refuses what a scheduler that compares trials at resource levels cannot work with.

        Raises:
            SpecError: If there are several objectives, or no resource.
        """
        if len(self.metrics) > 1:
            raise SpecError(f"metric={self.metrics!r}: {scheduler} has one objective.", "Choose one of them.")
        if self.resource_attr is None:
            raise SpecError(
                f"resource_attr=None: {scheduler} compares trials at resource levels.",
                'Name the key under which the script reports its progress, say resource_attr="epoch".',
            )

    def reseed(self, random_seed: int, searcher: Searcher) -> None:
        """Replaces the seed, and that of ``searcher`` if it was drawn.

        Raises:
            SpecError: If a trial has been started already.
        """
        self.seed.replace(random_seed)
        if not searcher.random_seed_given:
            searcher.reseed(random_seed)

    def values(self, trial: Trial, metrics: Metrics) -> list[float]:
        """The objectives of a report, to be minimised; NaN becomes infinity, the worst.

        Raises:
            SpecError: If one is missing or no number.
        """
        return [
            _minimised(_number(trial, metrics, key, "metric"), mode)
            for key, mode in zip(self.metrics, self.modes, strict=True)
        ]

    def level(self, trial: Trial, metrics: Metrics) -> int:
        """The resource level of a report.

        Raises:
            SpecError: If it is missing or no positive integer.
        """
        key = self.resource_attr or ""
        value = _number(trial, metrics, key, "resource_attr")
        if not value >= 1 or not value.is_integer():
            raise SpecError(
                f"Trial {trial.trial_id} reported {key}={metrics[key]!r}, no integer of at least 1.",
                f"Report the number of finished steps: report({key}=1, ...), then {key}=2, and so on.",
            )
        return int(value)

    def metadata(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {
            "metric_names": list(self.metrics),
            "metric_mode": list(self.modes),
            "resource_attr": self.resource_attr,
            "random_seed": self.seed.value,
            "config_space": config_space_to_json_dict(self.config_space),
        }


def _check_metrics(metric: Any) -> list[str]:
    metrics = [metric] if isinstance(metric, str) else list(metric) if isinstance(metric, Iterable) else []
    if not metrics or len(set(metrics)) < len(metrics) or not all(isinstance(key, str) and key for key in metrics):
        raise SpecError(
            f"metric={metric!r} must be a key of the script's reports, or a list of different ones.",
            'Say metric="validation_error" for a script that calls report(epoch=..., validation_error=...).',
        )
    return metrics


def _check_modes(mode: Any, number: int) -> list[str]:
    modes = [mode] * number if isinstance(mode, str) else list(mode) if isinstance(mode, Iterable) else []
    if len(modes) != number or any(entry not in _MODES for entry in modes):
        raise SpecError(
            f'mode={mode!r} must be "min" or "max"'
            + (f", or a list of {number} of these." if number > 1 else "."),
            '"min" for errors and losses, "max" for accuracies.',
        )
    return modes


def _number(trial: Trial, metrics: Metrics, key: str, what: str) -> float:
    if key not in metrics:
        present = sorted(str(other) for other in metrics)[:_MAX_KEYS_SHOWN]
        raise SpecError(
            f"Trial {trial.trial_id} made a report without {key!r} (the scheduler's {what}).",
            f"It has: {', '.join(present) or 'nothing'}. Report {key!r} each time, or name another {what}.",
        )
    value = metrics[key]
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SpecError(
            f"Trial {trial.trial_id} reported {key}={value!r} (the scheduler's {what}), which is no number.",
            f"Report a number, say float({key}).",
        )
    return float(value)


def _minimised(value: float, mode: str) -> float:
    if math.isnan(value):
        return math.inf
    return -value if mode == "max" else value
