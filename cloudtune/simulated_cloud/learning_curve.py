"""What scripts might report: a curve that falls with the resource, as deep as the configuration allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cloudtune.config_space.encoding import HyperparameterRanges
from cloudtune.emulator.faults.draws import uniform
from cloudtune.trial import Config

_NOISE = 0.01


class LearningCurve:
    """A problem that exists nowhere, but looks like many: one best point in the space, hyperparameters of
    different weight, better configurations not always faster, and a little noise.

    Args:
        config_space: The tuner's.
        metrics: Names.
        modes: ``min`` or ``max``, of each.
        seed: Another one is another problem.
    """

    def __init__(
        self, config_space: Mapping[str, Any], metrics: Sequence[str], modes: Sequence[str], seed: int
    ) -> None:
        self._ranges = HyperparameterRanges(dict(config_space))
        self._metrics = list(zip(metrics, modes, strict=True))
        self._seed = seed
        size = self._ranges.ndarray_size
        self._best = {name: self._draws("best", name, size) for name in metrics}
        weights = {name: self._draws("weight", name, size) ** 2 + 0.05 for name in metrics}
        self._weights = {name: weight / weight.sum() for name, weight in weights.items()}
        self._known: dict[str, dict[str, tuple[float, float]]] = {}

    def __call__(self, config: Config, level: int) -> dict[str, float]:
        """Metrics at a level from 1."""
        key = self._ranges.config_to_match_string(config)
        if key not in self._known:
            point = self._ranges.to_ndarray(config)
            self._known[key] = {name: self._shape(name, point) for name, _ in self._metrics}
        found = {}
        for name, mode in self._metrics:
            depth, power = self._known[key][name]
            noise = _NOISE * (uniform(self._seed, "noise", name, key, level) - 0.5)
            loss = depth + (1.0 - depth) * math.pow(level, -power) + noise
            found[name] = loss if mode == "min" else 1.0 - loss
        return found

    def _shape(self, name: str, point: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
        """Where it ends, and how fast it gets there."""
        distance = float(self._weights[name] @ np.abs(point - self._best[name]))
        return 0.05 + 0.9 * min(1.0, 1.5 * distance), 0.4 + float(point.mean()) * 0.6

    def _draws(self, what: str, name: str, size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([uniform(self._seed, what, name, number) for number in range(size)])
