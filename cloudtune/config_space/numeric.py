"""Ranges of floats and integers, with or without a step."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.lattice import Lattice
from cloudtune.config_space.scale import (
    LINEAR,
    REVERSE_LOG,
    check_integer,
    check_number,
    check_order,
    is_number,
    plain,
    scale_for,
    to_number,
)
from cloudtune.errors import SpecError


def _decimal(number: float) -> Fraction:
    """The number as it is written: 0.1 is one tenth, so that 3 * 0.1 becomes 0.3."""
    return Fraction(repr(number))


def _multiples(lower: float, upper: float, q: float, scale: str) -> Lattice:
    """All k with ``lower <= k * q <= upper``."""
    if q <= 0:
        raise SpecError(f"The step q is {q}.", "Pass a positive q.")
    if scale == REVERSE_LOG:
        raise SpecError("A reverse-log domain cannot have a step q.", "Use quniform or qloguniform.")
    step = _decimal(q)
    first, last = math.ceil(_decimal(lower) / step), math.floor(_decimal(upper) / step)
    if first > last:
        raise SpecError(f"No multiple of q={q} lies in [{lower}, {upper}].", "Widen the range or make q smaller.")
    return Lattice(first, last, scale)


def _in_words(kind: str, domain: Float | Integer) -> str:
    spread = "" if domain.scale == LINEAR else f", {domain.scale} scale"
    step = "" if domain.q is None else f", multiples of {domain.q}"
    return f"{kind} in [{domain.lower}, {domain.upper}]{step}{spread}"


class Float(Domain):
    """The closed interval [lower, upper], or with ``q`` the multiples of q in it.

    Args:
        lower: Smallest value; positive for ``scale="log"``.
        upper: Largest value, at least ``lower``; below 1 for ``scale="reverselog"``.
        scale: ``"linear"``, ``"log"`` (uniform in log x) or ``"reverselog"`` (uniform in -log(1 - x)).
        q: Step; None for no steps.
    """

    def __init__(self, lower: float, upper: float, scale: str = LINEAR, q: float | None = None) -> None:
        self.lower = float(check_number(lower, "lower"))
        self.upper = float(check_number(upper, "upper"))
        check_order(self.lower, self.upper, "Float")
        self._scale = scale_for(scale, self.lower, self.upper)
        self.q = None if q is None else float(check_number(q, "q"))
        self._lattice = None if self.q is None else _multiples(self.lower, self.upper, self.q, scale)
        self._step = None if self.q is None else _decimal(self.q)
        self._start = self._scale.forward(self.lower)
        self._width = self._scale.forward(self.upper) - self._start
        if not math.isfinite(self._width):
            raise SpecError(f"[{lower}, {upper}] is too wide for double precision.", "Choose narrower bounds.")

    @property
    def value_type(self) -> type:
        return float

    @property
    def scale(self) -> str:
        return self._scale.name

    @property
    def domain_str(self) -> str:
        return _in_words("float", self)

    def kwargs(self) -> dict[str, Any]:
        return {"lower": self.lower, "upper": self.upper, "scale": self.scale, "q": self.q}

    def from_unit(self, u: float) -> float:
        if self._lattice is not None:
            return self._multiple(self._lattice.index(u))
        return min(max(self._scale.inverse(self._start + u * self._width), self.lower), self.upper)

    def to_unit(self, value: Any) -> float:
        if self._lattice is not None:
            return self._lattice.position(self._nearest(value))
        if self._width == 0:
            return 0.5
        return min(max((self._scale.forward(value) - self._start) / self._width, 0.0), 1.0)

    def default_value(self) -> float:
        return float(self.cast(min(max(self._scale.middle(self.lower, self.upper), self.lower), self.upper)))

    def cast(self, value: Any) -> float:
        number = to_number(value)
        if number is None or not self.lower <= number <= self.upper:
            self._refuse(value)
        return float(number) if self._lattice is None else self._multiple(self._nearest(number))

    def is_valid(self, value: Any) -> bool:
        value = plain(value)
        if not is_number(value) or not self.lower <= value <= self.upper:
            return False
        return self._lattice is None or math.isclose(
            self._multiple(self._nearest(value)), value, rel_tol=1e-9, abs_tol=1e-9 * float(self._step or 1)
        )

    def match_string(self, value: Any) -> str:
        return f"{value:.6e}"

    def __len__(self) -> int:
        if self._lattice is not None:
            return len(self._lattice)
        return 1 if self.lower == self.upper else 0

    def _multiple(self, k: int) -> float:
        return float(k * self._step) if self._step is not None else float(k)

    def _nearest(self, value: float) -> int:
        k = round(value / float(self._step or 1))
        return k if self._lattice is None else self._lattice.clip(k)


class Integer(Domain):
    """The integers from ``lower`` to ``upper``, both included, or with ``q`` the multiples of q among them.

    Args:
        lower: Smallest value; positive for ``scale="log"``.
        upper: Largest value, at least ``lower``.
        scale: ``"linear"`` (all equally likely) or ``"log"``.
        q: Step; None or 1 for every integer.
    """

    def __init__(self, lower: int, upper: int, scale: str = LINEAR, q: int | None = None) -> None:
        self.lower = check_integer(lower, "lower")
        self.upper = check_integer(upper, "upper")
        check_order(self.lower, self.upper, "Integer")
        if scale == REVERSE_LOG:
            raise SpecError("An integer domain cannot have a reverse-log scale.", "Use linear or log.")
        self._scale = scale_for(scale, self.lower, self.upper)
        self.q = None if q is None else check_integer(q, "q")
        self._step = 1 if self.q is None else self.q
        self._lattice = _multiples(self.lower, self.upper, self._step, scale)

    @property
    def value_type(self) -> type:
        return int

    @property
    def scale(self) -> str:
        return self._scale.name

    @property
    def domain_str(self) -> str:
        return _in_words("int", self)

    def kwargs(self) -> dict[str, Any]:
        return {"lower": self.lower, "upper": self.upper, "scale": self.scale, "q": self.q}

    def from_unit(self, u: float) -> int:
        return self._lattice.index(u) * self._step

    def to_unit(self, value: Any) -> float:
        return self._lattice.position(self._nearest(value))

    def default_value(self) -> int:
        middle = round(self._scale.middle(self.lower, self.upper))
        return self._nearest(middle) * self._step

    def cast(self, value: Any) -> int:
        number = to_number(value)
        if number is None or number != int(number) or not self.lower <= number <= self.upper:
            self._refuse(value)
        return self._nearest(number) * self._step

    def is_valid(self, value: Any) -> bool:
        value = plain(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return value % self._step == 0 and self.lower <= value <= self.upper

    def __len__(self) -> int:
        return len(self._lattice)

    def _nearest(self, value: float) -> int:
        return self._lattice.clip(round(value / self._step))
