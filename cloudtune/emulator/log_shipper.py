"""What a job prints: to CloudWatch Logs in near real time, and searched for metrics."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from typing import Any

import regex

from cloudtune.emulator.object_store import LogStore, StoreFailed
from cloudtune.emulator.processes import readable
from cloudtune.emulator.service_error import JsonObject

_log = logging.getLogger(__name__)
_FLUSH_S = 0.2
_DRAIN_S = 0.5  # without output after the end, where somebody still holds the pipe
_READ_BYTES = 1 << 16
_MAX_EVENT_BYTES = 250_000
_MAX_BATCH_EVENTS = 10_000
# moto keeps logs in memory, where each event takes some space of its own.
_MAX_LOG_BYTES = 512 << 20
_EVENT_BYTES = 400
_MATCH_TIMEOUT_S = 0.2


class MetricExtractor:
    """The newest value of each of a job's metric definitions."""

    def __init__(self, definitions: list[JsonObject]) -> None:
        self._patterns: list[tuple[str, Any]] = [
            (item["Name"], regex.compile(item["Regex"])) for item in definitions
        ]
        self._latest: dict[str, JsonObject] = {}

    def scan(self, line: str) -> None:
        for name, pattern in self._patterns:
            try:
                found = pattern.search(line, timeout=_MATCH_TIMEOUT_S)
                value = float(found[1]) if found else math.nan
            except (TimeoutError, IndexError, TypeError, ValueError):
                continue
            if math.isfinite(value):
                self._latest[name] = {"MetricName": name, "Value": value, "Timestamp": time.time()}

    def final(self) -> list[JsonObject]:
        """FinalMetricDataList."""
        return list(self._latest.values())


class LogShipper:
    """Reads one attempt's output in a thread of its own until it ends.

    Args:
        output: File descriptor to read; not closed here.
        logs: Where it goes.
        stream: Name of an existing stream.
        metrics: Sees each line.
    """

    def __init__(self, output: int, logs: LogStore, stream: str, metrics: MetricExtractor) -> None:
        self._output = output
        self._logs = logs
        self._stream = stream
        self._metrics = metrics
        self._rest = b""
        self._events: list[JsonObject] = []
        self._shipped_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """To be called when the job's processes have ended: ships what is left, then returns."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        flushed = time.monotonic()
        quiet_since = time.monotonic()
        while True:
            is_readable = readable(self._output, _FLUSH_S)
            now = time.monotonic()
            if is_readable:
                chunk = os.read(self._output, _READ_BYTES)
                if not chunk:
                    break
                quiet_since = now
                self._feed(chunk)
            elif self._ended.is_set() and now - quiet_since > _DRAIN_S:
                break
            if now - flushed >= _FLUSH_S or len(self._events) >= _MAX_BATCH_EVENTS:
                self._flush()
                flushed = now
        if self._rest:
            self._line(self._rest)
        self._flush()

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
        self._metrics.scan(text)
        over = self._shipped_bytes > _MAX_LOG_BYTES
        self._shipped_bytes += len(line) + _EVENT_BYTES
        if over:
            return
        if self._shipped_bytes > _MAX_LOG_BYTES:
            text = f"(the emulator keeps {_MAX_LOG_BYTES >> 20} MiB of log per attempt; the rest is dropped)"
        self._events.append({"timestamp": int(time.time() * 1000), "message": text})

    def _flush(self) -> None:
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
