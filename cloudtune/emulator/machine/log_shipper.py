"""What a job prints: to CloudWatch Logs in near real time, and searched for metrics."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import regex

from cloudtune.emulator.control.rules import ML_ROOT
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import LogStore, StoreFailed
from cloudtune.emulator.service_error import JsonObject

_log = logging.getLogger(__name__)
_FLUSH_S = 0.2
_DRAIN_S = 0.5  # without output after the end, where somebody still holds the pipe
_FINISH_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 16
_MAX_EVENT_BYTES = 250_000
_MAX_BATCH_EVENTS = 10_000
# moto keeps logs in memory, where each event takes some space of its own.
_MAX_LOG_BYTES = 512 << 20
_EVENT_BYTES = 400
_MATCH_TIMEOUT_S = 0.2
# Seconds for the last hundred lines or so, after which a pattern is given up: who searches works for all jobs.
_MOST_MATCH_S = 0.5
_OLD_COUNTS = 0.99


class MetricExtractor:
    """The newest value of each of a job's metric definitions. Belongs to one thread at a time.

    Args:
        definitions: ``MetricDefinitions`` of the request.
        now: The service's time, which dates them.
    """

    def __init__(self, definitions: list[JsonObject], now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._patterns: list[tuple[str, Any]] = [
            (item["Name"], regex.compile(item["Regex"])) for item in definitions
        ]
        self._spent_s: dict[str, float] = {}
        self._latest: dict[str, JsonObject] = {}

    def scan(self, line: str) -> None:
        for name, pattern in self._patterns:
            spent_s = self._spent_s.get(name, 0.0)
            if spent_s >= _MOST_MATCH_S:
                continue
            began, least_s = time.thread_time(), 0.0
            try:
                found = pattern.search(line, timeout=_MATCH_TIMEOUT_S)
                value = float(found[1]) if found else math.nan
            except TimeoutError:
                least_s, value = _MATCH_TIMEOUT_S, math.nan
            except (IndexError, TypeError, ValueError):
                value = math.nan
            self._spent_s[name] = _OLD_COUNTS * spent_s + max(least_s, time.thread_time() - began)
            if math.isfinite(value):
                self._latest[name] = {"MetricName": name, "Value": value, "Timestamp": self._now()}

    def final(self) -> list[JsonObject]:
        """FinalMetricDataList."""
        return list(self._latest.values())


class LogShipper:
    """Ships the output of one host until it ends, in the waiting thread of ``threads``.

    Args:
        output: File descriptor to read; not closed here, and not to be closed before :meth:`finish`.
        logs: Where it goes.
        stream: Name of an existing stream.
        metrics: Sees each line.
        threads: Read, search and ship.
    """

    def __init__(
        self, output: int, logs: LogStore, stream: str, metrics: MetricExtractor, threads: SharedThreads
    ) -> None:
        self._output = output
        self._logs = logs
        self._stream = stream
        self._metrics = metrics
        self._threads = threads
        self._rest = b""
        self._events: list[JsonObject] = []
        self._will_flush = False
        self._shipped_bytes = 0
        self._last_output = time.monotonic()
        self._give_up = math.inf
        self._names_ml_root = False
        self._remarked = False
        self._done = threading.Event()

    def start(self, note: str | None) -> None:
        """``note``: the emulator's own first line, if any."""
        if note is not None:
            self._feed(f"{note}\n".encode())
        self._threads.watch(self._output, self._read)

    def finish(self, remark: str | None = None) -> None:
        """To be called when the job's processes have ended: ships what is left, then returns. Who still prints,
        having got away, is listened to no longer than so.

        Args:
            remark: The emulator's own last line, for a job whose output names ``/opt/ml``.
        """
        self._give_up = time.monotonic() + _FINISH_TIMEOUT_S
        self._threads.call(self._end_when_quiet)
        if not self._done.wait(2 * _FINISH_TIMEOUT_S):
            _log.warning("the end of log %s is lost", self._stream)
        elif remark is not None and self._names_ml_root and not self._remarked:
            self._remarked = True
            said = threading.Event()
            self._threads.call(lambda: self._remark(remark, said))
            said.wait(_FINISH_TIMEOUT_S)

    def _remark(self, remark: str, said: threading.Event) -> None:
        try:
            self._line(remark.encode())
            self._flush()
        finally:
            said.set()

    def _read(self) -> None:
        chunk = os.read(self._output, _READ_BYTES)
        if not chunk:
            self._end()
            return
        self._last_output = time.monotonic()
        self._feed(chunk)
        if len(self._events) >= _MAX_BATCH_EVENTS:
            self._flush()
        elif self._events and not self._will_flush:
            self._will_flush = True
            self._threads.call_later(_FLUSH_S, self._flush)

    def _end_when_quiet(self) -> None:
        if self._done.is_set():
            return
        wait_s = min(self._last_output + _DRAIN_S, self._give_up) - time.monotonic()
        if wait_s > 0:
            self._threads.call_later(wait_s, self._end_when_quiet)
        else:
            self._end()

    def _end(self) -> None:
        self._threads.forget(self._output)
        try:
            if self._rest:
                self._line(self._rest)
                self._rest = b""
            self._flush()
        finally:
            self._done.set()

    def _feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._rest) > _MAX_EVENT_BYTES:
            self._line(self._rest[:_MAX_EVENT_BYTES])
            self._rest = self._rest[_MAX_EVENT_BYTES:]

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if not text:
            return  # the service takes no empty events
        self._names_ml_root = self._names_ml_root or ML_ROOT in text
        self._metrics.scan(text)
        over = self._shipped_bytes > _MAX_LOG_BYTES
        self._shipped_bytes += len(line) + _EVENT_BYTES
        if over:
            return
        if self._shipped_bytes > _MAX_LOG_BYTES:
            text = f"(the emulator keeps {_MAX_LOG_BYTES >> 20} MiB of log per attempt; the rest is dropped)"
        self._events.append({"timestamp": int(time.time() * 1000), "message": text})

    def _flush(self) -> None:
        self._will_flush = False
        events, self._events = self._events, []
        last = 0
        for event in events:  # the system's clock may have been set back
            last = event["timestamp"] = max(last, event["timestamp"])
        for start in range(0, len(events), _MAX_BATCH_EVENTS):
            try:
                self._logs.put(self._stream, events[start : start + _MAX_BATCH_EVENTS])
            except StoreFailed as error:  # a user has deleted it; the job must not block on a full pipe
                _log.warning("%d lines are lost: %s", len(events) - start, error)
                return
