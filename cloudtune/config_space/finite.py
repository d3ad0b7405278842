"""Domains that list their values: categorical, ordinal, grids."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.scale import (
    LINEAR,
    LOG,
    check_integer,
    check_number,
    check_order,
    is_number,
    is_passable,
    plain,
    scale_for,
    to_number,
)
from cloudtune.errors import SpecError

#: Floats within this relative distance of a category stand for it (they may have been printed in between).
_FLOAT_TOLERANCE = 0.01
#: Neighbours closer than this part of the average gap would share a point of the unit interval.
_MIN_GAP = 1e-9


def _cell(u: float, size: int) -> int:
    return min(max(int(u * size), 0), size - 1)


def _check_categories(categories: Any) -> list[Any]:
    if hasattr(categories, "tolist"):  # NumPy arrays and pandas series
        categories = categories.tolist()
    if isinstance(categories, (str, bytes)) or not isinstance(categories, Sequence):
        raise SpecError(
            f"The values of a choice are {categories!r}, not a list.", "Pass a list such as ['adam', 'sgd']."
        )
    values = [plain(value) for value in categories]
    if not values:
        raise SpecError("A choice needs at least one value.", "Pass a non-empty list.")
    for value in values:
        if type(value) not in (str, int, float, bool, type(None)):
            raise SpecError(
                f"The value {value!r} of a choice is a {type(value).__name__}.",
                "Values are str, int, float, bool or None; name compound values by a string.",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"The value {value!r} of a choice is not finite.", "Name it by a string, say 'inf'.")
        if isinstance(value, str) and not is_passable(value):
            raise SpecError(f"The value {value!r} of a choice has a NUL or half a character.", "Remove it.")
    return values


def _index_of_values(values: list[Any]) -> tuple[dict[Any, int], dict[str, int]]:
    """Tables from value and from text to index; SpecError where they would not be unique."""
    table: dict[Any, int] = {}
    texts: dict[str, int] = {}
    for i, value in enumerate(values):
        if value in table or str(value) in texts:
            twin = values[table[value] if value in table else texts[str(value)]]
            raise SpecError(
                f"The values {twin!r} and {value!r} are duplicates (equal, or the same on a command line).",
                "Keep one of them, or make their texts differ.",
            )
        table[value] = i
        texts[str(value)] = i
    for i, value in enumerate(values):  # as JSON writes them
        if value is None or isinstance(value, bool):
            texts.setdefault("null" if value is None else str(value).lower(), i)
    return table, texts


class Categorical(Domain):
    """One of the listed values, all equally likely, in no order.

    Args:
        categories: Distinct str, int, float, bool or None; types may be mixed.
    """

    def __init__(self, categories: Sequence[Any]) -> None:
        self.categories = _check_categories(categories)
        self._table, self._texts = _index_of_values(self.categories)

    @property
    def value_type(self) -> type:
        types = {type(value) for value in self.categories}
        return types.pop() if len(types) == 1 else object

    @property
    def domain_str(self) -> str:
        return f"one of {self.categories}"

    def kwargs(self) -> dict[str, Any]:
        return {"categories": list(self.categories)}

    def from_unit(self, u: float) -> Any:
        return self.categories[_cell(u, len(self.categories))]

    def to_unit(self, value: Any) -> float:
        return (self.index(value) + 0.5) / len(self.categories)

    def default_value(self) -> Any:
        return self.categories[0]

    def index(self, value: Any) -> int:
        """Position of ``value`` in the list; SpecError if it is not there."""
        found = self._find(value)
        if found is None:
            self._refuse(value)
        return found

    def cast(self, value: Any) -> Any:
        return self.categories[self.index(value)]

    def is_valid(self, value: Any) -> bool:
        value = plain(value)
        try:
            found = self._table.get(value)
        except TypeError:  # not hashable, hence no category
            return False
        return found is not None and isinstance(self.categories[found], bool) == isinstance(value, bool)

    def match_string(self, value: Any) -> str:
        return str(self.index(value))

    def __len__(self) -> int:
        return len(self.categories)

    def _find(self, value: Any) -> int | None:
        value = plain(value)
        if self.is_valid(value):
            return self._table[value]
        if isinstance(value, str) and value in self._texts:
            return self._texts[value]
        number = to_number(value)
        if number is None:
            return None
        floats = [i for i, category in enumerate(self.categories) if is_number(category)]
        nearest = min(floats, key=lambda i: abs(self.categories[i] - number), default=None)
        if nearest is None:
            return None
        category = self.categories[nearest]
        tolerance = _FLOAT_TOLERANCE * abs(category) if isinstance(category, float) else 0
        return nearest if abs(category - number) <= tolerance else None


class Ordinal(Categorical):
    """Listed values whose order matters; neighbours are equally far apart, all are equally likely."""

    def default_value(self) -> Any:
        return self.categories[len(self.categories) // 2]


class OrdinalNearestNeighbor(Ordinal):
    """Listed increasing numbers that are as far apart as their (log) values are. Drawn by taking the one
    nearest to a number uniform in the interval that they span, widened by half an average gap at both ends.

    Args:
        categories: Strictly increasing numbers.
        log_scale: Distances are those of logarithms.
    """

    def __init__(self, categories: Sequence[Any], log_scale: bool = False) -> None:
        super().__init__(categories)
        values = self.categories
        if not is_increasing(values):
            raise SpecError(
                f"An ordinal of kind 'nn' needs strictly increasing numbers, got {values}.",
                "Sort them, or use kind='equal'.",
            )
        self.log_scale = bool(log_scale)
        self._scale = scale_for(LOG if log_scale else LINEAR, values[0], values[-1])
        points = [self._scale.forward(value) for value in values]
        gap = (points[-1] - points[0]) / max(len(points) - 1, 1)
        if any(b - a <= _MIN_GAP * gap for a, b in pairwise(points)):
            raise SpecError(
                f"Some of {values} are too close to each other for kind 'nn'.", "Drop one, or use kind='equal'."
            )
        self._points = points
        self._borders = [0.5 * (a + b) for a, b in pairwise(points)]
        self._start, self._width = points[0] - 0.5 * gap, points[-1] - points[0] + gap

    @property
    def scale(self) -> str:
        return self._scale.name

    def kwargs(self) -> dict[str, Any]:
        return {"categories": list(self.categories), "log_scale": self.log_scale}

    def from_unit(self, u: float) -> Any:
        return self.categories[bisect_left(self._borders, self._start + u * self._width)]

    def to_unit(self, value: Any) -> float:
        point = self._points[self.index(value)]
        return (point - self._start) / self._width if self._width else 0.5

    def default_value(self) -> Any:
        middle = 0.5 * (self._points[0] + self._points[-1])
        return self.categories[bisect_left(self._borders, middle)]


class FiniteRange(Domain):
    """A grid of ``size`` numbers from ``lower`` to ``upper``, equally spaced (in log values if ``log_scale``),
    equally likely.

    Args:
        lower: First value; positive if ``log_scale``.
        upper: Last value, above ``lower``.
        size: Number of values, at least 2.
        log_scale: Equal ratios instead of equal differences.
        cast_int: Values are rounded to integers; they must stay distinct.
    """

    def __init__(
        self, lower: float, upper: float, size: int, log_scale: bool = False, cast_int: bool = False
    ) -> None:
        self.lower, self.upper = check_number(lower, "lower"), check_number(upper, "upper")
        self.size = check_integer(size, "size")
        check_order(self.lower, self.upper, "FiniteRange")
        if self.size < 1 or (self.lower == self.upper) != (self.size == 1):
            raise SpecError(
                f"A grid of {self.size} values from {self.lower} to {self.upper} is not possible.",
                "Pass size >= 2 and lower < upper.",
            )
        self.log_scale, self.cast_int = bool(log_scale), bool(cast_int)
        self._scale = scale_for(LOG if log_scale else LINEAR, self.lower, self.upper)
        #: The values before they are rounded to integers.
        self.grid = self._grid()
        self.values: list[Any] = [round(value) for value in self.grid] if cast_int else self.grid
        self._table = {value: i for i, value in enumerate(self.values)}
        if len(self._table) < self.size:
            raise SpecError(
                f"The grid of {self.size} values from {self.lower} to {self.upper} has duplicates"
                f"{' after rounding to integers' if cast_int else ''}.",
                f"Pass a size of at most {len(self._table)}, or a wider range.",
            )
        scale_for(self._scale.name, self.values[0], self.values[-1])  # 0.4 has been rounded to 0
        self._points = [self._scale.forward(value) for value in self.values]

    def _grid(self) -> list[float]:
        start, end = self._scale.forward(self.lower), self._scale.forward(self.upper)
        steps = max(self.size - 1, 1)
        grid = [self._scale.inverse(start + (end - start) * i / steps) for i in range(self.size)]
        grid[0], grid[-1] = self.lower, self.upper
        return [float(value) for value in grid]

    @property
    def value_type(self) -> type:
        return int if self.cast_int else float

    @property
    def scale(self) -> str:
        return self._scale.name

    @property
    def domain_str(self) -> str:
        if self.size <= 20:
            return f"one of {self.values}"
        return f"{self.size} values from {self.values[0]} to {self.values[-1]}, {self.scale} scale"

    def kwargs(self) -> dict[str, Any]:
        return {
            "lower": self.lower,
            "upper": self.upper,
            "size": self.size,
            "log_scale": self.log_scale,
            "cast_int": self.cast_int,
        }

    def from_unit(self, u: float) -> Any:
        return self.values[_cell(u, self.size)]

    def to_unit(self, value: Any) -> float:
        return (self.index(value) + 0.5) / self.size

    def default_value(self) -> Any:
        return self.values[round((self.size - 1) / 2)]

    def index(self, value: Any) -> int:
        """Position of the value nearest to ``value``, which must be in the range."""
        number = to_number(value)
        if number is None or not self.values[0] <= number <= self.values[-1]:
            self._refuse(value)
        if number in self._table:
            return self._table[number]
        point = self._scale.forward(number)
        right = min(max(bisect_left(self._points, point), 1), self.size - 1)
        return right if self._points[right] - point < point - self._points[right - 1] else right - 1

    def cast(self, value: Any) -> Any:
        return self.values[self.index(value)]

    def is_valid(self, value: Any) -> bool:
        value = plain(value)
        if not is_number(value) or (self.cast_int and not isinstance(value, int)):
            return False
        if not self.values[0] <= value <= self.values[-1]:
            return False
        return math.isclose(self.values[self.index(value)], value, rel_tol=1e-9)

    def match_string(self, value: Any) -> str:
        return str(self.index(value))

    def __len__(self) -> int:
        return self.size


def is_increasing(values: Sequence[Any]) -> bool:
    """Whether ``values`` are strictly increasing numbers."""
    return all(is_number(value) for value in values) and all(a < b for a, b in pairwise(values))
