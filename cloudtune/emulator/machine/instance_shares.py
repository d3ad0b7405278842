"""What of this machine an instance of a job uses: as many processors as its type has, if they are here.

No job fails because this machine is small: where processors are missing, jobs share those that there are. Memory
beyond that of the type is refused where this system lets us (:mod:`cloudtune.emulator.machine.memory_groups`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cloudtune.emulator.machine.memory_groups import MemoryGroups, entering
from cloudtune.emulator.service_error import JsonObject
from cloudtune.instance_info import InstanceInfo, instance_infos

T = TypeVar("T")
_GPU_DEVICE = re.compile(r"nvidia(\d+)")


@dataclass(frozen=True)
class Machine:
    """Processors that jobs may use: numbers of CPUs, and GPUs as ``CUDA_VISIBLE_DEVICES`` names them."""

    cpus: tuple[int, ...]
    gpus: tuple[str, ...]

    @classmethod
    def here(cls) -> Machine:
        """This machine, as far as this process may use it."""
        if hasattr(os, "sched_getaffinity"):
            cpus = tuple(sorted(os.sched_getaffinity(0)))
        else:
            cpus = tuple(range(os.cpu_count() or 1))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            names = (part.strip() for part in visible.split(",") if part.strip())
            # CUDA sees none from a negative number on: -1 hides all.
            return cls(cpus, tuple(itertools.takewhile(lambda name: not name.startswith("-"), names)))
        devices = Path("/dev").glob("nvidia*")
        numbers = sorted(int(found[1]) for path in devices if (found := _GPU_DEVICE.fullmatch(path.name)))
        return cls(cpus, tuple(map(str, numbers)))


@dataclass(frozen=True)
class Share:
    """What one instance uses.

    Args:
        info: What its type has in the service; None: not in cloudtune's table, it uses everything.
        cpus: Numbers of CPUs.
        gpus: As in ``Machine``.
        group: Control group that limits its memory; None: nothing does.
    """

    info: InstanceInfo | None
    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    group: Path | None = None

    def command(self, command: Sequence[str]) -> list[str]:
        """``command``, such that the share's limits hold for what it starts; on its CPUs see :func:`confined`."""
        return entering(self.group, command)

    @property
    def environment(self) -> dict[str, str]:
        """For its processes."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}

    @property
    def note(self) -> str | None:
        """For the job's log, where GPUs are missing."""
        if self.info is None or len(self.gpus) == self.info.gpus:
            return None
        return f"emulator: {self.info.name} has {self.info.gpus} GPUs; here it uses {len(self.gpus)}"

    def report(self) -> JsonObject:
        """For people: what the type has, and what is used here."""
        info = self.info
        wanted = {} if info is None else {"vcpus": info.vcpus, "gpus": info.gpus, "memory_gib": info.memory_gib}
        limited = self.group is not None
        return {"wanted": wanted, "cpus": list(self.cpus), "gpus": list(self.gpus), "memory_is_limited": limited}


class Shares:
    """Hands out the processors of a machine, those with the fewest users first. Thread-safe.

    Args:
        machine: Whose they are; None: this one's.
        groups: Limit memory; None: those that can be had here.
    """

    def __init__(self, machine: Machine | None = None, groups: MemoryGroups | None = None) -> None:
        self._machine = machine or Machine.here()
        self._groups = groups or MemoryGroups.here()
        self._lock = threading.Lock()
        self._taken: dict[str, Share] = {}

    def take(self, user: str, instance_type: str) -> Share:
        """The share of an instance; to be given back under the same, unique name of its user."""
        info = instance_infos()(instance_type) if instance_type in instance_infos() else None
        machine = self._machine
        group = None
        if info is not None:
            group = self._groups.create(user.replace("/", "-"), int(info.memory_gib * (1 << 30)))
        with self._lock:
            if info is None:
                share = Share(None, machine.cpus, machine.gpus)
            else:
                cpus = [cpu for taken in self._taken.values() for cpu in taken.cpus]
                gpus = [gpu for taken in self._taken.values() for gpu in taken.gpus]
                share = Share(
                    info,
                    tuple(sorted(_least_used(machine.cpus, cpus, info.vcpus))),
                    tuple(_least_used(machine.gpus, gpus, info.gpus)),
                    group,
                )
            self._taken[user] = share
            return share

    def give_back(self, user: str) -> None:
        """To be called when its processes have ended. May be called twice."""
        with self._lock:
            share = self._taken.pop(user, None)
        if share is not None and share.group is not None:
            self._groups.remove(share.group)

    def report(self) -> JsonObject:
        """What is in use, by user."""
        with self._lock:
            return {user: share.report() for user, share in self._taken.items()}


def _least_used(units: Sequence[T], used: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of ``units``, in their order."""
    chosen = sorted(range(len(units)), key=lambda index: (used.count(units[index]), index))[:count]
    return [units[index] for index in sorted(chosen)]


@contextlib.contextmanager
def confined(cpus: Sequence[int]) -> Iterator[None]:
    """What this thread starts meanwhile runs on ``cpus`` alone; nothing where systems have no such thing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)  # of this thread alone, and what it starts inherits it
    try:
        if cpus and set(cpus) < before:
            os.sched_setaffinity(0, cpus)
        yield
    finally:
        os.sched_setaffinity(0, before)
