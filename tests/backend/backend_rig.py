"""Real processes, and the little that is needed to watch them."""

from __future__ import annotations

import contextlib
import os
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloudtune.backend import LocalBackend
from cloudtune.clock import WallClock
from cloudtune.experiment.ports import AttemptEnded, AttemptKey, BackendContext, ReportSeen
from cloudtune.paths import ExperimentPaths, TrialPaths
from cloudtune.trial import Trial

DEADLINE_S = 100.0


class Rig:
    """One experiment's folder, scripts in it, and backends that are opened on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = ExperimentPaths(root / "experiment")
        self.backends: list[LocalBackend] = []

    def script(self, text: str, name: str = "train.py") -> str:
        path = self.root / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    def open(self, entry_point: Any, rung_levels: list[int] | None = None, **options: Any) -> LocalBackend:
        backend = LocalBackend(entry_point, **{"grace_period_s": 0.3, **options})
        backend.open(BackendContext(self.paths, WallClock(), rung_levels, "epoch"))
        self.backends.append(backend)
        return backend

    def trial_paths(self, trial_id: int = 0) -> TrialPaths:
        return self.paths.trial(trial_id)

    def close(self) -> None:
        for backend in self.backends:
            backend.close()
        for pid in processes_of(self.paths.dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def trial(trial_id: int = 0, attempt: int = 0, **config: Any) -> Trial:
    return Trial(trial_id, config, attempt)


def run_until_ended(
    backend: LocalBackend, *keys: AttemptKey, seen_before: int = 0, timeout_s: float = DEADLINE_S
) -> tuple[list[ReportSeen], dict[AttemptKey, AttemptEnded]]:
    """What a tuner would see of attempts until all have ended."""
    seen = dict.fromkeys(keys or (AttemptKey(0, 0),), seen_before)
    reports: list[ReportSeen] = []
    ends: dict[AttemptKey, AttemptEnded] = {}
    deadline = time.monotonic() + timeout_s
    while seen:
        for fact in backend.poll(seen):
            key = AttemptKey(fact.trial_id, fact.attempt)
            if isinstance(fact, ReportSeen):
                assert fact.seq == seen[key], "a gap or a repetition"
                seen[key] += 1
                reports.append(fact)
            else:
                ends[key] = fact
                del seen[key]
        assert time.monotonic() < deadline, f"still running: {seen}"
        if seen:
            backend.wait(1.0)
    return reports, ends


def wait_for(condition: Callable[[], Any], backend: LocalBackend | None = None) -> None:
    """Until ``condition`` holds; fails after a generous time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        if backend is None:
            WallClock().sleep(0.005)
        else:
            backend.wait(0.01)


def zombies() -> list[int]:
    """Children of this process that have ended, and that nobody has waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                if (state, int(parent)) == ("Z", os.getpid()):
                    found.append(int(entry.name))
    return found


def processes_of(folder: Path) -> list[int]:
    """Processes of any trial below ``folder``: those whose environment or command line names it."""
    needle = os.fsencode(folder)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if needle in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
