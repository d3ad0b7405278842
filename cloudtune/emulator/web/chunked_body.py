"""The body of a request that comes in chunks (RFC 9112, section 7.1).

Werkzeug's own reader takes a chunk that ends early for a whole one: the content is then whatever lay in memory,
and the interpreter may crash.
"""

from __future__ import annotations

import io
from collections.abc import Callable

_MAX_LINE_BYTES = 4096
_MAX_TRAILER_LINES = 100
_HEX = frozenset(b"0123456789abcdefABCDEF")
_MAX_DIGITS = 16


class ChunkedBody(io.RawIOBase):
    """Reads one body, and not beyond. Raises OSError for what is no body in chunks.

    Args:
        readline: A line of the connection, of so many bytes at most.
        read: That many bytes, fewer at its end.
    """

    def __init__(self, readline: Callable[[int], bytes], read: Callable[[int], bytes]) -> None:
        self._readline = readline
        self._read = read
        self._left: int | None = None  # of the chunk; None before the first, 0 at the end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Bytes of one chunk at most; 0 at the end of the body."""
        if self._left is None:
            self._begin_chunk()
        if not self._left or not buffer:
            return 0
        part = self._read(min(len(buffer), self._left))
        if not part:
            raise OSError("it ends within a chunk")
        buffer[: len(part)] = part
        self._left -= len(part)
        if not self._left:
            if self._line():
                raise OSError("a chunk is longer than announced")
            self._left = None
        return len(part)

    def _begin_chunk(self) -> None:
        digits = self._line().partition(b";")[0].strip()
        if not 0 < len(digits) <= _MAX_DIGITS or not _HEX.issuperset(digits):
            raise OSError("a chunk begins without its length")
        self._left = int(digits, 16)
        if not self._left:
            self._skip_trailers()

    def _skip_trailers(self) -> None:
        for _ in range(_MAX_TRAILER_LINES):
            if not self._line():
                return
        raise OSError("too much follows the last chunk")

    def _line(self) -> bytes:
        line = self._readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise OSError("it ends within a line, or a line is too long")
        return line.rstrip(b"\r\n")
