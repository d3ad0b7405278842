"""What happened, as JSON lines: every call, transition, bill and fault. Tests query it; the live view shows it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from cloudtune.emulator.service_error import JsonObject

_KEPT = 100_000  # in memory


class AuditLog:
    """An append-only record. Thread-safe.

    Each entry has ``number`` (from 0), ``time`` (real seconds since the epoch), ``kind``, and its kind's facts:

    - ``call``: ``service``, ``operation``, ``status``, ``error`` (code, or null), ``seconds``
    - ``transition``: ``job``, ``phase``, ``status``, ``service_time``
    - ``billed``: ``job``, ``attempt``, ``seconds``, ``billable_seconds``
    - ``fault``: ``fault`` (its name), and what it hit
    - ``emulator``: ``event``

    Args:
        path: File to append to; None keeps the record in memory alone, where only the newest entries stay.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._entries: deque[JsonObject] = deque(maxlen=_KEPT)
        self._number = 0
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)

    def record(self, kind: str, **facts: object) -> None:
        """Appends an entry; never raises for facts that are not JSON (they are written as text)."""
        with self._lock:
            entry: JsonObject = {"number": self._number, "time": time.time(), "kind": kind, **facts}
            self._number += 1
            self._entries.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(entry, default=str) + os.linesep)

    def entries(self, kind: str | None = None, since: int = 0) -> list[JsonObject]:
        """Entries from number ``since`` on, of that kind or of all."""
        with self._lock:
            return [e for e in self._entries if e["number"] >= since and kind in (None, e["kind"])]

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
