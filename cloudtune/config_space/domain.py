"""What every domain of a hyperparameter is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NoReturn

import numpy as np

from cloudtune.config_space.scale import LINEAR
from cloudtune.errors import SpecError


class Domain(ABC):
    """The values that a hyperparameter can take, and how they are spread. Immutable.

    A domain is a map from the unit interval onto its values: a value drawn is ``from_unit`` of a uniform
    number, and ``to_unit`` is the inverse that search methods work with. Finite linear domains cut the unit
    interval into cells of equal width; ``to_unit`` gives the middle of a cell.
    """

    @property
    @abstractmethod
    def value_type(self) -> type:
        """Type of all values; ``object`` if they differ."""

    @property
    def scale(self) -> str:
        """Where values are evenly spread: ``"linear"``, ``"log"``, ``"reverselog"``, ``"quantile"``."""
        return LINEAR

    @property
    @abstractmethod
    def domain_str(self) -> str:
        """The valid values in words, for error messages and help texts."""

    @abstractmethod
    def kwargs(self) -> dict[str, Any]:
        """JSON-able arguments with which the class builds an equal domain."""

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """The value at ``u`` in [0, 1]."""

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """Where in [0, 1] a valid value lies; ``from_unit`` of it is ``value``."""

    @abstractmethod
    def default_value(self) -> Any:
        """The value that stands in where a point to evaluate leaves this hyperparameter open."""

    @abstractmethod
    def cast(self, value: Any) -> Any:
        """The value of this domain that ``value`` stands for: texts, NumPy scalars and floats that were
        rounded are understood; grids snap to their nearest value.

        Raises:
            SpecError: If there is none.
        """

    @abstractmethod
    def is_valid(self, value: Any) -> bool:
        """Whether ``value`` is one of the values, of the right type. Never raises."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of values; 0 means infinitely many."""

    def match_string(self, value: Any) -> str:
        """Text that is the same for values that count as equal."""
        return str(value)

    def sample(self, size: int | None = None, random_state: np.random.Generator | None = None) -> Any:
        """Draws one value, or with ``size`` a list of that many.

        Args:
            size: How many; None for a single value instead of a list.
            random_state: Source of randomness. None draws from the system's entropy: not reproducible.
        """
        rng = np.random.default_rng() if random_state is None else random_state
        if not isinstance(rng, np.random.Generator):
            raise SpecError(
                f"random_state is a {type(rng).__name__}, not a numpy.random.Generator.",
                "Pass numpy.random.default_rng(seed).",
            )
        if size is None:
            return self.from_unit(float(rng.random()))
        return [self.from_unit(u) for u in rng.random(size).tolist()]

    def __bool__(self) -> bool:
        return True  # len() is 0 for infinite domains, which are not nothing

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.kwargs().items())
        return f"{type(self).__name__}({arguments})"

    # Equality by text tells 1, 1.0 and True apart.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def _refuse(self, value: Any) -> NoReturn:
        raise SpecError(f"{value!r} is no valid value.", f"Valid: {self.domain_str}.")
