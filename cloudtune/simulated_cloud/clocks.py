"""Three clocks: the true time, that of the machine of the tuner, and that of the event that is being played."""

from __future__ import annotations

from cloudtune.clock import VirtualClock
from cloudtune.emulator.service_clock import ServiceClock


class MachineClock(VirtualClock):
    """The clock of the tuner's machine. It goes as the true one does, except when it jumps.

    Args:
        true: Of the service; moves with this one.
    """

    def __init__(self, true: VirtualClock) -> None:
        super().__init__()
        self._true = true
        self._ahead_s = 0.0

    def now(self) -> float:
        return self._true.now() + self._ahead_s

    def sleep(self, seconds: float) -> None:
        self._true.sleep(seconds)

    def advance_to(self, instant: float) -> None:
        self._true.advance_to(instant - self._ahead_s)

    def jump(self, seconds: float) -> None:
        """Forward: it is set. Backward: the machine sleeps (its lid is closed), and the world goes on; no clock
        goes back within a process."""
        self._ahead_s += seconds
        if seconds < 0:
            self._true.sleep(-seconds)


class EventClock(ServiceClock):
    """The service's time, as the jobs see it: that of the event that is being played."""

    def __init__(self, now: float) -> None:
        super().__init__(start=now)
        self.time = now

    def now(self) -> float:
        return self.time
