"""One writer per experiment, held by the kernel: it is free the moment its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import weakref
from datetime import datetime, timezone
from pathlib import Path

from cloudtune.errors import Conflict, StoreError

_MAX_HOLDER_BYTES = 4096


class WriterLock:
    """An advisory lock (flock) on a file that also says who holds it.

    The file is never removed: whoever removed it while another waits on it would create a second lock.
    No child inherits it: the handle closes on exec, and, for processes that fork without exec, on fork.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        _locks.add(self)

    @property
    def held(self) -> bool:
        return self._handle is not None

    def acquire(self, holder: str) -> None:
        """Takes the lock, or raises Conflict naming who has it. Never waits."""
        if self._handle is not None:
            raise self._conflict(_read_text(self._handle))
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            conflict = self._conflict(_read_text(handle))
            os.close(handle)
            raise conflict from error
        except OSError as error:
            os.close(handle)
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            raise StoreError(
                f"{self._path} is on a file system without locks ({error.strerror}).",
                "Keep experiments on a local disk: set CLOUDTUNE_FOLDER.",
            ) from error
        self._handle = handle
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode()[:_MAX_HOLDER_BYTES], 0)

    def release(self) -> None:
        """Lets go, and says so in the file."""
        if self._handle is not None:
            with contextlib.suppress(OSError):  # a full or vanished disk must not keep the lock
                os.ftruncate(self._handle, 0)
            # Not by closing alone: a process that is being spawned has a copy of the handle until it execs.
            with contextlib.suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_UN)
        self.drop()

    def drop(self) -> None:
        """Closes the handle and does nothing else, as the kernel does when a process dies."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _conflict(self, holder: str) -> Conflict:
        # The file is written once, on acquire: its time of modification is when the holder began.
        try:
            since = datetime.fromtimestamp(self._path.stat().st_mtime, tz=timezone.utc)
            begun = f" since {since:%Y-%m-%d %H:%M:%S} UTC"
        except OSError:
            begun = ""
        return Conflict(
            f"The experiment in {self._path.parent} is being run by {holder or 'another process'}{begun}.",
            "Wait until it has ended, stop that process, or choose another tuner_name.",
        )


def _read_text(handle: int) -> str:
    return os.pread(handle, _MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()


#: All locks of this process; a forked child drops its copies of their handles.
_locks: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _drop_all() -> None:
    for lock in list(_locks):
        lock.drop()


os.register_at_fork(after_in_child=_drop_all)
