"""When to do what again: regularly while it works, and ever more rarely while the cloud does not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cloudtune.errors import AwsError

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
#: A lasting failure is told this often, seconds.
_REMIND_S = 600.0


class Activity:
    """Something that is done every ``interval_s`` seconds, and that may fail for a while.

    Args:
        what: For people, as in "Cannot {what} now".
        interval_s: Between two times; 0: whenever asked.
    """

    def __init__(self, what: str, interval_s: float = 0.0) -> None:
        self.interval_s = interval_s
        #: When it is due; may be set to 0 to have it done at once.
        self.due = 0.0
        self._what = what
        self._failures = 0
        self._remind_at = float("-inf")
        self._not_before = 0.0

    def is_due(self, now: float) -> bool:
        return now >= max(self.due, self._not_before)

    def next_at(self) -> float:
        return max(self.due, self._not_before)

    def attempt(self, now: float, action: Callable[[], None]) -> bool:
        """Does it; whether that went well. What the cloud refuses is tried again later; nothing is forgotten."""
        try:
            action()
        except AwsError as error:
            self.postpone(now, error)
            return False
        self.succeeded(now)
        return True

    def postpone(self, now: float, error: AwsError) -> None:
        """It has failed: not before a pause, which doubles from failure to failure."""
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = now + pause_s
        if now >= self._remind_at and self._failures > 2:
            self._remind_at = now + _REMIND_S
            logger.warning("Cannot %s now; it is tried again. %s", self._what, error.message)

    def succeeded(self, now: float) -> None:
        if self._remind_at > float("-inf"):
            logger.info("Can %s again.", self._what)
        self._failures, self._remind_at, self._not_before = 0, float("-inf"), 0.0
        self.due = now + self.interval_s
