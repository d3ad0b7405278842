"""A fault of a scenario in force: when it strikes, and how often it has."""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import Generic, TypeVar

from cloudtune.emulator.faults.draws import exponential, uniform
from cloudtune.emulator.faults.kinds import Fault

F = TypeVar("F", bound=Fault, covariant=True)


class Armed(Generic[F]):
    """Thread-safe.

    Args:
        number: Of the fault in its scenario.
        spec: What it is.
        seed: Of all draws.
        since: Service time since when it is in force.
    """

    def __init__(self, number: int, spec: F, seed: int, since: float) -> None:
        self.number = number
        self.spec = spec
        self._seed = seed
        limits = spec.limits
        self.begins = since + limits.after_s
        self.ends = math.inf if limits.until_s is None else since + limits.until_s
        self.since = since
        self._asked: Counter[tuple[str | int, ...]] = Counter()
        self._struck: Counter[str] = Counter()
        self._lock = threading.Lock()

    def concerns(self, job_name: str) -> bool:
        return job_name.startswith(self.spec.limits.name_prefix)

    def is_open(self, now: float) -> bool:
        return self.begins <= now <= self.ends

    def is_spent(self, subject: str) -> bool:
        """Whether it has struck often enough."""
        times = self.spec.limits.times
        with self._lock:
            return times is not None and self._struck[subject] >= times

    def strikes(self, now: float, probability: float, subject: str, *decision: str | int) -> bool:
        """Decides, and counts if so.

        Args:
            now: Service time.
            probability: Of each decision.
            subject: What ``times`` is counted for: a job; empty: all.
            decision: What is decided. The same again is another decision: it has a number in the draw.
        """
        if not self.is_open(now):
            return False
        with self._lock:
            if probability < 1.0:
                asked = self._asked[decision]
                self._asked[decision] += 1
                if uniform(self._seed, self.number, *decision, asked) >= probability:
                    return False
            times = self.spec.limits.times
            if times is not None and self._struck[subject] >= times:
                return False
            self._struck[subject] += 1
            return True

    def struck(self, subject: str) -> None:
        """Counts a strike that was decided elsewhere."""
        with self._lock:
            self._struck[subject] += 1

    def wait(self, mean: float, *decision: str | int) -> float:
        """A random waiting time of that mean."""
        return exponential(mean, self._seed, self.number, *decision)

    def pick(self, names: tuple[str, ...], *decision: str | int) -> str:
        """One of the names, the same for all faults of the scenario."""
        return names[int(uniform(self._seed, *decision) * len(names))]
