"""Monotone maps under which a domain is uniform."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudtune.errors import SpecError


@dataclass(frozen=True)
class Scale:
    """``forward`` takes values to the axis on which they are uniform, ``inverse`` takes them back."""

    name: str
    forward: Callable[[float], float]
    inverse: Callable[[float], float]

    def middle(self, lower: float, upper: float) -> float:
        """The default between two bounds: geometric mean on the log scale, else arithmetic mean."""
        if self.name == LOG:
            return math.sqrt(lower) * math.sqrt(upper)
        return 0.5 * lower + 0.5 * upper


LINEAR, LOG, REVERSE_LOG = "linear", "log", "reverselog"


def _identity(value: float) -> float:
    return value


def _reverse_log(value: float) -> float:
    return -math.log1p(-value)


def _from_reverse_log(value: float) -> float:
    return -math.expm1(-value)


_SCALES = {
    LINEAR: Scale(LINEAR, _identity, _identity),
    LOG: Scale(LOG, math.log, math.exp),
    REVERSE_LOG: Scale(REVERSE_LOG, _reverse_log, _from_reverse_log),
}


def scale_for(name: str, lower: float, upper: float) -> Scale:
    """The scale of that name.

    Raises:
        SpecError: For an unknown name, or where the scale is not defined on ``[lower, upper]``.
    """
    if name not in _SCALES:
        raise SpecError(f"Unknown scale {name!r}.", f"Valid scales: {', '.join(_SCALES)}.")
    if name == LOG and lower <= 0:
        raise SpecError(
            f"A log scale needs positive values, and the lower bound is {lower}.",
            "Raise the lower bound above 0, or use a linear domain (uniform, randint, finrange).",
        )
    if name == REVERSE_LOG and not (lower >= 0 and upper < 1):
        raise SpecError(
            f"A reverse-log scale needs 0 <= lower <= upper < 1, got [{lower}, {upper}].",
            "Lower the upper bound below 1 (say 0.999), or use uniform.",
        )
    return _SCALES[name]


def plain(value: Any) -> Any:
    """``value`` with NumPy scalars replaced by Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite int or float; booleans are none."""
    is_plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_plain and abs(value) <= sys.float_info.max  # False for NaN as well


def is_passable(text: str) -> bool:
    """Whether a command line can hold ``text``: no NUL, no lone surrogates."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def check_number(value: Any, what: str) -> float:
    """``value`` as a Python number, else SpecError."""
    number = plain(value)
    if not is_number(number):
        raise SpecError(f"{what} is {value!r}, not a finite number.", f"Pass {what} as an int or float.")
    return number  # type: ignore[no-any-return]


def check_integer(value: Any, what: str) -> int:
    """``value`` as an int (2.0 counts as 2), else SpecError."""
    number = check_number(value, what)
    if number != int(number):
        raise SpecError(f"{what} is {value!r}, not an integer.", f"Round {what}, or use a float domain.")
    return int(number)


def check_order(lower: float, upper: float, name: str) -> None:
    """SpecError for an empty range."""
    if lower > upper:
        raise SpecError(
            f"{name}: the range is empty, lower {lower} > upper {upper}.", f"Write {name}({upper}, {lower})?"
        )


def to_number(value: Any) -> float | None:
    """The finite number that ``value`` (number or text) stands for; None if it stands for none."""
    value = plain(value)
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    return value if is_number(value) else None
