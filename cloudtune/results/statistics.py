"""Interquartile mean and its bootstrap confidence band.

The interquartile mean (IQM) is the mean of the middle half: less noisy than the median, less moved by one bad seed
than the mean (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Numbers held at once while resampling.
_CHUNK = 4_000_000


def iqm_weights(n: int) -> Floats:
    """Weights of ``n`` sorted values, summing to 1. Each value stands for a mass of ``1/n``, of which that part
    counts which lies between the quartiles; hence ``n`` need not be a multiple of 4."""
    edges = np.arange(n + 1) / n
    inside = np.clip(edges, 0.25, 0.75)
    return np.asarray(2 * np.diff(inside), dtype=np.float64)


def interquartile_mean(values: npt.ArrayLike) -> Floats:
    """IQM over the first axis of ``values`` (shape ``(n, ...)``, n at least 1); shape ``(...)``.

    Infinite values count only where they lie between the quartiles.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)
    weights = iqm_weights(len(ordered))
    middle = weights > 0
    return np.tensordot(weights[middle], ordered[middle], axes=1)


def bootstrap_band(
    values: npt.ArrayLike, rng: np.random.Generator, num_resamples: int = 1000, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Percentile bootstrap of the IQM over the first axis.

    Args:
        values: Shape ``(n, points)``. Rows are resampled as a whole, so that a band over time is coherent.
        rng: The source of all randomness.
        num_resamples: More give smoother bands.
        confidence: Mass between the two bounds.

    Returns:
        Lower and upper bound, each of shape ``(points,)``.
    """
    table = np.asarray(values, dtype=np.float64)
    n, points = table.shape
    chosen = rng.integers(0, n, size=(num_resamples, n))
    means = np.empty((num_resamples, points))
    step = max(1, _CHUNK // max(1, num_resamples * n))
    for begin in range(0, points, step):
        part = table[:, begin : begin + step]
        means[:, begin : begin + step] = interquartile_mean(np.moveaxis(part[chosen], 1, 0))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def best_so_far(times: npt.ArrayLike, values: npt.ArrayLike, mode: str) -> tuple[Floats, Floats]:
    """Increasing times and the best value seen until each. NaN never counts; both are empty without a number."""
    order = np.argsort(np.asarray(times, dtype=np.float64), kind="stable")
    sorted_times = np.asarray(times, dtype=np.float64)[order]
    sorted_values = np.asarray(values, dtype=np.float64)[order]
    known = ~np.isnan(sorted_values)
    best = np.maximum if mode == "max" else np.minimum
    return sorted_times[known], best.accumulate(sorted_values[known])


def carried_forward(times: Floats, values: Floats, grid: Floats) -> Floats:
    """The last of ``values`` at or before each instant of ``grid``; NaN before the first."""
    index = np.searchsorted(times, grid, side="right") - 1
    if len(values) == 0:
        return np.full(len(grid), np.nan)
    return np.where(index >= 0, values[np.maximum(index, 0)], np.nan)
