"""What is to happen when."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

Action = Callable[[], None]


class Agenda:
    """Events in the order of their times, and of their entries where these are equal."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Action]] = []
        self._entries = 0

    def at(self, when: float, action: Action) -> None:
        """``action`` is to be called at ``when``, seconds since the epoch by the service's clock."""
        heapq.heappush(self._heap, (when, self._entries, action))
        self._entries += 1

    def next_at(self) -> float:
        """When something is due next; infinity if nothing is."""
        return self._heap[0][0] if self._heap else math.inf

    def pop(self) -> Action:
        """The next event, which is then no longer to come."""
        return heapq.heappop(self._heap)[2]
