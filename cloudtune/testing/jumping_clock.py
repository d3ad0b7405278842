"""A machine's clock that is set, or that a sleep of the machine has left behind."""

from __future__ import annotations

from cloudtune.clock import WallClock


class JumpingClock(WallClock):
    """Real time, and jumps. Within a process only forward: :class:`~cloudtune.clock.WallClock` is anchored to the
    monotonic clock, which knows no others. From one process to the next in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s

    def jump(self, seconds: float) -> None:
        self.ahead_s += seconds
