"""The service's time, which may pass faster than real time."""

from __future__ import annotations

import math
import time

from cloudtune.errors import SpecError

_LONGEST_WAIT_S = 3600.0  # real; a lock's timeout must not be infinite


class ServiceClock:
    """All that the control plane dates, counts, limits and bills is in the seconds of one such clock. The machines
    of jobs have real clocks: their log events, and S3's dates.

    Args:
        scale: Service seconds that pass in one real second.
        start: The first ``now()``, seconds since the Unix epoch. None: the real time.

    Raises:
        SpecError: ``scale`` is not a positive number.
    """

    def __init__(self, scale: float = 1.0, start: float | None = None) -> None:
        if not (scale > 0 and math.isfinite(scale)):
            raise SpecError(
                f"time_scale={scale} is out of range.", "Give 1 for real time, 60 for a minute a second."
            )
        self.scale = scale
        self._start = time.time() if start is None else start
        self._anchor = time.monotonic()

    def resume(self, now: float) -> None:
        """Goes on from ``now``. To be called before anybody has read it."""
        self._start, self._anchor = now, time.monotonic()

    def now(self) -> float:
        """Service seconds since the Unix epoch; never goes backwards."""
        return self._start + self.scale * (time.monotonic() - self._anchor)

    def real(self, seconds: float) -> float:
        """Real seconds that ``seconds`` of the service take."""
        return seconds / self.scale

    def timeout(self, until: float) -> float:
        """Real seconds to wait until the service's time is ``until``: 0 if that has passed, and at most an hour,
        after which the waiter looks again."""
        return max(0.0, min(self.real(until - self.now()), _LONGEST_WAIT_S))
