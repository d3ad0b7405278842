"""Finds reports in output as it comes, however it is cut into pieces. Standard library alone."""

from __future__ import annotations

from cloudtune.report import MAX_REPORT_BYTES, TAG, parse_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

#: Of a line without end this much is kept: more than the longest report.
MAX_LINE_BYTES = 2 * MAX_REPORT_BYTES
_TAG = TAG.encode()


class ReportScanner:
    """Takes output piece by piece; memory is bounded.

    Args:
        parse: Returns the report in a line, if there is one.
    """

    def __init__(self, parse: Callable[[bytes], dict[str, Any] | None] = parse_report) -> None:
        self._parse = parse
        #: The beginning of a line whose end has not come yet.
        self.rest = b""

    def feed(self, piece: bytes) -> list[dict[str, Any]]:
        """Reports in the lines that are complete with ``piece``."""
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            self.rest = (self.rest + tail)[-MAX_LINE_BYTES:]
            return []
        lines, self.rest = self.rest + head, tail[-MAX_LINE_BYTES:]
        return self._parsed(lines)

    def finish(self) -> list[dict[str, Any]]:
        """The report in the last line, which has no newline if the process died."""
        rest, self.rest = self.rest, b""
        return self._parsed(rest)

    def _parsed(self, lines: bytes) -> list[dict[str, Any]]:
        reports = (self._parse(line) for line in _lines_with(_TAG, lines))
        return [report for report in reports if report is not None]


def _lines_with(tag: bytes, text: bytes) -> Iterator[bytes]:
    """Lines of ``text`` that contain ``tag``. A search is many times faster than to take all lines apart."""
    position = 0
    while (hit := text.find(tag, position)) >= 0:
        begin = text.rfind(b"\n", position, hit) + 1 or position
        end = text.find(b"\n", hit)
        position = len(text) if end < 0 else end + 1
        yield text[begin : position if end < 0 else end]
