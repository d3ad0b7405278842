"""A journal that lives as long as this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cloudtune.errors import Conflict, StoreError
from cloudtune.experiment.events import Event, decode
from cloudtune.stores.lines import check_since, encode_lines


class MemoryStore:
    """An :class:`~cloudtune.experiment.ports.ExperimentStore` for simulations and tests.

    Events are kept as lines of JSON, so that it accepts, refuses and returns exactly what a file would. It
    outlives the tuner that writes to it: after :meth:`close` or :meth:`abandon` another may :meth:`open` it.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._holder: str | None = None
        self._mutex = threading.Lock()

    def open(self, holder: str) -> None:
        with self._mutex:
            if self._holder is not None:
                raise Conflict(f"This journal in memory is held by {self._holder}.", "Close that tuner first.")
            self._holder = holder

    def append(self, events: Sequence[Event]) -> None:
        lines = encode_lines(events)
        with self._mutex:
            if self._holder is None:
                raise StoreError("append to a journal that is not open for writing.", "Call open(holder) first.")
            self._lines.extend(lines)

    def read(self, since: int = 0) -> list[Event]:
        with self._mutex:
            lines = self._lines[check_since(since) :]
        return [decode(line, "the journal in memory") for line in lines]

    def durable(self) -> int:
        """All that was appended: nothing in memory outlives the machine, and nothing pretends to."""
        return len(self._lines)

    def close(self) -> None:
        self._holder = None

    def abandon(self) -> None:
        """What is left of the writer after SIGKILL: nothing."""
        self._holder = None
