"""The kinds of faults, as a scenario names them. docs/emulator_scenarios.md tells each with an example.

All times are in the service's seconds. Texts with ``*`` and ``?`` match as file names do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from cloudtune.emulator.faults.reading import chance, choice, number
from cloudtune.errors import SpecError

ZONES = ("a", "b", "c")
STALE_OPERATIONS = ("DescribeTrainingJob", "ListTrainingJobs", "Search")
ERRORS = ("throttled", "internal_error", "unavailable", "connection_reset", "truncated_body")


@dataclass(frozen=True)
class Limits:
    """How far a fault goes. All kinds have these.

    Args:
        times: How often it strikes each job or, where it strikes requests, in all. None: always.
        after_s: Not before, since the scenario is in force.
        until_s: Not later, likewise.
        name_prefix: Only training jobs whose name begins so, and only requests that name such a job.
    """

    times: int | None = number(1, default=None)
    after_s: float = number(default=0.0)
    until_s: float | None = number(default=None)
    name_prefix: str = ""


_NO_LIMITS = Limits()


@dataclass(frozen=True)
class Interruption:
    """Takes the instances of spot jobs away, at a time or by chance.

    Args:
        training_s: After the training of an attempt has begun; or
        rate_per_hour: Mean number of interruptions per hour of training; the time to the next is exponential.
        notice: SIGTERM and the grace period first. Without, the last checkpoints are not uploaded.
        instance_types: Which.
    """

    kind: ClassVar[str] = "interruption"
    training_s: float | None = number(default=None)
    rate_per_hour: float | None = number(above=True, default=None)
    notice: bool = False
    instance_types: tuple[str, ...] = ("*",)
    limits: Limits = _NO_LIMITS

    def check(self, where: str) -> None:
        if (self.training_s is None) == (self.rate_per_hour is None):
            raise SpecError(f"{where} needs one of training_s and rate_per_hour.", 'Example: "rate_per_hour": 2.')
        if self.training_s is not None and self.limits.times is None:
            raise SpecError(
                f"{where} has training_s without times: a longer job would never end.", 'Example: "times": 1.'
            )


@dataclass(frozen=True)
class TraceEvent:
    """All spot jobs of that type in that zone lose their instances at once."""

    time_s: float = number()
    zone: str = "*"
    instance_type: str = "*"
    notice: bool = False


@dataclass(frozen=True)
class InterruptionTrace:
    """Interruptions as they were recorded. An attempt runs in a zone that chance has chosen for it.

    Args:
        events: In any order; times since the scenario is in force.
    """

    kind: ClassVar[str] = "interruption_trace"
    events: tuple[TraceEvent, ...] = dataclasses.field()
    limits: Limits = _NO_LIMITS

    def check(self, where: str) -> None:
        for index, event in enumerate(self.events):
            if event.zone not in ("*", *ZONES):
                raise SpecError(
                    f"{where}: events[{index}]: there is no zone {event.zone!r}.",
                    f"Choose one of: {', '.join(ZONES)}, or * for all.",
                )


@dataclass(frozen=True)
class CapacityError:
    """There is no instance of the type when one is to be launched.

    Args:
        instance_types: Which.
        spot: Only spot, or only on-demand; None: both.
        probability: At each launch.
    """

    kind: ClassVar[str] = "capacity_error"
    instance_types: tuple[str, ...] = ("*",)
    spot: bool | None = None
    probability: float = chance()
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class InternalError:
    """The platform fails under a job, which ends with ``InternalServerError`` unless it has a RetryStrategy.

    Args:
        training_s: After the training of an attempt has begun.
        probability: For each attempt.
    """

    kind: ClassVar[str] = "internal_error"
    training_s: float = number(default=1.0)
    probability: float = chance()
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class LostCheckpointUpload:
    """A checkpoint is never copied to S3, and nobody is told.

    Args:
        key: Pattern of the object's key.
        probability: For each upload.
    """

    kind: ClassVar[str] = "lost_checkpoint_upload"
    key: str = "*"
    probability: float = chance()
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class Throttle:
    """A token bucket for each operation: refused are the requests that find it empty.

    Args:
        operations: ``service:Operation``.
        per_s: Tokens that come in a second.
        burst: Tokens that it holds.
    """

    kind: ClassVar[str] = "throttle"
    operations: tuple[str, ...] = dataclasses.field()
    per_s: float = number(above=True)
    burst: float = number(1.0, default=1.0)
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class RequestError:
    """Requests that fail.

    Args:
        operations: ``service:Operation``.
        error: How.
        after_effect: The request takes place and only its answer is lost. A truncated body always is.
        probability: For each request.
        key: Pattern of the object's key; another than ``*`` restricts the fault to requests for objects.
    """

    kind: ClassVar[str] = "request_error"
    operations: tuple[str, ...] = dataclasses.field()
    error: str = choice(*ERRORS)
    after_effect: bool = False
    probability: float = chance()
    key: str = "*"
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class SlowResponse:
    """Requests that take their time.

    Args:
        operations: ``service:Operation``.
        latency_s: Before the request takes place.
        bytes_per_s: Of what is sent and of what is answered.
        probability: For each request.
        key: Pattern of the object's key, as in :class:`RequestError`.
    """

    kind: ClassVar[str] = "slow_response"
    operations: tuple[str, ...] = dataclasses.field()
    latency_s: float = number(default=0.0)
    bytes_per_s: float | None = number(above=True, default=None)
    probability: float = chance()
    key: str = "*"
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class StaleRead:
    """Answers tell what was a while ago.

    Args:
        operations: Which answers.
        lag_s: Age of what they tell of a job.
        appears_s: List and Search do not show a job until so long after its creation.
    """

    kind: ClassVar[str] = "stale_read"
    operations: tuple[str, ...] = choice(*STALE_OPERATIONS)
    lag_s: float = number(default=0.0)
    appears_s: float = number(default=0.0)
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class LogLag:
    """Log events and streams can be read only after a while."""

    kind: ClassVar[str] = "log_lag"
    no_limits: ClassVar[tuple[str, ...]] = ("times",)
    lag_s: float = number()
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class EmptyLogPage:
    """GetLogEvents answers with no events although there are some, and with a token to go on with."""

    kind: ClassVar[str] = "empty_log_page"
    probability: float = chance()
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class ClockSkew:
    """The service's clock differs from its clients': dates of answers show it, and requests that seem more than 15
    minutes off are refused.

    Args:
        skew_s: Real seconds that the service is ahead; negative: behind.
    """

    kind: ClassVar[str] = "clock_skew"
    no_limits: ClassVar[tuple[str, ...]] = ("times", "name_prefix")
    skew_s: float = number(-1e9, 1e9)
    limits: Limits = _NO_LIMITS


@dataclass(frozen=True)
class EmulatorKilled:
    """The emulator's process is killed, and started again with the same arguments. The scenario begins anew.

    Args:
        at_s: After the scenario has come into force. ``times`` counts the kills.
    """

    kind: ClassVar[str] = "emulator_killed"
    no_limits: ClassVar[tuple[str, ...]] = ("after_s", "until_s", "name_prefix")
    at_s: float = number()
    limits: Limits = _NO_LIMITS


Fault = (
    Interruption
    | InterruptionTrace
    | CapacityError
    | InternalError
    | LostCheckpointUpload
    | Throttle
    | RequestError
    | SlowResponse
    | StaleRead
    | LogLag
    | EmptyLogPage
    | ClockSkew
    | EmulatorKilled
)
KINDS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        Interruption,
        InterruptionTrace,
        CapacityError,
        InternalError,
        LostCheckpointUpload,
        Throttle,
        RequestError,
        SlowResponse,
        StaleRead,
        LogLag,
        EmptyLogPage,
        ClockSkew,
        EmulatorKilled,
    )
}
