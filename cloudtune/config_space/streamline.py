"""Proposes better domains for spaces that were written in haste."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.finite import Categorical, FiniteRange, OrdinalNearestNeighbor
from cloudtune.config_space.numeric import Float, Integer
from cloudtune.config_space.scale import LINEAR, LOG, is_number
from cloudtune.config_space.space import ConfigSpace, normalise_config_space
from cloudtune.errors import SpecError

logger = logging.getLogger(__name__)

#: A choice is a grid if its values (or logarithms) against their ranks have at least this R^2.
_MIN_R2 = 0.995
#: Linear ranges whose bounds have a larger ratio become log ranges.
_MAX_RATIO = 100


def streamline_config_space(
    config_space: ConfigSpace, exclude_names: Sequence[str] | None = None, verbose: bool = False
) -> dict[str, Any]:
    """A copy of the space in which

    - a choice among more than two numbers of one type, none repeated, is a grid (:class:`FiniteRange`, linear
      or log) if they are nearly equally spaced, and else ordinal by nearest neighbour;
    - a linear range with positive bounds of a ratio above 100 has a log scale.

    Grid values can differ slightly from those of the choice: exclude hyperparameters where this matters.

    Args:
        config_space: The space.
        exclude_names: Hyperparameters to leave as they are.
        verbose: Logs the changes at level INFO instead of DEBUG.
    """
    result = normalise_config_space(config_space)
    for name in exclude_names or ():
        if name not in result:
            raise SpecError(f"exclude_names: {name!r} is not in the space.", f"Valid: {', '.join(result)}.")
    for name, domain in result.items():
        if isinstance(domain, Domain) and name not in (exclude_names or ()):
            better = _streamline(domain)
            if better != domain:
                logger.log(logging.INFO if verbose else logging.DEBUG, "%s: %r becomes %r", name, domain, better)
                result[name] = better
    return result


def _streamline(domain: Domain) -> Domain:
    if type(domain) is Categorical:
        return _from_choice(domain)
    if not isinstance(domain, (Float, Integer)) or domain.scale != LINEAR:
        return domain
    is_wide = 0 < domain.lower * _MAX_RATIO < domain.upper
    return type(domain)(**{**domain.kwargs(), "scale": LOG}) if is_wide else domain


def _from_choice(domain: Categorical) -> Domain:
    if len(domain) <= 2 or domain.value_type not in (int, float) or not all(map(is_number, domain.categories)):
        return domain
    values = sorted(domain.categories)
    linear = _r2_against_rank(values)
    log = _r2_against_rank([math.log(value) for value in values]) if values[0] > 0 else -1.0
    if max(linear, log) >= _MIN_R2:
        try:
            return FiniteRange(values[0], values[-1], len(values), log > linear, domain.value_type is int)
        except SpecError:  # rounding to integers would merge two values
            logger.debug("%r is no grid of distinct integers", domain)
    return OrdinalNearestNeighbor(values, log_scale=log > linear)


def _r2_against_rank(values: Sequence[float]) -> float:
    """R^2 of the best straight line through (rank, value)."""
    return float(np.corrcoef(np.arange(len(values)), values)[0, 1]) ** 2
