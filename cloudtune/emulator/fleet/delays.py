"""How long the platform takes to bring instances up and to take them down."""

from __future__ import annotations

import random
from dataclasses import dataclass

from cloudtune.emulator.fleet.instances import Cluster

Range = tuple[float, float]
_NONE: Range = (0.0, 0.0)


@dataclass(frozen=True)
class FamilyDelays:
    """Service seconds, each the lowest and the highest, of the instance types that begin with one of ``families``.

    Args:
        families: Beginnings of names, such as ``ml.g``.
        start: From the request for on-demand instances to the download of the job's data.
        spot_start: The same for spot instances.
        stop: From the end of a stopped job's program to its last state.
        release: From a job's last state until its instances count no more for the quota.
    """

    families: tuple[str, ...]
    start: Range = _NONE
    spot_start: Range = _NONE
    stop: Range = _NONE
    release: Range = _NONE


#: The first entry that fits counts.
DelayTable = tuple[FamilyDelays, ...]
CALM: DelayTable = (FamilyDelays(("ml.",)),)
#: Guesses of November 2026, after what users report: GPUs take longer than CPUs, spot longer than on demand, and a
#: quota is free again minutes after a job's end.
REALISTIC: DelayTable = (
    FamilyDelays(("ml.p", "ml.trn"), (180.0, 360.0), (300.0, 900.0), (20.0, 60.0), (120.0, 300.0)),
    FamilyDelays(("ml.g",), (150.0, 300.0), (180.0, 600.0), (15.0, 45.0), (90.0, 240.0)),
    FamilyDelays(("ml.",), (60.0, 120.0), (75.0, 240.0), (5.0, 20.0), (60.0, 180.0)),
)


class Delays:
    """Draws delays from a table. A draw depends on the seed, the job's name and the attempt alone.

    Args:
        table: The ranges.
        seed: Other seeds give other delays.
    """

    def __init__(self, table: DelayTable = CALM, seed: int = 0) -> None:
        self.use(table, seed)

    def use(self, table: DelayTable, seed: int = 0) -> None:
        """From now on; delays that have begun stay."""
        self._table, self._seed = table, seed

    def start_s(self, cluster: Cluster, spot: bool, job_name: str, attempt: int) -> float:
        """Until the slowest of the instances is up, in service seconds."""
        what = "spot_start" if spot else "start"
        return self._draw(cluster, what, job_name, attempt)

    def stop_s(self, cluster: Cluster, job_name: str) -> float:
        return self._draw(cluster, "stop", job_name, 0)

    def release_s(self, cluster: Cluster, job_name: str) -> float:
        return self._draw(cluster, "release", job_name, 0)

    def _draw(self, cluster: Cluster, what: str, job_name: str, attempt: int) -> float:
        longest = 0.0
        for number, (instance_type, _) in enumerate(cluster):
            low, high = self._range(instance_type, what)
            generator = random.Random(f"{self._seed}/{what}/{job_name}/{attempt}/{number}")
            longest = max(longest, generator.uniform(low, high))
        return longest

    def _range(self, instance_type: str, what: str) -> Range:
        for entry in self._table:
            if instance_type.startswith(entry.families):
                found: Range = getattr(entry, what)
                return found
        return _NONE
