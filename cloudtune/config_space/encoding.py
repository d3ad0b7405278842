"""Configurations as points of the unit cube, for model-based search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.finite import Categorical
from cloudtune.config_space.space import (
    Config,
    ConfigSpace,
    config_to_match_string,
    normalise_config_space,
    sample_configuration,
)
from cloudtune.errors import SpecError

Array = npt.NDArray[np.float64]


def _num_dimensions(domain: Domain) -> int:
    is_one_hot = type(domain) is Categorical and len(domain) > 2
    return len(domain) if is_one_hot else 1


class HyperparameterRanges:
    """The map between configurations and [0, 1]^d.

    A hyperparameter takes one coordinate, a choice of more than two values one for each value (one-hot).
    Integers and finite domains sit in the middle of cells (of equal width if linear), so that a point uniform
    in the cube decodes to a configuration drawn from the space.

    Args:
        config_space: The space; constants are no coordinates, but are added to decoded configurations.
        name_last_pos: The hyperparameter whose coordinates come last; the others are in the space's order.
    """

    def __init__(self, config_space: ConfigSpace, name_last_pos: str | None = None) -> None:
        self.config_space = normalise_config_space(config_space)
        self._domains = {k: v for k, v in self.config_space.items() if isinstance(v, Domain)}
        if name_last_pos is not None:
            if name_last_pos not in self._domains:
                raise SpecError(
                    f"name_last_pos={name_last_pos!r} is no hyperparameter of the space.",
                    f"Valid: {', '.join(self._domains)}.",
                )
            self._domains[name_last_pos] = self._domains.pop(name_last_pos)
        self.name_last_pos = name_last_pos
        self.internal_keys = list(self._domains)
        #: First coordinate of each hyperparameter and the one after its last.
        self.encoded_ranges: dict[str, tuple[int, int]] = {}
        start = 0
        for name, domain in self._domains.items():
            end = start + _num_dimensions(domain)
            self.encoded_ranges[name] = (start, end)
            start = end
        self._ndarray_size = start

    @property
    def ndarray_size(self) -> int:
        """Dimension d of the cube."""
        return self._ndarray_size

    def to_ndarray(self, config: Mapping[str, Any]) -> Array:
        """The point of a valid configuration, shape ``(d,)``. Other keys are ignored.

        Raises:
            SpecError: If a hyperparameter is missing or its value not valid.
        """
        x = np.zeros(self._ndarray_size)
        for name, domain in self._domains.items():
            if name not in config:
                raise SpecError(f"The configuration {dict(config)} lacks {name!r}.", "Give all hyperparameters.")
            value = config[name] if domain.is_valid(config[name]) else domain.cast(config[name])
            start, end = self.encoded_ranges[name]
            if isinstance(domain, Categorical) and end - start > 1:
                x[start + domain.index(value)] = 1.0
            else:
                x[start] = domain.to_unit(value)
        return x

    def to_ndarray_matrix(self, configs: Sequence[Mapping[str, Any]]) -> Array:
        """One row for each configuration, shape ``(n, d)``."""
        rows = [self.to_ndarray(config) for config in configs]
        return np.vstack(rows) if rows else np.zeros((0, self._ndarray_size))

    def from_ndarray(self, x: npt.ArrayLike) -> Config:
        """The configuration at a point of shape ``(d,)`` or ``(1, d)``, constants included.

        Coordinates are clipped to [0, 1]; of one-hot coordinates the largest counts.
        """
        point = np.asarray(x, dtype=np.float64).reshape(-1)
        if point.size != self._ndarray_size:
            raise SpecError(f"A point of size {point.size} in a cube of dimension {self._ndarray_size}.")
        if np.isnan(point).any():
            raise SpecError(f"The point {point} has NaN coordinates.")
        coordinates = np.clip(point, 0.0, 1.0).tolist()
        config = dict(self.config_space)
        for name, domain in self._domains.items():
            start, end = self.encoded_ranges[name]
            if isinstance(domain, Categorical) and end - start > 1:
                config[name] = domain.categories[int(np.argmax(point[start:end]))]
            else:
                config[name] = domain.from_unit(coordinates[start])
        return config

    def get_ndarray_bounds(self) -> list[tuple[float, float]]:
        """Lower and upper bound of each coordinate."""
        return [(0.0, 1.0)] * self._ndarray_size

    def config_to_match_string(self, config: Mapping[str, Any], skip_last: bool = False) -> str:
        """See :func:`cloudtune.config_space.config_to_match_string`; ``skip_last`` leaves out
        ``name_last_pos``, so that a configuration is the same at all resource levels."""
        keys = [key for key in self.internal_keys if not (skip_last and key == self.name_last_pos)]
        return config_to_match_string(config, self.config_space, keys)

    def random_config(self, rng: np.random.Generator) -> Config:
        """See :func:`cloudtune.config_space.sample_configuration`."""
        return sample_configuration(self.config_space, rng)

    def random_configs(self, rng: np.random.Generator, num_configs: int) -> list[Config]:
        """``num_configs`` independent draws."""
        return [self.random_config(rng) for _ in range(num_configs)]
