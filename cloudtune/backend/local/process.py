"""The process of one attempt: a shell that claims the attempt, runs the command, and records its exit code.

The shell is what makes trials independent of the tuner. It outlives it, it leaves on disk how the command ended,
and since it creates the claim exclusively, an attempt runs once however many tuners start it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudtune.backend.local import process_table
from cloudtune.paths import TrialPaths

#: In the environment of all processes of a trial; how those are found that have left its process group.
ENV_TOKEN = "CLOUDTUNE_TRIAL_TOKEN"
#: Exit code of a shell that could not claim the attempt.
NOT_CLAIMED = 75

# A handled signal is back at its default in the command, an ignored one would stay ignored: hence `trap :`.
_SHELL = f"""
trap : HUP INT TERM
set -C
{{ echo "$$" > "$1"; }} 2>/dev/null || exit {NOT_CLAIMED}
set +C
exit_file=$2
shift 3
"$@"
code=$?
echo "$code" > "$exit_file.$$" && mv -f "$exit_file.$$" "$exit_file"
exit "$code"
"""


@dataclass(frozen=True)
class Marker:
    """What tells the process of one attempt from all others, such as one that has its pid by chance."""

    claim: Path
    #: Random; made with the attempt's start record.
    token: str

    def is_on(self, pid: int) -> bool:
        """Whether process ``pid`` runs the attempt."""
        return process_table.runs_with(pid, (str(self.claim), self.token))


def new_token() -> str:
    return uuid.uuid4().hex


def nested_token(token: str, environment: Mapping[str, str]) -> str:
    """The value of :data:`ENV_TOKEN`: a trial that tunes, too, hands its own token on to its trials."""
    outer = environment.get(ENV_TOKEN)
    return f"{outer}:{token}" if outer else token


class TrialProcess:
    """The shell that runs an attempt: our child, or found again."""

    def __init__(
        self, pid: int, marker: Marker, child: subprocess.Popen[bytes] | None, descriptor: int | None
    ) -> None:
        self.pid = pid
        #: A pidfd, readable once the process has ended; None where the system has none.
        self.descriptor = descriptor
        self._marker = marker
        self._child = child
        self._start_ticks = process_table.start_ticks(pid)
        self._let_go = weakref.finalize(self, _let_go, child, descriptor)
        self._let_go.atexit = False

    @classmethod
    def spawn(
        cls, command: Sequence[str], environment: Mapping[str, str], paths: TrialPaths, attempt: int, token: str
    ) -> TrialProcess:
        """Starts the attempt.

        Raises:
            OSError: The system refuses to.
            ValueError: The command holds what no command can, such as a null character.
        """
        reap_children()
        marker = Marker(paths.claim(attempt), token)
        shell = [
            "/bin/sh",
            "-c",
            _SHELL,
            "cloudtune-trial",
            str(marker.claim),
            str(paths.exit_code(attempt)),
            token,
        ]
        with paths.stdout.open("ab") as out, paths.stderr.open("ab") as err:
            child = subprocess.Popen(
                [*shell, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return cls(child.pid, marker, child, _pidfd(child.pid))

    @classmethod
    def find(cls, marker: Marker) -> TrialProcess | None:
        """The process that has claimed the attempt, if it is alive."""
        reap_children()
        pid = claimed_by(marker.claim)
        if pid is None:  # it has created the claim, but not written its pid yet
            pid = next((p for p in process_table.all_pids() if marker.is_on(p)), None)
        if pid is None:
            return None
        descriptor = _pidfd(pid)  # first: from now on the pid cannot change hands unnoticed
        if marker.is_on(pid):
            return cls(pid, marker, None, descriptor)
        if descriptor is not None:
            os.close(descriptor)
        return None

    def has_ended(self) -> bool:
        """Whether it has; it is not reaped by this, so that its pid remains its own."""
        if self.descriptor is not None:
            poller = select.poll()
            poller.register(self.descriptor, select.POLLIN)
            return bool(poller.poll(0))
        if self._child is not None:
            return self._child.poll() is not None
        return not self._marker.is_on(self.pid)

    def exit_code(self) -> int | None:
        """What the system says, None if it is not our child. Negative: ended by that signal. Waits for the end."""
        return None if self._child is None else self._child.wait()

    def signal_all(self, number: signal.Signals) -> bool:
        """Sends a signal to the trial's process group and to what has left it. Returns whether the command got it:
        the shell, which ignores it, may not have come to start the command."""
        if self.has_ended():
            return True
        members = process_table.members(self._marker.token, self.pid, self._start_ticks)
        has_command = any(not self._marker.is_on(pid) for pid in members)  # no fork of the shell before its exec
        _send_group(self.pid, number)
        for pid in members:
            if process_table.group_of(pid) != self.pid:
                _send(pid, number)
        return not process_table.AVAILABLE or has_command

    def kill_leftovers(self) -> bool:
        """Kills what the trial has left behind, once it has ended. Returns whether there was anything."""
        session = self.pid if self._child is not None and self._child.returncode is None else None
        if not process_table.AVAILABLE:  # its number is not another's as long as the group has members
            _send_group(self.pid, signal.SIGKILL)
        return kill_leftovers(self._marker.token, session, self._start_ticks)

    def release(self) -> None:
        """Lets go of handles; the process goes on."""
        self.descriptor = None
        self._let_go()


def kill_leftovers(token: str, session: int | None = None, since_ticks: int = 0) -> bool:
    """Kills all processes of a trial; whether there were any."""
    pids = process_table.members(token, session, since_ticks)
    for pid in pids:
        _send(pid, signal.SIGKILL)
    return bool(pids)


def claimed_by(claim: Path) -> int | None:
    """The pid in the claim; None without a claim, or while it is being written."""
    try:
        text = claim.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") and text.strip().isdecimal() else None


def recorded_exit_code(path: Path) -> int | None:
    """The exit code that the shell has left, if it has."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdecimal() else None


#: Children that nobody waits for any more.
_unwatched: list[subprocess.Popen[bytes]] = []


def reap_children() -> None:
    """Takes note of the end of children whose backend is gone, so that none remains as a zombie."""
    _unwatched[:] = [child for child in _unwatched if child.poll() is None]


def _let_go(child: subprocess.Popen[bytes] | None, descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
    if child is not None and child.returncode is None:
        _unwatched.append(child)


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # no such process, or a kernel or sandbox without the call
        return None


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # ended meanwhile, or not ours to end


def _send_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
