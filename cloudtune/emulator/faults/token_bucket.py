"""The service's rate limits."""

from __future__ import annotations


class TokenBucket:
    """Not thread-safe.

    Args:
        per_s: Tokens that come in a second.
        burst: Tokens that it holds; it is full at first.
        now: Time, in seconds, as in :meth:`take`.
    """

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._seen = now

    def take(self, now: float) -> bool:
        """Whether there was a token; it is gone then."""
        self._tokens = min(self._burst, self._tokens + self._per_s * max(0.0, now - self._seen))
        self._seen = max(now, self._seen)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
