"""A CSV file in a zip archive that grows at its end at a cost of the new rows alone.

Rows are rendered and compressed in blocks of a fixed number of rows; each full block is kept in compressed form
and ends on a byte boundary that depends on nothing before it (deflate's full flush, RFC 1951 and zlib's manual),
so that blocks can be put one behind the other. The bytes are a function of the rows, not of when they were
written.
"""

from __future__ import annotations

import csv
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudtune.paths import atomic_path

BLOCK_ROWS = 4096
_LEVEL = 6
_RAW_DEFLATE = -15
_DOS_EPOCH = (0, 0x21)  # time 00:00:00, date 1980-01-01: the earliest that zip can express
_VERSION, _DEFLATED, _UTF8 = 20, 8, 0x800


def _cell(value: Any) -> Any:
    """What :mod:`csv` is to write: nothing for NaN, as pandas has it; floats by ``repr``, hence exact. Python 3.10
    writes no NUL, and many programs read none."""
    if isinstance(value, str):
        return value.replace("\0", "\\x00")
    return "" if isinstance(value, float) and math.isnan(value) else value


def render(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as CSV (RFC 4180; lines end in CR LF, so that :mod:`csv` quotes either in a cell)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


@dataclass
class _Stream:
    """Compressed blocks so far, and the checksum and size of what they hold."""

    blocks: list[bytes] = field(default_factory=list)
    crc: int = 0
    size: int = 0

    def add(self, text: bytes, *, last: bool) -> None:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
        packed = packer.compress(text)
        self.blocks.append(packed + packer.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH))
        self.crc = zlib.crc32(text, self.crc)
        self.size += len(text)


class ZippedCsv:
    """Writes the same growing table again and again.

    Args:
        member: Name of the CSV file within the archive.
    """

    def __init__(self, member: str) -> None:
        self._member = member
        self._header: list[str] | None = None
        self._stream = _Stream()
        self._rows_done = 0

    def write(
        self, path: Path, header: Sequence[str], num_rows: int, rows: Callable[[int, int], Iterable[Sequence[Any]]]
    ) -> None:
        """Replaces ``path`` by a table of ``num_rows`` rows.

        Args:
            path: The archive.
            header: Names of the columns. When they change, all is rendered anew.
            num_rows: Number of rows; those of the last call are taken to be the same still.
            rows: ``rows(begin, end)`` gives a range of them.
        """
        if self._header != list(header) or num_rows < self._rows_done:
            self._header, self._stream, self._rows_done = list(header), _Stream(), 0
            self._stream.add(render([header]), last=False)
        while num_rows - self._rows_done >= BLOCK_ROWS:
            end = self._rows_done + BLOCK_ROWS
            self._stream.add(render(rows(self._rows_done, end)), last=False)
            self._rows_done = end
        whole = _Stream(list(self._stream.blocks), self._stream.crc, self._stream.size)
        whole.add(render(rows(self._rows_done, num_rows)), last=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.writelines(_archive(self._member, whole))


def _archive(member: str, stream: _Stream) -> list[bytes]:
    """A zip archive of one member (PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16)."""
    name = member.encode()
    packed_size = sum(map(len, stream.blocks))
    common = struct.pack(
        "<HHHHHIIIHH",
        _VERSION,
        _UTF8,
        _DEFLATED,
        *_DOS_EPOCH,
        stream.crc,
        packed_size,
        stream.size,
        len(name),
        0,  # no extra field
    )
    local = b"PK\x03\x04" + common + name
    # Made by version 2.0 on Unix; no comment, disk 0, binary, mode 0644 of a regular file, local header at 0.
    central = (
        b"PK\x01\x02" + struct.pack("<H", _VERSION | 3 << 8) + common
        + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, 0) + name
    )  # fmt: skip
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + packed_size, 0)
    return [local, *stream.blocks, central, end]
