"""Processes on this machine (Linux) that belong to a test."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from cloudtune.clock import WallClock

_TICK_S = 0.004


def marked(variable: str, value: str) -> Iterator[int]:
    """Those that have inherited ``variable=value``; zombies and those of other users excepted."""
    wanted = f"{variable}={value}".encode()
    return (pid for pid, folder in _others() if wanted in _read(folder / "environ").split(b"\0"))


def naming(path: Path) -> Iterator[int]:
    """Those that have ``path`` or something below it among their arguments or in their environment; likewise."""
    wanted = os.fsencode(path) + b"/"
    return (pid for pid, folder in _others() if wanted in _read(folder / "cmdline") + _read(folder / "environ"))


def command_line(pid: int) -> str:
    words = _read(Path(f"/proc/{pid}/cmdline")).replace(b"\0", b" ").decode(errors="replace")
    return words or "(ended meanwhile)"


def variable(pid: int, name: str) -> str | None:
    """Of its environment; None if it has none of that name, or has ended."""
    for item in _read(Path(f"/proc/{pid}/environ")).split(b"\0"):
        if item.startswith(f"{name}=".encode()):
            return item.partition(b"=")[2].decode(errors="replace")
    return None


def kill(pid: int) -> None:
    """SIGKILL, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def pause(clock: WallClock) -> None:
    """Between two looks at what is alive."""
    clock.sleep(_TICK_S)


def _others() -> Iterator[tuple[int, Path]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            yield int(folder.name), folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile, or belongs to another user
        return b""
