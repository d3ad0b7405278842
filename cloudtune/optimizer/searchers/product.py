"""The configurations of a finite space, numbered: none is stored, each is computed from its number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cloudtune.config_space import Categorical, Domain, FiniteRange, Float, Integer, OrdinalNearestNeighbor
from cloudtune.trial import Config


class Axis(Protocol):
    """The values of one hyperparameter, numbered from 0."""

    def __len__(self) -> int: ...

    def value(self, index: int) -> Any: ...

    def index(self, value: Any) -> int | None:
        """Number of ``value``; None if it is not on the axis."""
        ...


class DomainAxis:
    """All values of a finite domain whose cells in the unit interval are equally wide."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def __len__(self) -> int:
        return len(self._domain)

    def value(self, index: int) -> Any:
        return self._domain.from_unit((index + 0.5) / len(self))

    def index(self, value: Any) -> int | None:
        return int(self._domain.to_unit(value) * len(self)) if self._domain.is_valid(value) else None


class ListAxis:
    """Some values of a domain."""

    def __init__(self, domain: Domain, values: Sequence[Any]) -> None:
        self._domain = domain
        # Values that count as equal are one; the order is that of the list.
        self._values = list({domain.match_string(value): value for value in values}.values())
        self._index = {domain.match_string(value): i for i, value in enumerate(self._values)}

    def __len__(self) -> int:
        return len(self._values)

    def value(self, index: int) -> Any:
        return self._values[index]

    def index(self, value: Any) -> int | None:
        return self._index.get(self._domain.match_string(value))


def axis_of(domain: Domain) -> DomainAxis | None:
    """All values of ``domain``, None if there is no end of them."""
    if len(domain) == 0:
        return None
    if isinstance(domain, OrdinalNearestNeighbor):
        return DomainAxis(Categorical(domain.categories))
    if isinstance(domain, Float | Integer):  # the same values, in cells of equal width
        return DomainAxis(type(domain)(domain.lower, domain.upper, q=domain.q))  # type: ignore[arg-type]
    if isinstance(domain, Categorical | FiniteRange):
        return DomainAxis(domain)
    return None


class Product:
    """All combinations of values of some axes; the last axis varies fastest.

    Args:
        axes: By hyperparameter.
    """

    def __init__(self, axes: Mapping[str, Axis]) -> None:
        self._axes = dict(axes)
        self.size = math.prod(len(axis) for axis in self._axes.values())

    def values(self, number: int) -> Config:
        """The combination of that number."""
        result: Config = {}
        for name, axis in reversed(self._axes.items()):
            number, index = divmod(number, len(axis))
            result[name] = axis.value(index)
        return result

    def number(self, config: Mapping[str, Any]) -> int | None:
        """The number of the combination in ``config``; None if a value is not on its axis."""
        number = 0
        for name, axis in self._axes.items():
            index = axis.index(config[name])
            if index is None:
                return None
            number = number * len(axis) + index
        return number
