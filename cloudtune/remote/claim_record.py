"""What a session writes into its claim, and what another one can tell from it."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

#: Sessions of this process that hold a claim: its number alone does not tell whether they have ended.
_live_sessions: set[str] = set()


@dataclass(frozen=True)
class ClaimRecord:
    """One session's claim, as it stands in S3.

    ``since`` is by the clock of the holder's machine, in seconds since the epoch: for people, decisions never read
    it. ``renewals`` makes each writing differ from the one before.
    """

    holder: str = "another session"
    session: str = ""
    machine: str = ""
    pid: int = 0
    since: float = 0.0
    renewals: int = 0
    released: bool = False

    @classmethod
    def of_this_process(cls, holder: str, now: float) -> ClaimRecord:
        """A new session's."""
        with contextlib.suppress(KeyError, OSError, ImportError):  # a container's user may have no name
            holder = f"{getpass.getuser()}@{holder}"
        return cls(holder, uuid.uuid4().hex, this_machine(), os.getpid(), now)

    @classmethod
    def parse(cls, text: bytes) -> ClaimRecord:
        """What cannot be read belongs to somebody all the same."""
        try:
            found = json.loads(text)
            known = {field.name: found[field.name] for field in dataclasses.fields(cls) if field.name in found}
        except (ValueError, TypeError):
            return cls()
        fits = all(isinstance(value, type(getattr(cls(), name))) for name, value in known.items())
        return cls(**known) if fits else cls()

    def encode(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @property
    def began(self) -> str:
        """For people: since when, if that is known."""
        if not self.since:
            return ""
        return f" since {datetime.fromtimestamp(self.since, tz=timezone.utc):%Y-%m-%d %H:%M:%S} UTC"

    def has_died_here(self) -> bool:
        """Whether it was a session of this machine, and its process is gone."""
        if not self.machine or self.machine != this_machine():
            return False
        if self.pid == os.getpid():
            return self.session not in _live_sessions
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def live(self) -> None:
        """This process holds it from now on."""
        _live_sessions.add(self.session)

    def die(self) -> None:
        """This process has let go of it."""
        _live_sessions.discard(self.session)


def this_machine() -> str:
    """Differs where process numbers mean something else: other hosts, and containers on one host."""
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return f"{socket.gethostname()}/{uuid.getnode():012x}/{processes}"
