"""Consecutive integers on a linear or log axis."""

from __future__ import annotations

import math

from cloudtune.config_space.scale import LOG
from cloudtune.errors import SpecError

#: Up to here ``index`` and ``position`` invert each other in double precision, on the log axis as well.
MAX_INTEGER = 2**40


class Lattice:
    """The integers ``first .. last``, each at the middle of a cell of the unit interval.

    Linear: cells of equal width. Log: the cell of k is proportional to log((k + 1/2) / (k - 1/2)), so that
    the end points have whole cells too.
    """

    def __init__(self, first: int, last: int, scale: str) -> None:
        if max(abs(first), abs(last)) > MAX_INTEGER:
            raise SpecError(
                f"The range has the integer or multiple {max(abs(first), abs(last))}, more than 2**40.",
                "Use a narrower range or a larger step q, or a float domain.",
            )
        self.first, self.last = first, last
        self._log = scale == LOG
        if self._log:
            self._start = math.log(first - 0.5)
            self._width = math.log(last + 0.5) - self._start

    def __len__(self) -> int:
        return self.last - self.first + 1

    def index(self, u: float) -> int:
        """The integer whose cell holds ``u``."""
        k = round(math.exp(self._start + u * self._width)) if self._log else self.first + int(u * len(self))
        return self.clip(k)

    def position(self, k: int) -> float:
        """Where in the unit interval ``k`` lies."""
        if self._log:
            return (math.log(k) - self._start) / self._width
        return (k - self.first + 0.5) / len(self)

    def clip(self, k: int) -> int:
        return min(max(k, self.first), self.last)
