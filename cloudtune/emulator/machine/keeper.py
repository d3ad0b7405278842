"""Ends what an emulator leaves behind, however it dies.

A process of its own that outlives the emulator by a moment. It reads lines ``+PID`` and ``-PID`` (a job's process
group begins, has ended) from its standard input; when that ends, since the emulator was closed or killed, it kills
the groups that are left and every process that carries the emulator's mark in its environment, and removes the
emulator's folder. Of an emulator that keeps its state it notes the time of the end instead, and inherits the lock
on the folder: nobody else has it before all is cleaned up.

Standard library alone, and run as a file: it has to be there within milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

#: In the environment of each job's processes: ``{emulator}:{job}:{attempt}``.
MARK = "CLOUDTUNE_EMULATOR_MARK"
_SWEEPS = 50
_DEEP = 100


def marked_processes(mark: str) -> list[int]:
    """Processes whose mark begins with ``mark``. Empty where there is no /proc."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
            if not any(part.startswith(wanted) for part in environment.split(b"\0")):
                continue
            stat = (entry / "stat").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if stat.rpartition(b") ")[2][:1] != b"Z":
            found.append(int(entry.name))
    return found


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def kill_marked(mark: str) -> None:
    """Kills until none is left: a process may fork while it is being looked for."""
    for _ in range(_SWEEPS):
        found = marked_processes(mark)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def remove_tree(folder: Path) -> None:
    """Removes ``folder``, also what a job made unreadable, or deeper than Python's library can go."""
    for prepare in (lambda _: None, _flatten):
        prepare(folder)
        with contextlib.suppress(RecursionError):
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _flatten(folder: Path) -> None:
    """Makes everything below readable, and brings folders in the depth up. Follows no links."""
    pending = [(folder, 0)]
    while pending:
        path, depth = pending.pop()
        with contextlib.suppress(OSError):
            path.chmod(0o700)
            if depth > _DEEP:
                path, depth = path.rename(folder / f"deep-{os.urandom(8).hex()}"), 1
            with os.scandir(path) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            pending += [(path / name, depth + 1) for name in found]


def main(mark: str, folder: str, note: str) -> None:
    """
    Args:
        folder: Removed at the end; empty: none.
        note: File that gets the time of the end, seconds since the epoch; empty: none.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            groups.add(pid)
        else:
            groups.discard(pid)
    if note:
        with contextlib.suppress(OSError):  # a full disk must not keep it from killing
            Path(note).write_text(str(time.time()), encoding="ascii")
    for group in groups:
        kill_group(group)
    kill_marked(mark)
    if folder:
        remove_tree(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
