"""Trying again, by class of error, with jitter, interruptible."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cloudtune.clock import Clock
from cloudtune.errors import AwsError, Throttled, Unreachable

T = TypeVar("T")
_SLICE_S = 0.25  # how long an interrupt may go unnoticed


class Interrupted(AwsError):
    """The caller asked to end while something waited."""


@dataclass(frozen=True)
class Wait:
    """How long to go on after one class of error.

    The n-th pause is drawn between half of and the whole of ``min(cap_s, base_s * 2**n)``: never zero, so that a
    crowd of clients does not come back at once, and never so long that a person believes it hangs.
    """

    base_s: float
    cap_s: float
    #: Seconds paused in all for this class of error beyond which it is raised.
    give_up_after_s: float

    def pause_s(self, failures: int, rng: random.Random) -> float:
        limit = min(self.cap_s, self.base_s * 2.0 ** min(failures, 32))
        return limit * rng.uniform(0.5, 1.0)


#: The connection and throttling alone: what every call may retry.
TRANSIENT: dict[type[AwsError], Wait] = {
    Throttled: Wait(base_s=1.0, cap_s=30.0, give_up_after_s=300.0),
    Unreachable: Wait(base_s=0.5, cap_s=10.0, give_up_after_s=30.0),
}


@dataclass
class Retry:
    """Calls until it succeeds, gives up, or is interrupted. One instance may be shared by threads.

    Args:
        waits: How to wait after which class of error; other errors are raised at once.
        interrupt: Set by whoever wants the waiting to end.
        on_wait: Told about each pause: the error, and its seconds.
    """

    clock: Clock
    waits: dict[type[AwsError], Wait] = field(default_factory=lambda: dict(TRANSIENT))
    interrupt: threading.Event = field(default_factory=threading.Event)
    on_wait: Callable[[AwsError, float], None] | None = None
    rng: random.Random = field(default_factory=random.Random)

    def call(self, function: Callable[[], T]) -> T:
        """The result of ``function``.

        Raises:
            AwsError: The last one, if its class is not to be retried or has lasted too long.
            Interrupted: If ``interrupt`` was set while waiting.
        """
        failures: dict[type[AwsError], int] = {}
        paused_s: dict[type[AwsError], float] = {}
        while True:
            try:
                return function()
            except AwsError as error:
                cls = self._class_of(error)
                if cls is None or paused_s.get(cls, 0.0) >= self.waits[cls].give_up_after_s:
                    raise
                pause_s = self.waits[cls].pause_s(failures.get(cls, 0), self.rng)
                failures[cls] = failures.get(cls, 0) + 1
                paused_s[cls] = paused_s.get(cls, 0.0) + pause_s
                if self.on_wait is not None:
                    self.on_wait(error, pause_s)
                self.sleep(pause_s)

    def sleep(self, seconds: float) -> None:
        """Sleeps in slices; raises Interrupted as soon as ``interrupt`` is set."""
        until = self.clock.now() + seconds
        while True:
            if self.interrupt.is_set():
                raise Interrupted("Interrupted while waiting for AWS.")
            remaining = until - self.clock.now()
            if remaining <= 0:
                return
            self.clock.sleep(min(remaining, _SLICE_S))

    def _class_of(self, error: AwsError) -> type[AwsError] | None:
        return next((cls for cls in self.waits if isinstance(error, cls)), None)
