"""Files read as they were at one moment, while others may be writing them.

A file's time of change is set when a write begins, not when it ends: unchanged times do not prove that nothing was
written in between. So a write under way is waited for, before and after reading, and what was read is compared
with a second reading, since times can be coarse. What remains open is a writer that makes several calls to write
and pauses between them; writers of ours write beside the file and rename.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from cloudtune.clock import Clock
from cloudtune.errors import StoreError

_CHUNK = 1 << 20
_TRIES = 10
_PAUSE_S = 0.1


def read_snapshot(path: Path, clock: Clock) -> bytes:
    """The file's content at one moment.

    Raises:
        StoreError: If the file cannot be read, or was changed each time while it was being read.
    """
    for _ in range(_TRIES):
        with _opened(path) as file:
            before = _version(file)
            wait_for_write(file.fileno())
            data = file.read()
            wait_for_write(file.fileno())
            file.seek(0)
            if file.read() == data and before == _version(file) and len(data) == before[0]:
                return data
        clock.sleep(_PAUSE_S)
    raise _restless(path)


def copy_snapshot(path: Path, copy: Path, clock: Clock) -> None:
    """As :func:`read_snapshot`, for files too large for memory; ``copy`` is overwritten."""
    for _ in range(_TRIES):
        with _opened(path) as file, copy.open("wb") as target:
            before = _version(file)
            wait_for_write(file.fileno())
            shutil.copyfileobj(file, target, _CHUNK)
            target.flush()
            wait_for_write(file.fileno())
            if _same(file, copy) and before == _version(file) and target.tell() == before[0]:
                return
        clock.sleep(_PAUSE_S)
    raise _restless(path)


def wait_for_write(descriptor: int) -> None:
    """Returns when a write to the file that had begun before has ended; the position stays.

    The search for a hole takes the lock that Linux' filesystems hold during a write, which reading does without
    (ext4, tmpfs). Where there is no such search, nothing is waited for.
    """
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    with contextlib.suppress(OSError, AttributeError):  # an empty file; macOS, a filesystem without holes
        os.lseek(descriptor, 0, os.SEEK_HOLE)
    os.lseek(descriptor, position, os.SEEK_SET)


def size_of(path: Path) -> int:
    """Raises StoreError if there is no such file."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror}.") from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror}.") from error


def _same(file: BinaryIO, copy: Path) -> bool:
    file.seek(0)
    with copy.open("rb") as other:
        while True:
            ours, theirs = file.read(_CHUNK), other.read(_CHUNK)
            if ours != theirs:
                return False
            if not ours:
                return True


def _version(file: BinaryIO) -> tuple[int, int, int]:
    """Size, time of change, and identity of what is open. A file that was replaced meanwhile (written beside
    it and renamed) is still whole under the open handle."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino


def _restless(path: Path) -> StoreError:
    return StoreError(
        f"Cannot upload {path}: it was changed each time it was read.",
        "Write it under another name and rename it when it is complete.",
    )
