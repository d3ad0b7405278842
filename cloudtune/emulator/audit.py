"""What happened, as JSON lines: every call, transition, bill and fault. Tests query it; the live view shows it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from heapq import merge
from itertools import islice
from pathlib import Path

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import SpecError

_log = logging.getLogger(__name__)
KINDS = ("call", "transition", "billed", "fault", "emulator")
_KEPT = 20_000  # entries of each kind, in memory
_LARGE_BYTES = 64 << 20
_encode = json.JSONEncoder(default=str).encode


class AuditLog:
    """An append-only record. Thread-safe. Memory holds the newest 20,000 entries of each kind, so that many calls
    do not push a transition out; files hold all.

    Each entry has ``number`` (from 0), ``time`` (real seconds since the epoch), ``kind``, and its kind's facts.
    Times called ``service_time`` and durations, except where noted, are of the service's clock:

    - ``call``: ``service``, ``operation``, ``status`` (HTTP; null: the connection was cut), ``error`` (the code,
      or null), ``seconds`` (real, until the answer began), ``role`` (name of the caller's, if it has assumed one,
      as jobs have), and what it names: ``job``, or ``bucket`` and ``key``. Neither bodies nor credentials nor
      queries are recorded. Service ``emulator``: its own pages, except GET.
    - ``transition``: ``job``, ``phase``, ``status``, ``service_time``
    - ``billed``: ``job``, ``what`` (``training``: one attempt, or ``warm_pool``), ``attempt`` (its number),
      ``seconds``, ``billable_seconds``, ``instances`` (list of ``instance_type``, ``instance_count``), ``spot``
    - ``fault``: ``fault`` (its name), ``service_time``, and what it hit
    - ``emulator``: ``event`` (``start``, ``reset``, ``end``)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, deque[JsonObject]] = {kind: deque(maxlen=_KEPT) for kind in KINDS}
        self._next = 0
        self._calls = 0
        self._errors = 0
        self._faults = 0
        self._files: list[int] = []

    def write_to(self, path: Path) -> None:
        """Appends what comes from now on to that file as well, line by line. One above 64 MiB is put aside first,
        as ``NAME.old``.

        Raises:
            SpecError: It cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.stat().st_size > _LARGE_BYTES:
                path.replace(path.with_name(f"{path.name}.old"))
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpecError(
                f"The audit log {path} cannot be written ({error.strerror}).",
                "Choose a file in a folder of yours.",
            ) from error
        with self._lock:
            self._files.append(file)

    def record(self, kind: str, **facts: object) -> None:
        """Appends an entry of one of :data:`KINDS`; facts that are not JSON are written as text. A file that
        cannot be written any more is given up, and said in the log."""
        with self._lock:
            entry: JsonObject = {"number": self._next, "time": time.time(), "kind": kind, **facts}
            self._kept[kind].append(entry)
            self._next += 1
            if kind == "call":
                self._calls += 1
                self._errors += facts.get("error") is not None
            self._faults += kind == "fault"
            if self._files:
                self._write(f"{_encode(entry)}\n".encode())

    def _write(self, line: bytes) -> None:
        for file in list(self._files):
            try:
                os.write(file, line)  # in one piece: whoever reads meanwhile, or a kill, finds whole lines
            except OSError as error:
                _log.error("the audit log ends: %s", error)
                self._files.remove(file)
                os.close(file)

    def entries(self, kind: str | None = None, since: int = 0, job: str | None = None) -> list[JsonObject]:
        """What is in memory, in order: from number ``since`` on, of that kind, about that job. Not to be changed.

        Raises:
            SpecError: There is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise SpecError(f"There is no kind {kind!r} of audit entries.", f"Valid: {', '.join(KINDS)}.")
        with self._lock:
            found = [_since(kept, since) for name, kept in self._kept.items() if kind in (None, name)]
        ordered: Iterable[JsonObject] = merge(*found, key=lambda entry: int(entry["number"]))
        return [entry for entry in ordered if job is None or entry.get("job") == job]

    def newest(self, kind: str, count: int) -> list[JsonObject]:
        """At most ``count`` entries, in order."""
        with self._lock:
            return list(islice(reversed(self._kept[kind]), count))[::-1]

    def counts(self) -> JsonObject:
        """``entries`` (the number of the next one), ``calls``, their ``errors``, ``faults``; since the start."""
        with self._lock:
            counts = {"calls": self._calls, "errors": self._errors, "faults": self._faults}
            return {"entries": self._next, **counts}

    def forget(self) -> None:
        """Empties the memory; numbers go on, files keep all."""
        with self._lock:
            for kept in self._kept.values():
                kept.clear()

    def close(self) -> None:
        """Ends the files. The memory stays readable."""
        with self._lock:
            for file in self._files:
                os.close(file)
            self._files.clear()


def _since(kept: deque[JsonObject], since: int) -> list[JsonObject]:
    """The tail of ``kept`` from that number on; costs what it returns."""
    found = []
    for entry in reversed(kept):
        if entry["number"] < since:
            break
        found.append(entry)
    return found[::-1]
