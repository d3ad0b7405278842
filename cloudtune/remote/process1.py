"""What process 1 of a job does, whatever it runs: signals, reaping, output, the reason of a failure.

Standard library alone.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import IO, Any

from cloudtune.remote import job_layout as layout

#: The service keeps 1024 characters of a failure, of which it needs some itself.
FAILURE_CHARS = 960
_PIECE_BYTES = 64 * 1024
_TAIL_BYTES = 32 * 1024
#: As in pyproject.toml; the files that run before this is checked can be read by older ones.
_OLDEST_PYTHON = (3, 10)


class StopSignal:
    """Remembers that the job is to end, and tells whoever runs for it.

    Process 1 ignores signals that it has no handler for, so this one is installed before anything else begins.

    Args:
        whom: What runs, for the log: ``"the tuner"``.
    """

    def __init__(self, whom: str) -> None:
        self.number: int | None = None
        self._whom = whom
        self._process: subprocess.Popen[Any] | None = None
        self._tell: Callable[[int, int], None] = os.kill
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def follow(self, process: subprocess.Popen[Any], tell: Callable[[int, int], None] = os.kill) -> None:
        """From now on ``process`` is told, by ``tell(pid, number)``; at once if the signal has come already."""
        self._process, self._tell = process, tell
        if self.number is not None:
            self._tell_process(self.number)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._tell_process(number)
        # Not print: the next signal may come in the middle of it, and a second print would then raise, here.
        with suppress(OSError):
            os.write(1, f"Signal {signal.Signals(number).name}: {self._whom} is asked to end.\n".encode())

    def _tell_process(self, number: int) -> None:
        # Not Popen.send_signal: it would reap the process, which wait() would then miss.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._tell(self._process.pid, number)


def check_python(version: tuple[int, ...]) -> None:
    """Raises ValueError if the image's Python is too old."""
    if version < _OLDEST_PYTHON:
        here, needed = (".".join(map(str, numbers)) for numbers in (version, _OLDEST_PYTHON))
        raise ValueError(
            f"the image has Python {here}; cloudtune needs {needed} or newer. Choose another image_uri."
        )


def command_words() -> list[str]:
    """What the job is to run. Raises ValueError if its environment does not say it."""
    text = os.environ.get(layout.ENV_COMMAND, "null")
    try:
        command = json.loads(text)
    except ValueError:
        command = None
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise ValueError(f"{layout.ENV_COMMAND} must be a JSON list of strings, not {text}.")
    return command


def hyperparameters() -> dict[str, Any]:
    """The job's, sorted. Values are JSON, as SageMaker's own toolkit has them; other text stands for itself."""
    path = layout.ml_root() / "input" / "config" / "hyperparameters.json"
    found: dict[str, Any] = {}
    for name, text in sorted(json.loads(path.read_text(encoding="utf-8")).items()) if path.exists() else []:
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def wait(process: subprocess.Popen[bytes], at_end: Callable[[], None] = lambda: None) -> int:
    """Waits for ``process`` and returns its exit code. Process 1 also inherits orphans, which it has to reap.

    Args:
        at_end: Called when it has ended, before it is reaped: until then its number is nobody else's.
    """
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            if ended is None:
                continue
            if ended.si_pid == process.pid:
                at_end()
            _, status = os.waitpid(ended.si_pid, 0)
        except ChildProcessError:  # reaped elsewhere
            return process.wait()
        if ended.si_pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def as_in_shells(returncode: int) -> int:
    """The exit code that tells of a signal as well."""
    return returncode if returncode >= 0 else 128 - returncode


class Tail:
    """The end of what a stream has brought."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, piece: bytes) -> None:
        self._bytes += piece
        del self._bytes[:-_TAIL_BYTES]

    def __str__(self) -> str:
        return bytes(self._bytes).decode(errors="replace")


def pass_on(source: IO[bytes] | None, descriptor: int, look: Callable[[bytes], object]) -> None:
    """Copies ``source`` to ``descriptor`` until its end, as it comes: progress bars end no line for hours.
    ``look`` is shown each piece before."""
    if not isinstance(source, io.BufferedReader):
        return
    while piece := source.read1(_PIECE_BYTES):
        look(piece)
        with suppress(OSError):  # what runs must not stall because nobody takes the log
            write_all(descriptor, piece)


def write_all(descriptor: int, data: bytes) -> None:
    """Past Python's own buffers, whose locks a thread that is stuck would hold until the end."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody has made it non-blocking
            select.select([], [descriptor], [])


def say(text: str) -> None:
    """One line to the job's log, from any thread."""
    with suppress(OSError):
        write_all(2, f"{text}\n".encode(errors="replace"))


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def write_failure(text: str) -> None:
    """The end matters most: that is where an error says what it is."""
    path = layout.failure_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[-FAILURE_CHARS:], encoding="utf-8")
    except OSError as error:  # a full disk is no reason to lose the exit code as well
        say(f"The reason of the failure cannot be written to {path}: {error}")
