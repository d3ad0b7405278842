"""The functions with which people write search spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.finite import (
    Categorical,
    FiniteRange,
    Ordinal,
    OrdinalNearestNeighbor,
    is_increasing,
)
from cloudtune.config_space.numeric import Float, Integer
from cloudtune.config_space.scale import LOG, REVERSE_LOG
from cloudtune.errors import SpecError


def uniform(lower: float, upper: float) -> Float:
    """Floats in [lower, upper], evenly spread."""
    return Float(lower, upper)


def loguniform(lower: float, upper: float) -> Float:
    """Floats in [lower, upper], lower > 0, evenly spread in their logarithm."""
    return Float(lower, upper, LOG)


def reverseloguniform(lower: float, upper: float) -> Float:
    """Floats in [lower, upper], 0 <= lower, upper < 1, with -log(1 - x) evenly spread: most of them near 1."""
    return Float(lower, upper, REVERSE_LOG)


def randint(lower: int, upper: int) -> Integer:
    """Integers from lower to upper, **both included**, equally likely."""
    return Integer(lower, upper)


def lograndint(lower: int, upper: int) -> Integer:
    """Integers from lower to upper, both included, lower > 0, evenly spread in their logarithm."""
    return Integer(lower, upper, LOG)


def choice(categories: Sequence[Any]) -> Categorical:
    """One of the values, equally likely, without order."""
    return Categorical(categories)


def ordinal(categories: Sequence[Any], kind: str | None = None) -> Ordinal:
    """One of the values, whose order matters.

    Args:
        categories: The values in their order.
        kind: ``"equal"``: neighbours are equally far apart; ``"nn"``: as far as their values are;
            ``"nn-log"``: as far as the logarithms of their values are. Default ``"nn"`` for increasing
            numbers, else ``"equal"``.
    """
    equal = Ordinal(categories)
    if kind == "equal" or (kind is None and not is_increasing(equal.categories)):
        return equal
    kind = kind or "nn"
    if kind in ("nn", "nn-log"):
        return OrdinalNearestNeighbor(categories, log_scale=kind == "nn-log")
    raise SpecError(f"ordinal: unknown kind {kind!r}.", "Valid kinds: equal, nn, nn-log.")


def logordinal(categories: Sequence[Any]) -> Ordinal:
    """``ordinal`` of kind ``"nn-log"``: increasing positive numbers."""
    return ordinal(categories, kind="nn-log")


def finrange(lower: float, upper: float, size: int, cast_int: bool = False) -> FiniteRange:
    """``size`` equally spaced numbers from lower to upper; with ``cast_int`` rounded to integers."""
    return FiniteRange(lower, upper, size, cast_int=cast_int)


def logfinrange(lower: float, upper: float, size: int, cast_int: bool = False) -> FiniteRange:
    """``size`` numbers from lower > 0 to upper with equal ratios; with ``cast_int`` rounded to integers."""
    return FiniteRange(lower, upper, size, log_scale=True, cast_int=cast_int)


def quniform(lower: float, upper: float, q: float) -> Float:
    """The multiples of q in [lower, upper], equally likely."""
    return Float(lower, upper, q=q)


def qloguniform(lower: float, upper: float, q: float) -> Float:
    """The multiples of q in [lower, upper], lower > 0, evenly spread in their logarithm."""
    return Float(lower, upper, LOG, q)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """The integer multiples of q from lower to upper, both included, equally likely."""
    return Integer(lower, upper, q=q)


def qlograndint(lower: int, upper: int, q: int = 1) -> Integer:
    """The integer multiples of q from lower > 0 to upper, both included, evenly spread in their logarithm."""
    return Integer(lower, upper, LOG, q)


def is_log_space(domain: Domain) -> bool:
    """Whether values are evenly spread in their logarithm."""
    return domain.scale == LOG


def is_reverse_log_space(domain: Domain) -> bool:
    """Whether -log(1 - x) is evenly spread."""
    return domain.scale == REVERSE_LOG


def is_uniform_space(domain: Domain) -> bool:
    """Whether values are evenly spread as they are."""
    return domain.scale == "linear"


def restrict_domain(numerical_domain: Domain, lower: Any, upper: Any) -> Domain:
    """The part of a numerical domain that lies in [lower, upper].

    Raises:
        SpecError: If [lower, upper] reaches beyond the domain, holds none of its values, or the domain has
            no order.
    """
    if isinstance(numerical_domain, (Float, Integer)):
        _check_inside(numerical_domain.lower, numerical_domain.upper, lower, upper)
        if isinstance(numerical_domain, Float):
            return Float(lower, upper, numerical_domain.scale, numerical_domain.q)
        return Integer(lower, upper, numerical_domain.scale, numerical_domain.q)
    if isinstance(numerical_domain, FiniteRange):
        return _restrict_grid(numerical_domain, lower, upper)
    if isinstance(numerical_domain, OrdinalNearestNeighbor):
        categories = numerical_domain.categories
        _check_inside(categories[0], categories[-1], lower, upper)
        return OrdinalNearestNeighbor(
            [value for value in categories if lower <= value <= upper], numerical_domain.log_scale
        )
    raise SpecError(
        f"{type(numerical_domain).__name__} cannot be restricted to [{lower}, {upper}].",
        "Only Float, Integer, FiniteRange and OrdinalNearestNeighbor can.",
    )


def _restrict_grid(domain: FiniteRange, lower: float, upper: float) -> Domain:
    _check_inside(domain.values[0], domain.values[-1], lower, upper)
    inside = [i for i, value in enumerate(domain.values) if lower <= value <= upper]
    if not inside:
        raise SpecError(f"No value of {domain.domain_str} lies in [{lower}, {upper}].", "Widen the range.")
    first, last = inside[0], inside[-1]
    ends = domain.grid[first], domain.grid[last]
    part = FiniteRange(*ends, len(inside), domain.log_scale, domain.cast_int)
    values = domain.values[first : last + 1]
    if domain.cast_int and part.values != values:  # a grid value near one half was rounded the other way
        return OrdinalNearestNeighbor(values, domain.log_scale)
    return part


def _check_inside(outer_lower: float, outer_upper: float, lower: float, upper: float) -> None:
    if not outer_lower <= lower <= upper <= outer_upper:
        raise SpecError(
            f"[{lower}, {upper}] is not a range inside of [{outer_lower}, {outer_upper}].",
            "Choose bounds between these.",
        )
