"""When the spot instances of a job are taken away."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from cloudtune.emulator.faults.armed import Armed
from cloudtune.emulator.faults.kinds import ZONES, Interruption, InterruptionTrace

_HOUR_S = 3600.0


@dataclass(frozen=True)
class SpotAttempt:
    """An attempt of a spot job that has its instances.

    Args:
        job_name: The job.
        number: 0 for the first attempt.
        instance_types: Of its instances.
        launched: Service time since when it has them.
        began: Service time at which its training began; infinite before.
    """

    job_name: str
    number: int
    instance_types: tuple[str, ...]
    launched: float
    began: float

    def has_type(self, patterns: Iterable[str]) -> bool:
        wanted = list(patterns)
        return any(fnmatchcase(found, pattern) for found in self.instance_types for pattern in wanted)


@dataclass(frozen=True, order=True)
class Strike:
    """An interruption that is to come.

    Args:
        when: Service time.
        number: Of the fault in its scenario, or of the rule, counted from -1 down.
        notice: Whether the program gets SIGTERM and the grace period.
        armed: The fault; None: a rule.
    """

    when: float
    number: int
    notice: bool
    armed: Armed[Interruption | InterruptionTrace] | None = field(default=None, compare=False, repr=False)


def strike_of(armed: Armed[Interruption | InterruptionTrace], attempt: SpotAttempt) -> Strike | None:
    """How the fault interrupts the attempt."""
    if not armed.concerns(attempt.job_name) or armed.is_spent(attempt.job_name):
        return None
    found = _by_trace(armed, attempt) if isinstance(armed.spec, InterruptionTrace) else _by_rule(armed, attempt)
    if found is None or not armed.begins <= found[0] <= armed.ends or math.isinf(found[0]):
        return None
    return Strike(found[0], armed.number, found[1], armed)


def _by_rule(armed: Armed[Interruption | InterruptionTrace], attempt: SpotAttempt) -> tuple[float, bool] | None:
    spec = armed.spec
    if not isinstance(spec, Interruption) or not attempt.has_type(spec.instance_types):
        return None
    if spec.rate_per_hour is None:  # where that has passed, as soon as the fault may strike
        return max(attempt.began + (spec.training_s or 0.0), armed.begins), spec.notice
    wait = armed.wait(_HOUR_S / spec.rate_per_hour, attempt.job_name, attempt.number)
    return max(attempt.began, armed.begins) + wait, spec.notice


def _by_trace(armed: Armed[Interruption | InterruptionTrace], attempt: SpotAttempt) -> tuple[float, bool] | None:
    spec = armed.spec
    if not isinstance(spec, InterruptionTrace):
        return None
    zone = armed.pick(ZONES, "zone", attempt.job_name, attempt.number)
    times = [
        (armed.since + event.time_s, event.notice)
        for event in spec.events
        if event.zone in ("*", zone) and attempt.has_type([event.instance_type])
    ]
    hits = [hit for hit in times if hit[0] >= attempt.launched]
    return min(hits, default=None)
