"""Spreading calls over time, before the service has to."""

from __future__ import annotations

import threading

from cloudtune.clock import Clock


class TokenBucket:
    """At most ``burst`` calls at once, and ``rate_per_s`` in the long run. Thread-safe.

    It only says how long to wait; the caller sleeps, so that it can be interrupted. Who does not wait uses
    :meth:`try_take`.
    """

    def __init__(self, clock: Clock, rate_per_s: float, burst: int = 1) -> None:
        self._clock = clock
        self._interval_s = 1.0 / rate_per_s
        self._slack_s = (burst - 1) * self._interval_s
        self._booked_until = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Takes the next free place; returns the seconds until it is there."""
        with self._lock:
            now = self._clock.now()
            start = max(now, self._booked_until - self._slack_s)
            self._booked_until = max(self._booked_until, now) + self._interval_s
            return start - now

    def try_take(self, count: int = 1) -> bool:
        """Takes ``count`` places, all or none, if they are free now. More than ``burst`` never are."""
        with self._lock:
            now = self._clock.now()
            begun = max(self._booked_until, now)
            if begun + (count - 1) * self._interval_s - self._slack_s > now:
                return False
            self._booked_until = begun + count * self._interval_s
            return True

    def ready_at(self) -> float:
        """The time on its clock from which on a place is free, unless somebody else takes it before."""
        with self._lock:
            return max(self._booked_until - self._slack_s, self._clock.now())

    def hold(self, seconds: float) -> None:
        """Gives no place away for that long: the service has said that it is too much."""
        with self._lock:
            self._booked_until = max(self._booked_until, self._clock.now() + seconds + self._slack_s)
