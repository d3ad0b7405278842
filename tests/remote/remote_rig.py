"""What the tests of tuning jobs share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import EndpointConnectionError

import cloudtune
from cloudtune.aws.session import AwsSession
from cloudtune.experiment import events as ev

T = TypeVar("T")
SCRIPTS = Path(cloudtune.__file__).parent / "experiments" / "training_scripts"


def eventually(probe: Callable[[], T], what: str = "", timeout_s: float = 120.0) -> T:
    """The first true result of ``probe``; fails after ``timeout_s``."""
    give_up = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout_s} s: {what or probe}")
        time.sleep(0.01)


class Gate:
    """Stands in front of S3: writes wait, or fail as if nobody answered."""

    def __init__(self, session: AwsSession) -> None:
        self._passable = threading.Event()
        self._passable.set()
        self._broken = threading.Event()
        self._only = ""
        self.attempts = 0
        #: Keys of the writes that were sent.
        self.written: list[str] = []
        session.client("s3").meta.events.register("before-send.s3", self._on_send)

    def hold(self, only: str = "") -> None:
        """Writes wait from now on: those whose key has ``only`` in it."""
        self._only = only
        self._passable.clear()

    def fail(self, only: str = "") -> None:
        """Writes fail from now on: those whose key has ``only`` in it."""
        self._only = only
        self._broken.set()

    def open(self) -> None:
        self._broken.clear()
        self._passable.set()

    def _on_send(self, request: Any, **_: Any) -> None:
        if request.method != "PUT":
            return
        if self._only not in request.url:
            self.written.append(request.url)
            return
        self.attempts += 1
        self._passable.wait(200)  # longer than anybody here waits
        if self._broken.is_set():
            raise EndpointConnectionError(endpoint_url=request.url)
        self.written.append(request.url)


def started(trial_id: int, elapsed_s: float = 0.0) -> ev.TrialStarted:
    return ev.TrialStarted(1e9, elapsed_s, trial_id, 0, {"x": 0.5}, None)


def reported(trial_id: int, seq: int, elapsed_s: float = 0.0, **metrics: Any) -> ev.TrialReported:
    return ev.TrialReported(1e9, elapsed_s, trial_id, 0, seq, {"epoch": seq + 1, **metrics}, "CONTINUE")


def processes_of(folder: Path) -> list[int]:
    """Processes, other than this one, whose environment or command line names ``folder``; zombies excepted."""
    needle = os.fsencode(folder)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if needle in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
