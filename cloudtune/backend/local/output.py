"""What a trial prints, read as it grows: each byte once, in bounded steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from cloudtune.report import MAX_REPORT_BYTES, TAG

#: Most bytes that are read in one step.
CHUNK_BYTES = 4 * 2**20
#: Of a line without end this much is kept: more than the longest report.
MAX_LINE_BYTES = 2 * MAX_REPORT_BYTES
_TAG = TAG.encode()

ParseReport: TypeAlias = Callable[[bytes], "dict[str, Any] | None"]


def size_of(path: Path) -> int:
    """Bytes in ``path``, 0 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class ReportReader:
    """Finds reports in a file that grows.

    Args:
        path: The file; it need not exist yet.
        offset: Where to begin, bytes.
        parse: Returns the report in a line, if there is one.
    """

    def __init__(self, path: Path, offset: int, parse: ParseReport) -> None:
        self.position = offset
        #: Whether the last step left something for the next.
        self.is_behind = False
        self._path = path
        self._parse = parse
        self._rest = b""

    def read(self, end: int | None = None) -> list[dict[str, Any]]:
        """Reports in the next bytes (at most :data:`CHUNK_BYTES`), up to ``end``; in complete lines only."""
        end = size_of(self._path) if end is None else end
        if end <= self.position:
            self.is_behind = False
            return []
        with self._path.open("rb") as file:
            file.seek(self.position)
            chunk = file.read(min(CHUNK_BYTES, end - self.position))
        self.position += len(chunk)
        self.is_behind = bool(chunk) and self.position < end
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            self._rest = (self._rest + tail)[-MAX_LINE_BYTES:]
            return []
        lines, self._rest = self._rest + head, tail[-MAX_LINE_BYTES:]
        return self._parsed(lines)

    def finish(self) -> list[dict[str, Any]]:
        """The report in the last line, which has no newline if the process died."""
        rest, self._rest = self._rest, b""
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


def last_lines(path: Path, offset: int, num_lines: int = 20, max_bytes: int = 4000) -> str:
    """The end of what ``path`` holds from byte ``offset`` on, for people."""
    size = size_of(path)
    begin = max(offset, size - max_bytes)
    if begin >= size:
        return ""
    with path.open("rb") as file:
        file.seek(begin)
        text = file.read(size - begin).decode("utf-8", "replace")
    return "\n".join(text.strip().splitlines()[-num_lines:])


def all_lines(path: Path) -> list[str]:
    """The lines of ``path``, undecodable bytes replaced; none if it is missing."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
