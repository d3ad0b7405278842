"""A job's processes: started, signalled, and ended as a whole."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloudtune.emulator.machine import keeper
from cloudtune.emulator.machine.keeper import MARK, kill_group, kill_marked
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.state.state_folder import StateFolder

_log = logging.getLogger(__name__)
_SETUP_TIMEOUT_S = 60.0


def readable(descriptor: int, timeout_s: float) -> bool:
    """Whether there is something to read, or the end, within ``timeout_s``. Unlike ``select`` also beyond
    descriptor 1024."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(timeout_s * 1000))


class Keeper:
    """The process that cleans up after this one; see :mod:`cloudtune.emulator.machine.keeper`.

    Args:
        mark: Carried by all processes of all jobs.
        folder: Removed when this process is gone; None keeps everything.
        state: The emulator's state, held as long as the keeper lives.
    """

    def __init__(self, mark: str, folder: Path | None, state: StateFolder | None = None) -> None:
        self.mark = mark
        note = "" if state is None else str(state.death_note)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", keeper.__file__, mark, str(folder or ""), note],
            pass_fds=() if state is None else (state.lock,),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def began(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def ended(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        with self._lock:
            if pipe is None or pipe.closed:
                return
            try:
                pipe.write(line)
                pipe.flush()
            except BrokenPipeError:
                _log.warning("somebody killed the process that cleans up should this one be killed")

    def close(self) -> None:
        """Lets it clean up, and waits for that."""
        with self._lock:
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
        self._process.wait(timeout=60)


class SetupFailed(Exception):
    """The container could not be set up; the message holds what was printed."""


class Container:
    """The processes of one attempt of a job. Construct with :meth:`start`.

    Args:
        process: Leader of the group.
        first: Finds the process that the service's signals go to.
        mark: Carried by the processes of this attempt.
        registry: Told when the group has ended.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], first: Callable[[int], int | None], mark: str, registry: Keeper
    ) -> None:
        self._process = process
        self._first = first
        self._mark = mark
        self._registry = registry

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        name: str,
        first: Callable[[int], int | None],
        registry: Keeper,
    ) -> Container:
        """Runs ``command``, which sets the container up, writes one byte to its *standard input*, and
        replaces itself by the job's program. Returns when that byte has come.

        Args:
            command: As :meth:`cloudtune.emulator.machine.isolation.Isolation.command` makes it.
            environment: Of the job.
            name: Of the attempt, unique in this emulator.
            first: See the class.
            registry: Learns of the group.

        Raises:
            SetupFailed: No byte came.
        """
        mark = f"{registry.mark}:{name};"  # ended, so that job-1 is no prefix of job-10
        ready, signal_ready = os.pipe()
        try:
            process = subprocess.Popen(
                command,
                env={**environment, MARK: mark},
                stdin=signal_ready,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            os.close(ready)
            raise SetupFailed(str(error)) from error
        finally:
            os.close(signal_ready)
        container = cls(process, first, mark, registry)
        registry.began(process.pid)
        try:
            is_ready = readable(ready, _SETUP_TIMEOUT_S) and os.read(ready, 1) == b"."
        finally:
            os.close(ready)
        if not is_ready:
            container.kill()
            output = process.stdout.read(4000) if process.stdout else b""
            container.reap()
            container.close()
            raise SetupFailed(output.decode(errors="replace").strip() or "the container's setup said nothing")
        return container

    @property
    def leader(self) -> int:
        """Number of the process that was started."""
        return self._process.pid

    @property
    def output(self) -> int:
        """File descriptor of what the job prints."""
        if self._process.stdout is None:
            raise ValueError("a container is started with its output piped")
        return self._process.stdout.fileno()

    def terminate(self) -> None:
        """SIGTERM to the first process, as ``docker stop`` does; nothing once reaped."""
        pid = self._first(self._process.pid) if self._process.returncode is None else None
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to everything; nothing once reaped: somebody else may have the number then."""
        if self._process.returncode is None:
            kill_group(self._process.pid)

    def on_end(self, threads: SharedThreads, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, from another thread, when the leader has ended; it stays a zombie, so that its
        number stays taken."""
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # not Linux, or forbidden there: a thread for each
            threading.Thread(target=self._await_end, args=(callback,), name="await-end", daemon=True).start()
            return

        def ended() -> None:
            threads.forget(descriptor)
            os.close(descriptor)
            callback()

        threads.watch(descriptor, ended)

    def _await_end(self, callback: Callable[[], None]) -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:  # pragma: no cover - older Pythons on macOS
            self._process.wait()
        callback()

    def reap(self) -> int:
        """Kills what is left of the group; returns the exit code as a container has it (128 + signal)."""
        if self._process.returncode is None:
            kill_group(self._process.pid)
            kill_marked(self._mark)
            self._process.wait()
            self._registry.ended(self._process.pid)
        code = self._process.returncode
        return 128 - code if code < 0 else code

    def close(self) -> None:
        """Closes the output."""
        if self._process.stdout is not None:
            self._process.stdout.close()
