"""When an attempt of a job has to end, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloudtune._compat import StrEnum
from cloudtune.emulator.faults import Faults, SpotAttempt
from cloudtune.emulator.faults.interruptions import Strike
from cloudtune.emulator.fleet.jobs import TrainingJob


class Cause(StrEnum):
    """Why an attempt ends other than by itself; a later one replaces an earlier one only if it is stronger."""

    interrupted = "interrupted"
    max_runtime = "max_runtime"
    max_wait = "max_wait"
    stopped = "stopped"
    internal_error = "internal_error"
    aborted = "aborted"

    @property
    def strength(self) -> int:
        return list(Cause).index(self)


@dataclass(frozen=True)
class Due:
    """An end that is to come.

    Args:
        when: Service time; infinite: never.
        cause: Why.
        notice: Whether the program gets SIGTERM and the grace period.
        strike: The interruption, if it is one.
    """

    when: float
    cause: Cause
    notice: bool = True
    strike: Strike | None = None


class Deadlines:
    """Of one attempt.

    Args:
        job: Whose.
        number: Of the attempt.
        instance_types: Of its instances.
        faults: May take these away.
    """

    def __init__(self, job: TrainingJob, number: int, instance_types: tuple[str, ...], faults: Faults) -> None:
        self._job = job
        self._number = number
        self._types = instance_types
        self._faults = faults
        #: Service time at which Downloading began.
        self.began = math.inf
        #: Service time at which Training began; infinite before.
        self.training_began = math.inf

    def first(self) -> Due:
        """The end that comes first, as the faults are now."""
        job = self._job
        runtime_ends = self.began + job.max_runtime_s - job.seconds_used
        ends = [Due(job.created + job.max_wait_s, Cause.max_wait), Due(runtime_ends, Cause.max_runtime)]
        if job.is_spot:
            attempt = SpotAttempt(job.name, self._number, self._types, self.began, self.training_began)
            strike = self._faults.next_interruption(attempt)
            if strike is not None:
                ends.append(Due(strike.when, Cause.interrupted, strike.notice, strike))
        after_s = self._faults.internal_error(job.name, self._number)
        if after_s is not None:
            ends.append(Due(self.training_began + after_s, Cause.internal_error, notice=False))
        return min(ends, key=lambda due: due.when)

    def struck(self, due: Due) -> None:
        """Notes that the faults were the end of the attempt, if they were."""
        if due.strike is not None:
            self._faults.fired(due.strike, self._job.name)
        elif due.cause is Cause.internal_error:
            self._faults.failed(self._job.name, self._number)
