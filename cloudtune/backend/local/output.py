"""What a trial prints, read as it grows: each byte once, in bounded steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from cloudtune.report_lines import ReportScanner

#: Most bytes that are read in one step.
CHUNK_BYTES = 4 * 2**20

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
        self._scanner = ReportScanner(parse)

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
        return self._scanner.feed(chunk)

    def finish(self) -> list[dict[str, Any]]:
        """The report in the last line, which has no newline if the process died."""
        return self._scanner.finish()


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
