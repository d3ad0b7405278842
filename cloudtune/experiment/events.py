"""The facts of which an experiment consists, and their JSON form.

Each has ``time`` (seconds since the epoch) and ``elapsed_s`` (seconds the experiment has been running, pauses
between sessions excluded). Unknown kinds and fields are errors: a journal is never half understood.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cloudtune.errors import StoreError
from cloudtune.trial import Config

SCHEMA = 1


@dataclass(frozen=True)
class Event:
    kind: ClassVar[str] = ""

    time: float
    elapsed_s: float


@dataclass(frozen=True)
class SessionStarted(Event):
    """A tuner process takes over. Session 0 creates the experiment."""

    kind: ClassVar[str] = "session_started"

    session: int
    #: ``host:pid`` of the tuner.
    holder: str


@dataclass(frozen=True)
class TrialStarted(Event):
    """The intent to run an attempt; recorded before anything is started."""

    kind: ClassVar[str] = "trial_started"

    trial_id: int
    attempt: int
    config: Config
    checkpoint_trial_id: int | None = None


@dataclass(frozen=True)
class TrialReported(Event):
    """A report, and what the scheduler decided upon it."""

    kind: ClassVar[str] = "trial_reported"

    trial_id: int
    attempt: int
    #: Number of the report within its attempt, from 0.
    seq: int
    metrics: dict[str, Any]
    #: A :class:`~cloudtune.optimizer.scheduler.SchedulerDecision`.
    decision: str
    #: What the tuner's own callbacks add to the row of results.
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StopRequested(Event):
    """The intent to end an attempt; recorded before the backend is asked."""

    kind: ClassVar[str] = "stop_requested"

    trial_id: int
    attempt: int
    #: The outcome it will have: ``stopped``, ``paused``, ``interrupted``, or ``failed`` (a report was of no use).
    outcome: str


@dataclass(frozen=True)
class TrialEnded(Event):
    """An attempt has ended; all its reports are recorded."""

    kind: ClassVar[str] = "trial_ended"

    trial_id: int
    attempt: int
    #: An :class:`~cloudtune.trial.Outcome`.
    outcome: str
    #: Why, for people; for a failure the end of its error output.
    reason: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class CostMeasured(Event):
    """What something has cost so far; replaces what was recorded of the same source before."""

    kind: ClassVar[str] = "cost_measured"

    #: What is paid for: a job's name, ``warm pool of NAME``, the tuner's own instance.
    source: str
    #: US dollars, and seconds that are billed, per instance.
    usd: float
    billed_s: float
    #: As billed; otherwise an estimate while it runs.
    final: bool
    #: The trial it was for; None: all of them.
    trial_id: int | None = None


@dataclass(frozen=True)
class TimePassed(Event):
    """Nothing happened for a while; elapsed time is a fact, too."""

    kind: ClassVar[str] = "time_passed"


@dataclass(frozen=True)
class TuningStopped(Event):
    """No trial is started any more, and running ones are stopped (unless ``drain``)."""

    kind: ClassVar[str] = "tuning_stopped"

    reason: str
    drain: bool = False


@dataclass(frozen=True)
class ExperimentEnded(Event):
    """The last event; nothing runs any more. ``error`` is empty if all went well."""

    kind: ClassVar[str] = "experiment_ended"

    reason: str
    error: str = ""


EVENTS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        SessionStarted,
        TrialStarted,
        TrialReported,
        StopRequested,
        TrialEnded,
        CostMeasured,
        TimePassed,
        TuningStopped,
        ExperimentEnded,
    )
}


def encode(event: Event) -> str:
    """One line of JSON, no newline. Non-finite numbers are written as Python's json does (NaN, Infinity)."""
    record: dict[str, Any] = {"kind": event.kind, "schema": SCHEMA}
    for item in dataclasses.fields(event):
        value = getattr(event, item.name)
        if item.default_factory is dataclasses.MISSING or value:
            record[item.name] = value
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True)


def decode(line: str | bytes, where: str = "journal") -> Event:
    """The inverse of :func:`encode`.

    Raises:
        StoreError: Naming ``where``, if the line is no event that this version knows.
    """
    try:
        record = json.loads(line)
        kind, schema = record.pop("kind"), record.pop("schema")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(
            f"{where} holds a damaged line: {str(line)[:80]!r} ({error}).",
            "Restore the file from its copy in S3 or a backup; earlier segments are intact.",
        ) from error
    cls = EVENTS.get(kind)
    if cls is None or schema != SCHEMA:
        raise StoreError(
            f"{where} holds an event of kind {kind!r}, schema {schema!r}; this version of cloudtune knows "
            f"schema {SCHEMA} and the kinds {', '.join(EVENTS)}.",
            "Upgrade cloudtune to the version that wrote it.",
        )
    try:
        return cls(**record)
    except TypeError as error:
        raise StoreError(f"{where}: {kind} has unexpected fields ({error}).") from error
