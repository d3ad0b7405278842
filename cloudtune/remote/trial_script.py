"""The training script as processes: a session of its own, and whatever comes of it. Standard library alone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cloudtune.clock import WallClock
from cloudtune.remote import process1

#: After SIGTERM the platform leaves 120 seconds, of which uploads need the last ones.
GRACE_S = 95.0
#: How long what the script has printed may take to come through, seconds, and the same after SIGTERM.
_DRAIN_S = 30.0
_DRAIN_STOPPED_S = 3.0
_KILL_ROUNDS = 100
_KILL_ROUND_S = 0.02


class TrialScript:
    """Runs a command; its output goes to ours at once.

    Args:
        stop: Tells of signals, which go to all processes of the script.
        on_output: Is shown what it writes to standard output.
    """

    def __init__(self, stop: process1.StopSignal, on_output: Callable[[bytes], object]) -> None:
        self._stop = stop
        self._on_output = on_output
        self._tail = process1.Tail()

    @property
    def error_tail(self) -> str:
        """The end of what it has written to its error output."""
        return str(self._tail)

    def run(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
        """Returns the exit code, negative if a signal has ended it. Nothing that it has started is left then.

        Raises:
            OSError, ValueError: It cannot be started.
        """
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        signal.signal(signal.SIGALRM, lambda *_: _signal_all(process.pid, signal.SIGKILL))
        readers = [
            threading.Thread(target=process1.pass_on, args=arguments, daemon=True)
            for arguments in ((process.stdout, 1, self._on_output), (process.stderr, 2, self._tail.add))
        ]
        for reader in readers:
            reader.start()
        self._stop.follow(process, _ask_to_end)
        returncode = process1.wait(process, at_end=lambda: _kill_rest(process.pid))
        signal.setitimer(signal.ITIMER_REAL, 0)
        for reader in readers:  # what has fled the session may still hold the pipes
            reader.join(_DRAIN_S if self._stop.number is None else _DRAIN_STOPPED_S)
        return returncode


def _ask_to_end(pid: int, number: int) -> None:
    """Passes a signal on, and sets the alarm for those that do not care."""
    if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
        signal.setitimer(signal.ITIMER_REAL, GRACE_S, 1.0)
    _signal_all(pid, number)


def _signal_all(session: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(session, number)
    for pid, group in _members(session):
        if group != session:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _kill_rest(session: int) -> None:
    """Kills what the script has left behind; it may fork while we look."""
    for _ in range(_KILL_ROUNDS):
        if not _members(session):
            return
        _signal_all(session, signal.SIGKILL)
        WallClock().sleep(_KILL_ROUND_S)


def _members(session: int) -> list[tuple[int, int]]:
    """Living processes of the session, and our descendants (process 1 inherits those that have left it), each with
    its group."""
    table: dict[int, tuple[int, int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # ended meanwhile
                # the second field is the program's name, which may contain anything
                state, parent, group, of_session = (
                    (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:4]
                )
                if state not in "ZX":
                    table[int(entry.name)] = (int(parent), int(group), int(of_session))
    found = {pid for pid, (_, _, of_session) in table.items() if of_session == session}
    more = {pid for pid, (parent, _, _) in table.items() if parent == os.getpid()}
    while more - found:
        found |= more
        more = {pid for pid, (parent, _, _) in table.items() if parent in found}
    return [(pid, table[pid][1]) for pid in sorted(found)]
