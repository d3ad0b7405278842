"""SIGKILL a real tuner again and again, run the same command again, and look at what is left."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cloudtune.clock import WallClock
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore
from cloudtune.testing import processes
from cloudtune.testing.journal_checks import JournalChecker

#: In the environment of the tuner, and hence of all that it starts.
ENV_MARKER = "CLOUDTUNE_KILL_RUN"
#: How often the journal is looked at.
_TICK_S = 0.004
#: Processes that are being reaped get this long to vanish.
_SETTLE_S = 10.0
_LOG_TAIL_BYTES = 3000


@dataclass
class KillReport:
    """What happened."""

    kills: int = 0
    #: Events in the journal at each kill.
    killed_at: list[int] = field(default_factory=list)
    #: Kills that took all trials with them.
    machines_lost: int = 0
    num_events: int = 0
    wall_s: float = 0.0


@dataclass(frozen=True)
class KillOptions:
    """How :func:`run_with_kills` kills and checks.

    Args:
        resource_attr: See :class:`~cloudtune.testing.journal_checks.JournalChecker`; None: levels are not checked.
        max_resource_attr: Likewise.
        events_per_life: Mean number of events that the journal may grow by before the tuner is killed.
        machine: Probability that all trials are killed with the tuner.
        silence_s: Seconds without a new event after which the tuner counts as stuck.
    """

    resource_attr: str | None = "epoch"
    max_resource_attr: str | None = None
    events_per_life: float = 6.0
    machine: float = 0.0
    silence_s: float = 60.0


def run_with_kills(
    command: Sequence[str],
    env: Mapping[str, str],
    kills: int,
    seed: int,
    state_dir: Path,
    options: KillOptions | None = None,
) -> KillReport:
    """Runs a tuner, kills it when its journal has grown by a random number of events, runs the same command
    again, ``kills`` times or until the experiment is done; then lets it finish and checks what is left.

    Args:
        command: Runs the tuner in the process itself (no shell around it, which would be killed in its stead).
        env: Its environment.
        kills: How often, at most.
        seed: Of the moments.
        state_dir: The experiment's folder, ``{root}/{tuner_name}``.
        options: See there.

    Raises:
        AssertionError: A report is missing or doubled, a trial has no end, or a process is left over. Names all
            problems, the seed, and the end of the tuner's output.
    """
    options = options or KillOptions()
    clock = WallClock()
    begin = clock.now()
    run = _Run(list(command), {**env, ENV_MARKER: uuid.uuid4().hex}, ExperimentPaths(state_dir), options.silence_s)
    checker = JournalChecker(options.resource_attr, options.max_resource_attr)
    rng = random.Random(seed)
    with tempfile.TemporaryFile() as log:
        run.log = log
        ended = False
        while not ended and len(run.report.killed_at) < kills:
            # None at all is a moment, too: the tuner dies while it starts.
            growth = int(rng.expovariate(1 / options.events_per_life))
            ended = run.live(growth, checker, rng, rng.random() < options.machine)
        if not ended:
            run.live(None, checker, rng, False)
        checker.finish()
        problems = [*checker.problems, *run.leftovers(clock)]
        run.report.wall_s = clock.now() - begin
        if problems:
            shown = "\n  ".join(problems[:10])
            raise AssertionError(
                f"{run.report.kills} kills (seed {seed}), {len(problems)} problems:\n  {shown}\n{run.log_tail()}"
            )
    return run.report


@dataclass
class _Run:
    command: list[str]
    env: dict[str, str]
    paths: ExperimentPaths
    silence_s: float
    report: KillReport = field(default_factory=KillReport)
    log: IO[bytes] | None = None

    def __post_init__(self) -> None:
        self.reader = FileStore(self.paths)

    def live(self, growth: int | None, checker: JournalChecker, rng: random.Random, machine: bool) -> bool:
        """One life of the tuner, to its end or until the journal has grown by ``growth`` events. Returns whether
        it came to its own end."""
        with subprocess.Popen(self.command, env=self.env, stdout=self.log, stderr=subprocess.STDOUT) as tuner:
            try:
                ended = self._watch(tuner, growth, checker)
                if not ended:
                    self._kill(tuner, rng, machine)
            finally:
                if tuner.poll() is None:
                    tuner.kill()
                tuner.wait()
                self._read(checker)
        return ended

    def leftovers(self, clock: WallClock) -> list[str]:
        """Processes that the tuners have left behind."""
        deadline = clock.now() + _SETTLE_S
        while (alive := list(processes.marked(ENV_MARKER, self.env[ENV_MARKER]))) and clock.now() < deadline:
            clock.sleep(_TICK_S)
        return [f"process {pid} is left over: {processes.command_line(pid)}" for pid in alive]

    def log_tail(self) -> str:
        if self.log is None:
            return ""
        self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, self.log.tell() - _LOG_TAIL_BYTES))
        return self.log.read().decode(errors="replace")

    def _watch(self, tuner: subprocess.Popen[bytes], growth: int | None, checker: JournalChecker) -> bool:
        clock = WallClock()
        target = None if growth is None else self.report.num_events + growth
        heard = clock.now()
        while target is None or self.report.num_events < target:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = tuner.wait(_TICK_S)
                if code != 0:
                    raise AssertionError(f"the tuner ended with exit code {code}:\n{self.log_tail()}")
                return True
            if self._read(checker):
                heard = clock.now()
            elif clock.now() - heard > self.silence_s:
                raise AssertionError(f"nothing recorded for {self.silence_s} s:\n{self.log_tail()}")
        return False

    def _read(self, checker: JournalChecker) -> int:
        events = self.reader.read(self.report.num_events)
        checker.feed(events)
        self.report.num_events += len(events)
        return len(events)

    def _kill(self, tuner: subprocess.Popen[bytes], rng: random.Random, machine: bool) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # somewhere between two events
            tuner.wait(rng.random() * 10 * _TICK_S)
        tuner.kill()
        tuner.wait()
        self.report.kills += 1
        self.report.killed_at.append(self.report.num_events)
        if machine:
            self.report.machines_lost += 1
            for pid in processes.marked(ENV_MARKER, self.env[ENV_MARKER]):
                processes.kill(pid)
