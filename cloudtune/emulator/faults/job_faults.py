"""What the emulator's engine asks about faults: interruptions, capacity, the platform's own failures."""

from __future__ import annotations

import threading
from fnmatch import fnmatchcase
from typing import TypeVar, cast

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults.armed import Armed
from cloudtune.emulator.faults.interrupt_rule import InterruptRule
from cloudtune.emulator.faults.interruptions import SpotAttempt, Strike, strike_of
from cloudtune.emulator.faults.kinds import (
    CapacityError,
    ClockSkew,
    EmptyLogPage,
    Fault,
    InternalError,
    Interruption,
    InterruptionTrace,
    LogLag,
    LostCheckpointUpload,
    RequestError,
    SlowResponse,
    Throttle,
)
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.emulator.service_clock import ServiceClock

_OF_REQUESTS = (Throttle, RequestError, SlowResponse, LogLag, EmptyLogPage, ClockSkew)
K = TypeVar("K", bound=Fault)


class Faults:
    """The scenario and the interruption rules in force, and what has come of them. Thread-safe.

    Args:
        clock: The service's.
        audit: Gets an entry of kind ``fault`` for each fault that strikes.
        scenario: What goes wrong.
        seed: Of all draws: the same seed and scenario give the same faults to the same jobs and requests.
    """

    def __init__(
        self,
        clock: ServiceClock | None = None,
        audit: AuditLog | None = None,
        scenario: Scenario | None = None,
        seed: int = 0,
    ) -> None:
        self.clock = clock or ServiceClock()
        self._audit = audit or AuditLog()
        self._lock = threading.Lock()
        self._rules: list[InterruptRule] = []
        self._fired: dict[tuple[int, str], int] = {}
        self._planned: dict[tuple[int, str, int], float | None] = {}
        self.apply(scenario or Scenario(), seed)

    def apply(self, scenario: Scenario, seed: int = 0) -> None:
        """Replaces the scenario: its times begin now, its counts at zero. Interruption rules stay."""
        since = self.clock.now()
        armed = tuple(Armed(number, spec, seed, since) for number, spec in enumerate(scenario.faults))
        with self._lock:
            self.scenario, self.seed, self.since = scenario, seed, since
            self._armed = armed
            #: Whether requests can meet a fault at all.
            self.disturb_requests = any(isinstance(spec, _OF_REQUESTS) for spec in scenario.faults)
            self._planned.clear()

    def armed(self, kind: type[K]) -> list[Armed[K]]:
        """The scenario's faults of that kind."""
        return [cast("Armed[K]", armed) for armed in self._armed if isinstance(armed.spec, kind)]

    def record(self, fault: str, **facts: object) -> None:
        """Notes that a fault has struck."""
        self._audit.record("fault", fault=fault, service_time=self.clock.now(), **facts)

    def add(self, rule: InterruptRule) -> None:
        with self._lock:
            self._rules.append(rule.checked())

    def rules(self) -> list[InterruptRule]:
        with self._lock:
            return list(self._rules)

    def next_interruption(self, attempt: SpotAttempt) -> Strike | None:
        """The earliest that is still to come, for :meth:`fired` when it has."""
        found: list[Strike | None] = []
        with self._lock:
            for number, rule in enumerate(self._rules):
                used = self._fired.get((number, attempt.job_name), 0)
                if rule.concerns(attempt.job_name) and used < rule.times:
                    found.append(Strike(attempt.began + rule.after_s, -1 - number, rule.notice))
        found += [strike_of(armed, attempt) for armed in self.armed(Interruption)]
        found += [strike_of(armed, attempt) for armed in self.armed(InterruptionTrace)]
        return min(filter(None, found), default=None)

    def fired(self, strike: Strike, job_name: str) -> None:
        """Counts an interruption that has taken place."""
        if strike.armed is None:
            key = -1 - strike.number, job_name
            with self._lock:
                self._fired[key] = self._fired.get(key, 0) + 1
        else:  # not by its number: another scenario may be in force meanwhile
            strike.armed.struck(job_name)
        self.record("interruption", job=job_name, rule=strike.number)

    def capacity_error(self, instance_type: str, spot: bool, job_name: str, attempt: int) -> bool:
        """Whether the platform has no such instance now. To be asked before each launch of an instance."""
        for armed in self.armed(CapacityError):
            spec = armed.spec
            fits = spec.spot in (None, spot) and any(fnmatchcase(instance_type, p) for p in spec.instance_types)
            if not fits or not armed.concerns(job_name):
                continue
            if armed.strikes(self.clock.now(), spec.probability, job_name, job_name, attempt):
                self.record("capacity_error", job=job_name, instance_type=instance_type, rule=armed.number)
                return True
        return False

    def internal_error(self, job_name: str, attempt: int) -> float | None:
        """When the platform fails, in service seconds after the attempt's training has begun; None: never."""
        times = [self._platform_fails(armed, job_name, attempt) for armed in self.armed(InternalError)]
        return min((after_s for after_s in times if after_s is not None), default=None)

    def failed(self, job_name: str, attempt: int) -> None:
        """Notes that the platform has failed under an attempt."""
        self.record("internal_error", job=job_name, attempt=attempt)

    def _platform_fails(self, armed: Armed[InternalError], job_name: str, attempt: int) -> float | None:
        """Decides once for each attempt."""
        decision = (armed.number, job_name, attempt)
        with self._lock:
            if decision in self._planned:
                return self._planned[decision]
            spec = armed.spec
            fails = armed.concerns(job_name) and armed.strikes(
                self.clock.now(), spec.probability, job_name, job_name, attempt
            )
            planned = self._planned[decision] = spec.training_s if fails else None
        return planned

    def checkpoint_upload_lost(self, job_name: str, key: str) -> bool:
        """Whether the platform silently skips this upload of the object ``key``, as if it had succeeded."""
        for armed in self.armed(LostCheckpointUpload):
            spec = armed.spec
            if not armed.concerns(job_name) or not fnmatchcase(key, spec.key):
                continue
            if armed.strikes(self.clock.now(), spec.probability, job_name, job_name, key):
                self.record("lost_checkpoint_upload", job=job_name, key=key, rule=armed.number)
                return True
        return False
