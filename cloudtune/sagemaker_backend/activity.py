"""When to do what again: regularly while it works, and ever more rarely while the cloud does not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cloudtune.errors import AwsError
from cloudtune.sagemaker_backend.patience import Patience

logger = logging.getLogger(__name__)

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
        self._patience = Patience()
        self._remind_at = float("-inf")

    def is_due(self, now: float) -> bool:
        return now >= max(self.due, self._patience.not_before)

    def next_at(self) -> float:
        return max(self.due, self._patience.not_before)

    def hurry(self) -> None:
        """Whatever has failed: there is something new to be tried."""
        self._patience.not_before = float("-inf")

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
        self._patience.failed(now)
        if now >= self._remind_at and self._patience.failures > 2:
            self._remind_at = now + _REMIND_S
            logger.warning("Cannot %s now; it is tried again. %s", self._what, error.message)

    def succeeded(self, now: float) -> None:
        if self._remind_at > float("-inf"):
            logger.info("Can %s again.", self._what)
        self._patience.succeeded()
        self._remind_at = float("-inf")
        self.due = now + self.interval_s
