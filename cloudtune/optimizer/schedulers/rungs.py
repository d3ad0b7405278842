"""Rungs: the resource levels at which trials are compared, and what was seen there.

Values are minimised, and never NaN (the caller turns NaN into infinity). With ``n`` values in a rung, recording
one costs O(log n) comparisons and one memory move; the cutoff and the best waiting trial cost O(1).
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise


def quantile(sorted_values: Sequence[float], q: float) -> float:
    """``np.quantile(sorted_values, q)`` in O(1), and defined where infinite values make numpy's answer NaN:
    what lies between a finite value and infinity is above all finite values, but below infinity."""
    position = q * (len(sorted_values) - 1)
    index = min(math.floor(position), len(sorted_values) - 1)
    below, share = sorted_values[index], position - index
    if share <= 0.0:
        return below
    above = sorted_values[index + 1]
    if below == above or math.isinf(below):
        return below
    if math.isinf(above):
        return sys.float_info.max
    step = above - below
    return below + step * share if share < 0.5 else above - step * (1.0 - share)


class Rung:
    """What was reported at one resource level.

    Args:
        level: The resource level.
        next_level: The level to which trials that do well here go on; the share of them is ``level / next_level``.
    """

    #: With fewer values there is nothing to compare: everything goes on, nothing is promoted.
    MIN_VALUES = 2

    def __init__(self, level: int, next_level: int) -> None:
        self.level = level
        self.next_level = next_level
        self._values: list[float] = []
        self._of_trial: dict[int, float] = {}
        #: Paused here, not yet promoted: ``(value, trial_id)``, best first.
        self._waiting: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, trial_id: int) -> bool:
        return trial_id in self._of_trial

    @property
    def values(self) -> dict[int, float]:
        """Value by trial, in order of arrival."""
        return dict(self._of_trial)

    def record(self, trial_id: int, value: float) -> None:
        """A trial has arrived. Each trial counts once; a second value of it is ignored."""
        if trial_id not in self._of_trial:
            self._of_trial[trial_id] = value
            insort(self._values, value)

    def cutoff(self) -> float | None:
        """The quantile of the values that separates good from bad; None with fewer than two values."""
        if len(self._values) < self.MIN_VALUES:
            return None
        return quantile(self._values, self.level / self.next_level)

    def wait(self, trial_id: int) -> None:
        """The trial is paused here, and may be promoted from now on."""
        insort(self._waiting, (self._of_trial[trial_id], trial_id))

    def leave(self, trial_id: int) -> None:
        """The trial waits no more: it has been promoted."""
        entry = (self._of_trial[trial_id], trial_id)
        index = bisect_left(self._waiting, entry)
        if index < len(self._waiting) and self._waiting[index] == entry:
            del self._waiting[index]

    def promotable(self) -> int | None:
        """The best trial that waits here, if it is within the cutoff."""
        cutoff = self.cutoff()
        if cutoff is None or not self._waiting or self._waiting[0][0] > cutoff:
            return None
        return self._waiting[0][1]


class Ladder:
    """The rungs below ``max_t``.

    Args:
        levels: Increasing resource levels, all below ``max_t``; may be empty.
        max_t: The highest resource level.
    """

    def __init__(self, levels: Sequence[int], max_t: int) -> None:
        self.max_t = max_t
        self.rungs = [Rung(level, above) for level, above in pairwise([*levels, max_t])]
        self._levels = list(levels)

    def reached(self, level: int, above: int) -> Rung | None:
        """The highest rung at or below ``level`` that is higher than ``above``.

        A script that reports every few levels only is recorded at the highest rung it has passed, not at those
        it has jumped over.
        """
        index = bisect_left(self._levels, level + 1) - 1
        return self.rungs[index] if index >= 0 and self._levels[index] > above else None

    def next_level(self, level: int) -> int:
        """The lowest rung above ``level``; ``max_t`` if there is none."""
        index = bisect_left(self._levels, level + 1)
        return self._levels[index] if index < len(self._levels) else self.max_t
