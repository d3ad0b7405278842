"""Which processes there are, from ``/proc``; the little that can be known without it, from ``ps``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
#: Whether processes can be searched by their environment.
AVAILABLE = (_PROC / "self" / "environ").exists()
_PS_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int


def all_pids() -> list[int]:
    """All processes, in order; empty where that is not known."""
    return sorted(int(name) for name in os.listdir(_PROC) if name.isdecimal()) if AVAILABLE else []  # noqa: PTH208


def runs_with(pid: int, words: Sequence[str]) -> bool:
    """Whether the process is alive and all of ``words`` are among its arguments."""
    if AVAILABLE:
        arguments = _read(pid, "cmdline").split(b"\0")
        return all(os.fsencode(word) in arguments for word in words)
    try:
        listing = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return all(os.fsencode(word) in listing.stdout for word in words)


def start_ticks(pid: int) -> int:
    """When the process began, in clock ticks since boot; 0 if not known."""
    stat = _stat(pid)
    return stat.start_ticks if stat else 0


def group_of(pid: int) -> int | None:
    """Its process group, None if it has ended."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def members(token: str, session: int | None, since_ticks: int) -> list[int]:
    """Living processes that have ``token`` in their environment, are in ``session``, or descend from such.

    A process may have overwritten its environment, or have left the session, or have lost its parent; to escape it
    must have done all three.

    Args:
        token: Of the trial.
        session: Whose leader is alive, or has not been reaped; None otherwise, since the number may be another's.
        since_ticks: Processes that began earlier cannot belong to the trial.
    """
    table = {
        pid: stat for pid in all_pids() if (stat := _stat(pid)) is not None and stat.start_ticks >= since_ticks
    }
    table.pop(os.getpid(), None)
    needle = token.encode()
    found: set[int] = {
        pid
        for pid, stat in table.items()
        if (session is not None and stat.session == session) or needle in _read(pid, "environ")
    }
    more = found
    while more:
        more = {pid for pid, stat in table.items() if stat.parent in more} - found
        found |= more
    return [pid for pid in table if pid in found and table[pid].state not in "ZX"]


def _stat(pid: int) -> _Stat | None:
    text = _read(pid, "stat")
    # the second field is the program's name, which may contain anything
    fields = text[text.rfind(b")") + 1 :].split()
    if len(fields) < 20:
        return None
    return _Stat(fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""  # ended, or another user's
