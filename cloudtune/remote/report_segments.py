"""The objects that one run of a trial's job writes, as they are to be. Standard library alone."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudtune.report_stream import SEGMENT_BYTES


@dataclass
class Segment:
    """One object: what it is to hold, and what S3 is known to hold."""

    number: int
    #: Highest level of the reports up to its end.
    level: int = 0
    size: int = 0
    #: Of what S3 has confirmed; None: nothing, or it has been lost.
    etag: str | None = None
    _confirmed_size: int = 0
    _lines: bytearray = field(default_factory=bytearray)
    #: Of a full one, all its lines.
    _packed: bytes | None = None

    def add(self, line: bytes, level: int) -> None:
        self._lines += line
        self.size += len(line)
        self.level = level

    def pack(self) -> None:
        """Nothing comes any more: it is kept for the case that S3 loses it."""
        self._packed, self._lines = zlib.compress(self._lines), bytearray()

    def content(self) -> bytes:
        return bytes(self._lines) if self._packed is None else zlib.decompress(self._packed)

    @property
    def is_confirmed(self) -> bool:
        """Whether S3 has all of it, as far as is known."""
        return self.etag is not None and self._confirmed_size == self.size

    def confirm(self, size: int, etag: str) -> None:
        self.etag, self._confirmed_size = etag, size

    def compare(self, size: int, etag: str) -> None:
        """Takes note of what a listing shows; what was not confirmed before is not judged."""
        if self.etag is not None and (size, etag) != (self._confirmed_size, self.etag):
            self.etag = None


class Segments:
    """All of one run, in order."""

    def __init__(self) -> None:
        self._all = [Segment(0)]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    def add(self, line: bytes, level: int) -> None:
        """Appends a line; ``level`` is the highest of all reports so far."""
        last = self._all[-1]
        if last.size and last.size + len(line) > SEGMENT_BYTES:
            last.pack()
            last = Segment(last.number + 1)
            self._all.append(last)
        last.add(line, level)
