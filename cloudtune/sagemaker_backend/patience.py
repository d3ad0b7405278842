"""Many things of one kind are to be done, and some of them fail: none keeps the others waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from cloudtune.errors import AwsError

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0

T = TypeVar("T")


@dataclass
class Patience:
    """What fails is left alone, each time twice as long."""

    failures: int = 0
    #: Seconds on the clock.
    not_before: float = float("-inf")

    def failed(self, now: float) -> None:
        self.not_before = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 10))
        self.failures += 1

    def succeeded(self) -> None:
        self.failures, self.not_before = 0, float("-inf")


def each_in_turn(
    items: Iterable[T], patience: Callable[[T], Patience], now: float, action: Callable[[T], bool]
) -> None:
    """Does ``action`` with those that are not to be left alone, the ones that have failed least often first.

    Args:
        patience: Of an item.
        action: Whether the item has succeeded; False: it may be tried again as it is.

    Raises:
        AwsError: Of the second one in a row that fails, or of the only one: the cause is not the item.
    """
    due = [item for item in items if patience(item).not_before <= now]
    error: AwsError | None = None
    for item in sorted(due, key=lambda item: patience(item).failures):
        try:
            if action(item):
                patience(item).succeeded()
        except AwsError as failure:
            patience(item).failed(now)
            if error is not None or len(due) == 1:
                raise
            error = failure
        else:
            error = None
