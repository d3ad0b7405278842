"""The random seed of an experiment."""

from __future__ import annotations

import secrets
from numbers import Integral
from typing import Any

from cloudtune.errors import SpecError


class Seed:
    """The number of which every draw is a function.

    Args:
        value: A non-negative integer; None draws one from the operating system, once.
    """

    def __init__(self, value: int | None) -> None:
        self.given = value is not None
        self.value = secrets.randbits(31) if value is None else _check_seed(value)
        #: Set when the first decision was taken; the seed stays from then on.
        self.in_use = False

    def replace(self, value: int) -> None:
        """Continues with another seed, say that of an experiment which is resumed.

        Raises:
            SpecError: If something was decided already.
        """
        if self.in_use and value != self.value:
            raise SpecError(
                f"The random seed cannot change from {self.value} to {value} after the first trial has started.",
                "Build a new scheduler with random_seed.",
            )
        self.value = _check_seed(value)


def _check_seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 0:
        raise SpecError(f"random_seed={value!r} must be an integer of at least 0, or None.")
    return int(value)
