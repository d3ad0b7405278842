"""Which resource levels a multi-fidelity scheduler uses: the maximum, and the rungs below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from cloudtune.errors import SpecError

#: Constants of the search space that are taken for the maximum resource level if nothing else names it.
MAX_RESOURCE_KEYS = ("epochs", "max_t", "max_epochs")


def positive_int(value: Any, name: str, minimum: int = 1) -> int:
    """``value`` as int.

    Raises:
        SpecError: If it is not an integer of at least ``minimum``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < minimum:
        raise SpecError(f"{name}={value!r} must be an integer of at least {minimum}.")
    return int(value)


def max_resource_level(
    config_space: Mapping[str, Any], max_resource_attr: str | None, max_t: int | None
) -> int | None:
    """The highest resource level: ``max_t``, else the constant ``config_space[max_resource_attr]``, else the
    first constant among :data:`MAX_RESOURCE_KEYS`; None if there is none of these.

    Raises:
        SpecError: If what was named is not a positive integer.
    """
    of_space = None
    if max_resource_attr is not None and max_resource_attr in config_space:
        of_space = positive_int(config_space[max_resource_attr], f"config_space[{max_resource_attr!r}]")
    if max_t is not None:
        return positive_int(max_t, "max_t")
    if max_resource_attr is not None:
        if of_space is None:
            raise SpecError(
                f"max_resource_attr={max_resource_attr!r} is not in config_space.",
                f"Add the highest level, say config_space[{max_resource_attr!r}] = 27, or pass max_t.",
            )
        return of_space
    for key in MAX_RESOURCE_KEYS:
        if type(config_space.get(key)) is int:
            return positive_int(config_space[key], f"config_space[{key!r}]")
    return None


def require_max_level(config_space: Mapping[str, Any], max_resource_attr: str | None, max_t: int | None) -> int:
    """As :func:`max_resource_level`, but there must be one."""
    level = max_resource_level(config_space, max_resource_attr, max_t)
    if level is None:
        raise SpecError(
            "The scheduler does not know the highest resource level.",
            "Pass max_resource_attr (the constant in config_space that tells the script how far to train), or "
            f"max_t, or name that constant {', '.join(MAX_RESOURCE_KEYS[:-1])} or {MAX_RESOURCE_KEYS[-1]}.",
        )
    return level


def check_factor(value: Any, name: str = "reduction_factor") -> float:
    """``value``, if it is a number of at least 2."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 2 <= value < float("inf"):
        raise SpecError(f"{name}={value!r} must be a number of at least 2.", "3 is the default.")
    return value


def geometric_levels(lowest: int, factor: float, max_t: int) -> list[int]:
    """``lowest * factor**k``, rounded, below ``max_t``."""
    levels, level = [], float(lowest)
    while round(level) < max_t:
        levels.append(round(level))
        level *= factor
    return levels


def choose_levels(
    max_t: int,
    grace_period: int,
    reduction_factor: float,
    rung_increment: int | None,
    rung_levels: Sequence[int] | None,
) -> list[int]:
    """The rung levels below ``max_t``: ``rung_levels`` as given, else ``grace_period`` and every
    ``rung_increment`` from there, else geometric with ``reduction_factor``.

    Raises:
        SpecError: If an argument that counts makes no sense.
    """
    if rung_levels is not None:
        return _given_levels(rung_levels, max_t)
    lowest = positive_int(grace_period, "grace_period")
    if lowest > max_t:
        raise SpecError(
            f"grace_period={lowest} is above the highest resource level, {max_t}.", f"Choose 1 to {max_t}."
        )
    if rung_increment is not None:
        return list(range(lowest, max_t, positive_int(rung_increment, "rung_increment")))
    return geometric_levels(lowest, check_factor(reduction_factor), max_t)


def _given_levels(rung_levels: Sequence[int], max_t: int) -> list[int]:
    levels = [positive_int(level, f"rung_levels[{index}]") for index, level in enumerate(rung_levels)]
    increasing = all(low < high for low, high in pairwise(levels))
    if len(levels) < 2 or not increasing or levels[-1] > max_t:
        raise SpecError(
            f"rung_levels={list(rung_levels)!r} must be two or more increasing integers, the last at most {max_t} "
            "(the highest resource level).",
            f"Say rung_levels={geometric_levels(1, 3, max_t)!r}.",
        )
    return levels[:-1] if levels[-1] == max_t else levels


def bracket_probabilities(levels: Sequence[int], brackets: int) -> list[float]:
    """With which probability a trial begins in bracket 0, 1, ...: proportional to the number of trials that
    synchronous Hyperband begins there (Li et al., JMLR 2018, algorithm 1).

    Args:
        levels: All rung levels, the maximum included; bracket ``s`` begins at ``levels[s]``.
        brackets: At most ``len(levels)``.
    """
    size = len(levels)
    weights = [size / (size - s) * levels[-1] / levels[s] for s in range(brackets)]
    return [weight / sum(weights) for weight in weights]
