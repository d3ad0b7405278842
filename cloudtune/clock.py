"""The only place that reads time. Decisions never do: they see the elapsed seconds that the journal records."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the tuner sees it."""

    def now(self) -> float:
        """Seconds since the Unix epoch; never goes backwards within one process."""
        ...

    def sleep(self, seconds: float) -> None:
        """Returns after ``seconds``."""
        ...


class WallClock:
    """Real time. Anchored once to the system's clock, then advanced by the monotonic one, so that
    an adjustment of the system's clock changes no duration and no order."""

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def now(self) -> float:
        return self._anchor + time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class SleeplessClock(WallClock):
    """Real time that goes on while the machine sleeps, as a laptop does with its lid closed."""

    #: Linux has a clock for that; on macOS, this one is.
    _ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        self._anchor = time.time() - time.clock_gettime(self._ID)

    def now(self) -> float:
        return self._anchor + time.clock_gettime(self._ID)


class VirtualClock:
    """Time that passes only when somebody sleeps: a thousand hours take milliseconds.

    Args:
        start: The first ``now()``.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += max(0.0, seconds)

    def advance_to(self, instant: float) -> None:
        """Jumps to ``instant``, never backwards."""
        with self._lock:
            self._now = max(self._now, instant)
