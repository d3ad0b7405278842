"""The tuner of an experiment as a process of this machine."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from cloudtune.clock import Clock
from cloudtune.paths import ExperimentPaths

_PROC = Path("/proc")
_LOOK_S = 0.1


@dataclass(frozen=True)
class LocalTuner:
    """A process that holds an experiment. ``pid`` is None where the process is not known, ``host`` is where it is:
    on a folder that machines share, it may be another one."""

    holder: str
    host: str
    pid: int | None

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    def ask_to_end(self) -> bool:
        """Sends SIGTERM, upon which a tuner interrupts its trials and records everything; whether it was there.

        Raises:
            PermissionError: It is another user's.
        """
        if self.pid is None:
            return False
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return False
        return True


def tuner_here(paths: ExperimentPaths) -> LocalTuner | None:
    """Who holds the experiment; None if nobody does. Not fooled by a process that has the number of one that died,
    and in nobody's way: the lock is looked at, not taken, where the system allows."""
    try:
        holder = paths.lock.read_text(errors="replace").strip()
    except OSError:
        return None
    if not holder or not _is_locked(paths.lock, holder):
        return None
    host, _, pid = holder.rpartition(":")
    return LocalTuner(holder, host, int(pid) if pid.isdecimal() else None)


def wait_until_gone(paths: ExperimentPaths, clock: Clock, timeout_s: float) -> bool:
    """Whether nobody holds the experiment within ``timeout_s``."""
    give_up = clock.now() + timeout_s
    while tuner_here(paths) is not None:
        if clock.now() >= give_up:
            return False
        clock.sleep(_LOOK_S)
    return True


def _is_locked(lock: Path, holder: str) -> bool:
    pid = holder.rpartition(":")[2]
    if (_PROC / "self" / "fd").is_dir() and pid.isdecimal():
        found = _has_open(int(pid), lock)
        if found is not None and holder.rpartition(":")[0] == socket.gethostname():
            return found
    return _refuses(lock)


def _has_open(pid: int, lock: Path) -> bool | None:
    """Whether the process has the lock's file open; None if we may not know."""
    try:
        wanted = lock.stat()
        for entry in (_PROC / str(pid) / "fd").iterdir():
            try:
                status = entry.stat()
            except OSError:
                continue  # closed meanwhile
            if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def _refuses(lock: Path) -> bool:
    """Whether the lock is taken: a shared lock, which readers do not deny each other, is tried for a moment."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
    else:
        return False
    finally:
        os.close(handle)
