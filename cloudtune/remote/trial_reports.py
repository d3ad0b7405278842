"""Uploads a trial's reports while it runs, in a thread of its own: S3 never holds the script up.

What has been reported is kept until the end, so that whatever S3 refuses, delays, tears or loses is written again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from cloudtune.aws.objects import S3Objects
from cloudtune.clock import Clock, WallClock
from cloudtune.errors import AlreadyExists, CloudtuneError, Throttled, Unreachable
from cloudtune.paths import S3Uri
from cloudtune.remote.process1 import say
from cloudtune.remote.report_segments import Segments
from cloudtune.report_stream import (
    END,
    HELLO,
    REPORT,
    RepetitionFilter,
    decode_lines,
    encode_line,
    object_name,
    parse_object_name,
    reports_in,
)

#: Uploads begin this long after the first report of a batch, seconds.
_BATCH_S = 0.1
#: From the beginning of one upload to that of the next, seconds: requests are paid for one by one.
_PACE_S = 0.4
#: How often S3 is asked whether it still has what it has confirmed, seconds.
CHECK_S = 60.0
#: Rounds of writing again what is not there.
_REPAIRS = 3
#: First and longest pause after a failure that passes, seconds; and after a refusal.
_RETRY_S, _LONGEST_RETRY_S, _REFUSED_S = 0.5, 30.0, 60.0
#: While the job waits for its end, seconds.
_LAST_RETRY_S = 1.0
#: A lasting failure is told this often, seconds.
_REMIND_S = 600.0
#: What passes; everything else is a refusal, which need not last either.
_PASSING = (Throttled, Unreachable, AlreadyExists)


class TrialReports:
    """The stream of one job's reports (:mod:`cloudtune.report_stream`), written by one run of it.

    Args:
        objects: Access to S3.
        uri: Prefix of the job's reports.
        resource_attr: Key of the resource level in reports, if there is one.
        host: For the tuner to see.
        on_level: Told up to which level S3 has the reports, by earlier runs and by this one.
        clock: For the pace of uploads.
    """

    def __init__(
        self,
        objects: S3Objects,
        uri: S3Uri,
        resource_attr: str | None,
        host: str,
        on_level: Callable[[int], None],
        clock: Clock | None = None,
    ) -> None:
        #: Set when earlier runs are known and S3 has taken the first line; or when S3 has refused.
        self.begun = threading.Event()
        #: Whether S3 has all reports and the end.
        self.is_complete = False
        self._objects = objects
        self._uri = uri
        self._resource_attr = resource_attr
        self._host = host
        self._on_level = on_level
        self._clock = clock or WallClock()
        self._reports: deque[dict[str, Any]] = deque()
        self._end: dict[str, Any] | None = None
        self._news = threading.Event()
        self._ending = threading.Event()
        self._filter = RepetitionFilter(resource_attr)
        self._run = 0
        self._segments = Segments()
        self._check_at = 0.0
        self._failures = 0
        self._is_refused = False
        self._remind_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="cloudtune-reports", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, metrics: dict[str, Any]) -> None:
        """A report was made. Never waits."""
        self._reports.append(metrics)
        self._news.set()

    def finish(self, end: dict[str, Any]) -> None:
        """No more reports come; ``end`` says how the script has ended. What S3 lacks is uploaded now."""
        self._end = end
        self._ending.set()
        self._news.set()

    def join(self, timeout_s: float) -> bool:
        """Waits for the end of the last uploads; whether there is nothing more to wait for."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- the thread

    def _work(self) -> None:
        while not self._try(self._begin):
            if self._gives_up():
                return
        while True:
            self._news.wait(max(0.0, self._check_at - self._clock.now()))
            self._ending.wait(_BATCH_S)
            self._news.clear()
            is_last = self._ending.is_set()
            begin = self._clock.now()
            if self._try(partial(self._upload, is_last)):
                self.is_complete = is_last
            if self.is_complete or self._gives_up():
                return
            self._ending.wait(max(0.0, begin + _PACE_S - self._clock.now()))

    def _gives_up(self) -> bool:
        """A refusal at the end is waited for no longer."""
        return self._is_refused and self._ending.is_set()

    def _begin(self) -> None:
        """Finds out what earlier runs have delivered, and announces this one."""
        runs, streams = [-1], []
        for item in self._objects.list(self._uri):
            place = parse_object_name(item.uri.key[len(self._uri.prefix) :])
            if place is not None:
                runs.append(place[0])
                streams.append(decode_lines(self._objects.get(item.uri))[0])
        run = max(runs) + 1
        hello = encode_line({"kind": HELLO, "run": run, "time": self._clock.now(), "host": self._host})
        # Another machine, given up for dead, may be there at the same moment: one of the two becomes the next run.
        etag = self._objects.put(self._uri / object_name(run, 0), hello, if_absent=True)
        self._run = run
        self._filter.restore(reports_in(streams))
        self._segments.add(hello, self._filter.level)
        next(iter(self._segments)).confirm(len(hello), etag)
        self._check_at = self._clock.now() + CHECK_S
        self._on_level(self._filter.level)
        self.begun.set()

    def _upload(self, is_last: bool) -> None:
        self._take_reports()
        if is_last and self._end is not None:
            record = {"kind": END, "count": self._filter.count, **self._end}
            self._segments.add(encode_line(record), self._filter.level)
            self._end = None
        self._write()
        if is_last or self._clock.now() >= self._check_at:
            for _ in range(_REPAIRS):
                self._look()
                if not self._write():
                    break
            self._check_at = self._clock.now() + CHECK_S

    def _take_reports(self) -> None:
        while self._reports:
            metrics = self._reports.popleft()
            number = self._filter.number(metrics)
            if number is not None:
                line = encode_line({"kind": REPORT, "seq": number, "metrics": metrics})
                self._segments.add(line, self._filter.level)

    def _write(self) -> bool:
        """Uploads what S3 lacks, in order; whether there was anything."""
        wrote = False
        for segment in self._segments:
            if not segment.is_confirmed:
                content = segment.content()
                segment.confirm(len(content), self._objects.put(self._place(segment.number), content))
                self._on_level(segment.level)
                wrote = True
        return wrote

    def _look(self) -> None:
        """Compares what S3 has with what it has confirmed."""
        found = {item.uri: (item.size, item.etag) for item in self._objects.list(self._uri)}
        for segment in self._segments:
            segment.compare(*found.get(self._place(segment.number), (-1, "")))

    def _place(self, segment: int) -> S3Uri:
        return self._uri / object_name(self._run, segment)

    def _try(self, step: Callable[[], None]) -> bool:
        """Whether ``step`` succeeded; waits if not. Whatever goes wrong is tried again: a thread that dies would
        leave the reports here."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            self._is_refused = isinstance(error, CloudtuneError) and not isinstance(error, _PASSING)
            self._tell(error)
            if self._is_refused:
                self.begun.set()
            self._pause()
            self._news.set()
            return False
        if self._remind_at is not None:
            say("S3 takes the reports again.")
        self._failures, self._is_refused, self._remind_at = 0, False, None
        return True

    def _tell(self, error: Exception) -> None:
        now = self._clock.now()
        if self._remind_at is None or now >= self._remind_at:
            self._remind_at = now + _REMIND_S
            what = str(error) if isinstance(error, CloudtuneError) else repr(error)
            say(f"S3 does not take the reports; they are in this log, and uploading is retried. {what}")

    def _pause(self) -> None:
        if self._ending.is_set():
            if not self._is_refused:
                self._clock.sleep(_LAST_RETRY_S)
            return
        longest = min(_LONGEST_RETRY_S, _RETRY_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._ending.wait(_REFUSED_S if self._is_refused else longest)
