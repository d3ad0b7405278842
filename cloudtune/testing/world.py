"""What the crash laboratory asks of the place where trials run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cloudtune.clock import Clock
from cloudtune.experiment.ports import AttemptKey
from cloudtune.trial import Config


@dataclass(frozen=True)
class Launch:
    """A process was really started."""

    trial_id: int
    attempt: int
    #: Level of the checkpoint it began from, 0 if from scratch.
    from_level: int
    max_level: int


class World(Protocol):
    """Outlives the tuner, and knows of itself, not from the tuner or its backend, what was really done.

    Scripts report levels 1, 2, ... up to the one that their configuration names, from 1 or a checkpoint on.
    """

    #: Whether attempts that were skipped are violations (to worlds that can know); set to False where a call that
    #: failed may be the reason.
    strict_attempts: bool

    @property
    def clock(self) -> Clock: ...

    @property
    def resource_attr(self) -> str:
        """Key of the level in reports."""
        ...

    @property
    def max_resource_attr(self) -> str:
        """Key of the configuration that tells a script how far to train."""
        ...

    @property
    def violations(self) -> list[str]:
        """What no tuner may do, as far as the world has seen it done; empty if all is well."""
        ...

    @property
    def launches(self) -> Sequence[Launch]:
        """Every process that was started, in order."""
        ...

    def report(self, config: Config, level: int) -> Mapping[str, Any]:
        """What a script reports at ``level``, whatever has happened to it before."""
        ...

    def levels_reported(self, launch: Launch) -> Sequence[int]:
        """Levels that a process has reported until now, without those that were lost with its machine."""
        ...

    def running(self) -> Sequence[object]:
        """What is alive: orphans, if no tuner is."""
        ...

    def lose_machine(self, recorded: Mapping[AttemptKey, int], disk: bool = False) -> None:
        """All processes die at once.

        Args:
            recorded: How many reports of each attempt the journal has.
            disk: The disk is lost as well; checkpoints alone survive.
        """
        ...


__all__ = ["Launch", "World"]
