"""Which faults a request meets."""

from __future__ import annotations

import datetime
import threading
import time
import weakref
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from cloudtune.emulator.faults import responses
from cloudtune.emulator.faults.armed import Armed
from cloudtune.emulator.faults.calls import Call, Environ
from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.kinds import ClockSkew, Fault, RequestError, SlowResponse, Throttle
from cloudtune.emulator.faults.responses import Refusal
from cloudtune.emulator.faults.token_bucket import TokenBucket

_MOST_SKEW_S = 900.0
_REFUSALS = {
    "throttled": responses.throttled,
    "internal_error": responses.internal_error,
    "unavailable": responses.unavailable,
}


@dataclass(frozen=True)
class Treatment:
    """
    Args:
        refusal: The answer, instead of the true one.
        reset: There is no answer: the connection is cut.
        truncate: The connection is cut in the middle of the answer.
        takes_place: Whether the request is performed all the same.
        latency_s: Service seconds before anything happens.
        bytes_per_s: In service seconds; None: as fast as it goes.
    """

    refusal: Refusal | None = None
    reset: bool = False
    truncate: bool = False
    takes_place: bool = True
    latency_s: float = 0.0
    bytes_per_s: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the client gets the true answer."""
        return self.refusal is None and not self.reset and not self.truncate


class RequestRules:
    """Decides by the scenario in force. Thread-safe."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        # The buckets of a scenario go when it goes.
        self._buckets: weakref.WeakKeyDictionary[Armed[Fault], dict[str, TokenBucket]] = (
            weakref.WeakKeyDictionary()
        )

    def skew_s(self) -> float:
        """Real seconds that the service's clock is ahead of its clients'."""
        now = self._faults.clock.now()
        return sum(armed.spec.skew_s for armed in self._faults.armed(ClockSkew) if armed.is_open(now))

    def treat(self, call: Call, environ: Environ) -> Treatment:
        """How this request is answered; counts and records what strikes."""
        refusal = self._skewed(call, environ) or self._throttled(call)
        if refusal is not None:
            return Treatment(refusal, takes_place=False)
        return self._slowed(call, self._failed(call))

    def _concerns(self, armed: Armed[Throttle] | Armed[RequestError] | Armed[SlowResponse], call: Call) -> bool:
        spec = armed.spec
        if not call.is_one_of(spec.operations) or not armed.is_open(self._faults.clock.now()):
            return False
        if spec.limits.name_prefix and not (call.job and armed.concerns(call.job)):
            return False
        pattern = "*" if isinstance(spec, Throttle) else spec.key
        return pattern == "*" or bool(call.key and fnmatchcase(call.key, pattern))

    def _record(self, fault: str, call: Call, **facts: object) -> None:
        self._faults.record(fault, operation=call.name, resource=call.resource, **facts)

    def _skewed(self, call: Call, environ: Environ) -> Refusal | None:
        skew = self.skew_s()
        stamp = environ.get("HTTP_X_AMZ_DATE", "")
        if not skew or not stamp:
            return None
        try:
            signed = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            return None
        off = time.time() + skew - signed.timestamp()
        if abs(off) <= _MOST_SKEW_S:
            return None
        self._record("clock_skew", call, off_s=off)
        return responses.too_skewed(call)

    def _throttled(self, call: Call) -> Refusal | None:
        for armed in self._faults.armed(Throttle):
            if not self._concerns(armed, call) or armed.is_spent(""):
                continue
            if not self._take(armed, call):
                armed.struck("")
                self._record("throttled", call, rule=armed.number)
                return responses.throttled(call)
        return None

    def _take(self, armed: Armed[Throttle], call: Call) -> bool:
        now = self._faults.clock.now()
        with self._lock:
            buckets = self._buckets.setdefault(armed, {})
            if call.name not in buckets:
                buckets[call.name] = TokenBucket(armed.spec.per_s, armed.spec.burst, now)
            return buckets[call.name].take(now)

    def _failed(self, call: Call) -> Treatment:
        for armed in self._faults.armed(RequestError):
            spec = armed.spec
            if not self._concerns(armed, call):
                continue
            if armed.strikes(self._faults.clock.now(), spec.probability, "", call.name, call.resource):
                self._record(spec.error, call, rule=armed.number, after_effect=spec.after_effect)
                if spec.error == "connection_reset":
                    return Treatment(reset=True, takes_place=spec.after_effect)
                if spec.error == "truncated_body":
                    return Treatment(truncate=True)
                return Treatment(_REFUSALS[spec.error](call), takes_place=spec.after_effect)
        return Treatment()

    def _slowed(self, call: Call, treatment: Treatment) -> Treatment:
        for armed in self._faults.armed(SlowResponse):
            spec = armed.spec
            if not self._concerns(armed, call):
                continue
            if armed.strikes(self._faults.clock.now(), spec.probability, "", call.name, call.resource):
                self._record("slow_response", call, rule=armed.number, latency_s=spec.latency_s)
                rates = [rate for rate in (treatment.bytes_per_s, spec.bytes_per_s) if rate is not None]
                treatment = replace(
                    treatment,
                    latency_s=treatment.latency_s + spec.latency_s,
                    bytes_per_s=min(rates, default=None),
                )
        return treatment
