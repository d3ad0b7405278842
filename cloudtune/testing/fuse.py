"""How a call is made to be the last one of a tuner's life, and how its side effects are watched."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cloudtune._compat import StrEnum
from cloudtune.experiment import events as ev

#: Calls at which a tuner may die.
STORE_CALLS = ("open", "append", "read", "durable", "close")
BACKEND_CALLS = (
    "adopt",
    "open",
    "start",
    "poll",
    "stop",
    "wait",
    "close",
    "acknowledge",
    "retire",
    "copy_checkpoint",
    "delete_checkpoint",
    "metadata",
)


class SimulatedCrash(BaseException):
    """SIGKILL, as far as one process can play it to itself."""


class When(StrEnum):
    """At which moment of a call the tuner dies."""

    before = "before"
    halfway = "halfway"  #: append only: half of the events are stored
    after = "after"


@dataclass
class Fuse:
    """Counts calls, and blows at one of them. What is called later has no effect.

    Args:
        at: Number of the fatal call, from 0; None: never.
        when: See :class:`When`.
        limit: Calls after which the life has run away.
        error: The fatal call raises this instead, once, and the tuner lives on.
    """

    at: int | None = None
    when: When = When.before
    limit: int = 1_000_000
    error: Exception | None = None
    blown: bool = field(default=False, init=False)
    #: Names of the calls so far.
    calls: list[str] = field(default_factory=list, init=False)

    def call(self, name: str, effect: Callable[[], Any], half: Callable[[], object] | None = None) -> Any:
        if self.blown:
            raise SimulatedCrash(name)
        number = len(self.calls)
        self.calls.append(name)
        if number >= self.limit:
            raise AssertionError(f"the tuner has made {number} calls and does not end; last: {self.calls[-8:]}")
        if number != self.at:
            return effect()
        if self.when is When.after:
            effect()
        elif self.when is When.halfway and half is not None:
            half()
        return self._blow(name)

    @property
    def has_failed(self) -> bool:
        """Whether ``error`` has been raised."""
        return self.error is not None and self.at is not None and len(self.calls) > self.at

    def _blow(self, name: str) -> NoReturn:
        if self.error is not None:
            raise self.error
        self.blown = True
        raise SimulatedCrash(name)


class IntentChecker:
    """Holds each side effect against the journal: what is not recorded must not be done.

    Args:
        journal: Reads events from a number on.
        resource_attr: Key of the level in reports.
    """

    def __init__(self, journal: Callable[[int], list[ev.Event]], resource_attr: str) -> None:
        self._journal, self._resource_attr = journal, resource_attr
        self.breaches: list[str] = []
        self._known = 0
        self._started: set[tuple[int, int]] = set()
        self._stopped: set[tuple[int, int]] = set()
        self._reported: set[tuple[int, int]] = set()
        self._ended: set[tuple[int, int]] = set()

    def check(self, name: str, args: tuple[Any, ...]) -> None:
        """Called before ``backend.name(*args)``."""
        known = {
            "start": self._started,
            "stop": self._stopped,
            "acknowledge": self._reported,
            "retire": self._ended,
        }
        if name not in known or (name == "acknowledge" and args[1] == 0):
            return
        self._read_on()
        what = (args[0].trial_id, args[0].attempt) if name == "start" else tuple(args)
        recorded = what in known[name]
        if not recorded:
            self.breaches.append(f"{name}{args} was asked for and is not recorded")

    def _read_on(self) -> None:
        for event in self._journal(self._known):
            self._known += 1
            if isinstance(event, ev.TrialStarted):
                self._started.add((event.trial_id, event.attempt))
            elif isinstance(event, ev.StopRequested):
                self._stopped.add((event.trial_id, event.attempt))
            elif isinstance(event, ev.TrialReported):
                self._reported.add((event.trial_id, event.metrics[self._resource_attr]))
            elif isinstance(event, ev.TrialEnded):
                self._ended.add((event.trial_id, event.attempt))


def crashing(
    target: Any,
    fuse: Fuse,
    calls: Sequence[str],
    prefix: str,
    check: Callable[[str, tuple[Any, ...]], None] | None = None,
) -> Any:
    """``target`` with those of ``calls`` that it has, each through ``fuse``. It has no other methods, hence
    offers the same capabilities. ``check`` is shown each call that takes effect."""

    def method(name: str) -> Callable[..., Any]:
        bound = getattr(target, name)

        def effect(*args: Any, **options: Any) -> Any:
            if check is not None:
                check(name, args)
            return bound(*args, **options)

        def call(_: object, *args: Any, **options: Any) -> Any:
            half = None
            if name == "append":
                half = functools.partial(effect, args[0][: len(args[0]) // 2])
            return fuse.call(f"{prefix}.{name}", functools.partial(effect, *args, **options), half)

        return call

    members = {name: method(name) for name in calls if hasattr(type(target), name)}
    return type(f"Crashing{type(target).__name__}", (), members)()
