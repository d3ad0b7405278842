"""Trials that are processes on this machine, for the crash laboratory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudtune.clock import WallClock
from cloudtune.experiment.ports import AttemptKey
from cloudtune.paths import ExperimentPaths
from cloudtune.testing import processes, witnessed_script
from cloudtune.testing.world import Launch
from cloudtune.trial import Config

#: Processes that have been killed get this long to vanish, seconds.
_SETTLE_S = 30.0


@dataclass
class _Witness:
    """What one process has written of itself."""

    name: str
    launch: Launch
    levels: list[int] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> _Witness | None:
        """None if it was killed before it had said anything."""
        lines = [
            line.split(maxsplit=1) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]
        if not lines:
            return None
        witness = cls(path.name, Launch(*map(int, lines[0][1].split())))
        for kind, text in lines[1:]:
            if kind == "report":
                witness.levels.append(int(text))
            else:
                witness.violations.append(text.strip())
        return witness


@dataclass
class ProcessWorld:
    """A :class:`~cloudtune.testing.world.World` of processes on this machine (Linux), whichever backend runs them.

    The tuner must use :attr:`paths`, the backend :attr:`entry_point`. The search space has ``x`` (float),
    ``epochs`` (how far to train) and ``epoch_s`` (seconds per level, a constant); scripts report ``epoch`` and
    ``loss``.

    Args:
        folder: Of this run alone: what names it in its arguments or environment is a process of this world.
        script: What runs; :mod:`~cloudtune.testing.witnessed_checkpoints` has checkpoints as cloudtune writes
            them.
    """

    folder: Path
    script: Path = Path(witnessed_script.__file__)
    clock: WallClock = field(default_factory=WallClock, init=False)
    resource_attr: str = field(default="epoch", init=False)
    max_resource_attr: str = field(default="epochs", init=False)
    #: Not known here: a process may be killed before it can say that it has begun.
    strict_attempts: bool = field(default=False, init=False)
    #: Witnesses of machines whose disk was lost, and how many of their reports are recorded.
    _lost: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._witnesses.mkdir(parents=True)

    @property
    def paths(self) -> ExperimentPaths:
        """Checkpoints lie apart, since they outlive a lost disk."""
        return ExperimentPaths(self.folder / "experiment", self.folder / "trials", self.folder / "checkpoints")

    @property
    def entry_point(self) -> tuple[str, ...]:
        """The training script."""
        return (sys.executable, "-I", "-S", str(self.script))

    @property
    def launches(self) -> list[Launch]:
        return [witness.launch for witness in self._read()]

    @property
    def violations(self) -> list[str]:
        """Attempts that ran twice, or beside one another."""
        noted: list[str] = []
        known: set[tuple[int, int]] = set()
        for witness in self._read():
            noted += witness.violations
            key = (witness.launch.trial_id, witness.launch.attempt)
            if key in known:
                noted.append(f"attempt {key[1]} of trial {key[0]} has run twice")
            if witness.name not in self._lost:
                known.add(key)
        return noted

    def report(self, config: Config, level: int) -> dict[str, Any]:
        value = 0.0
        for _ in range(level):
            value = witnessed_script.next_value(value, config["x"])
        return {"epoch": level, "loss": value}

    def levels_reported(self, launch: Launch) -> list[int]:
        return sorted({level for witness in self._read() if witness.launch == launch for level in witness.levels})

    def running(self) -> list[str]:
        """Processes; those that are being reaped get some seconds to vanish."""
        deadline = self.clock.now() + _SETTLE_S
        while (alive := list(processes.naming(self.folder))) and self.clock.now() < deadline:
            processes.pause(self.clock)
        return [f"process {pid} ({processes.command_line(pid)})" for pid in alive]

    def lose_machine(self, recorded: Mapping[AttemptKey, int], disk: bool = False) -> None:
        """All processes die at once. Without ``disk``, what they have printed is still there."""
        self.end()
        if disk:
            shutil.rmtree(self.folder / "trials", ignore_errors=True)
            for witness in self._read():
                key = AttemptKey(witness.launch.trial_id, witness.launch.attempt)
                self._lost.setdefault(witness.name, recorded.get(key, 0))

    def scripts(self) -> list[int]:
        """Processes of scripts, without the shells around them."""
        found = processes.naming(self.folder)
        return [pid for pid in found if str(self.script) in processes.command_line(pid).split()[:4]]

    def end(self) -> None:
        """Kills whatever is alive."""
        deadline = self.clock.now() + _SETTLE_S
        while alive := list(processes.naming(self.folder)):
            if self.clock.now() > deadline:
                raise AssertionError(f"these do not die: {[processes.command_line(pid) for pid in alive]}")
            for pid in alive:
                processes.kill(pid)
            processes.pause(self.clock)

    @property
    def _witnesses(self) -> Path:
        return self.folder / witnessed_script.WITNESSES

    def _read(self) -> Iterator[_Witness]:
        """Of each process, in the order of their start."""
        for path in sorted(self._witnesses.glob("*-*")):
            witness = _Witness.of(path)
            if witness is not None:
                del witness.levels[self._lost.get(witness.name, len(witness.levels)) :]
                yield witness
