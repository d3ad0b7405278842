"""The reports of one job, read from its stream in S3 as it grows: each once, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from cloudtune.report_stream import END, HELLO, REPORT, decode_lines
from cloudtune.sagemaker_backend.ports import ReportObject

#: Reads an object from a byte on.
Read = Callable[[ReportObject, int], bytes]


@dataclass
class _Position:
    """How far an object has been read."""

    offset: int = 0
    etag: str = ""
    #: Bytes at its end are no whole line.
    torn: bool = False


@dataclass
class JobReports:
    """Follows one job's stream. Memory: constant per object of the job."""

    #: Number of reports read so far; that of the next one.
    count: int = 0
    #: Runs that have said hello.
    num_runs: int = 0
    #: When the newest run began, seconds since the epoch by the job's clock.
    begun: float | None = None
    #: What the newest run has said of its end.
    end: dict[str, Any] | None = None
    _positions: dict[tuple[int, int], _Position] = field(default_factory=dict)
    #: A report is there whose predecessors are not.
    _has_gap: bool = False

    @property
    def exists(self) -> bool:
        """Whether the job could write to S3 at all."""
        return bool(self._positions)

    @property
    def is_whole(self) -> bool:
        """Whether nothing that the job has said is known to be missing."""
        if self.end is not None:
            return self.end.get("count") == self.count
        return not self._has_gap and not any(position.torn for position in self._positions.values())

    def changed(self, objects: Iterable[ReportObject]) -> list[ReportObject]:
        """Those with something new, in their order."""
        unseen = _Position()
        return sorted(
            (item for item in objects if self._positions.get((item.run, item.segment), unseen).etag != item.etag),
            key=lambda item: (item.run, item.segment),
        )

    def offset(self, item: ReportObject) -> int:
        """From which byte on ``item`` is to be read."""
        return self._positions.get((item.run, item.segment), _Position()).offset

    def take(self, item: ReportObject, content: bytes) -> list[dict[str, Any]]:
        """New reports in ``content``, the object from :meth:`offset` on.

        A report whose predecessors are missing is left where it is: its object is read again with what comes next.
        """
        position = self._positions.setdefault((item.run, item.segment), _Position())
        records, length = decode_lines(content)
        position.torn = length < len(content)
        position.etag = item.etag
        reports: list[dict[str, Any]] = []
        consumed = 0
        for record, size in zip(records, _line_sizes(content), strict=False):
            if record.get("kind") == REPORT and record["seq"] > self.count:
                self._has_gap, position.etag = True, ""
                break
            consumed += size
            if record.get("kind") == REPORT:
                self._has_gap = False
                if record["seq"] == self.count:
                    reports.append(record["metrics"])
                    self.count += 1
            else:
                self._note(record)
        position.offset += consumed
        return reports

    def give_up(self) -> None:
        """Something is there that cannot be read."""
        self._has_gap, self.end = True, None

    def skip(self, count: int) -> None:
        """Reports up to number ``count`` have come another way."""
        self.count = max(self.count, count)

    def _note(self, record: dict[str, Any]) -> None:
        if record.get("kind") == HELLO:
            self.num_runs += 1
            self.begun = record.get("time")
            self.end = None
        elif record.get("kind") == END:
            self.end = record


def _line_sizes(content: bytes) -> Iterable[int]:
    begin = 0
    while (end := content.find(b"\n", begin)) >= 0:
        yield end + 1 - begin
        begin = end + 1
