"""Kill the tuner at every call of store and backend, resume, and compare with the run that was never disturbed.

A *life* is one tuner process. It ends with :class:`SimulatedCrash` at a chosen call: before the call has any
effect, after it has had all of it, or, for ``append``, after half of the events are on disk. From then on
everything the dying tuner still tries (``finally`` and the like) does nothing, as after SIGKILL. The next life is
a new tuner on the same world, the same disk.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn, Protocol

from cloudtune._compat import StrEnum
from cloudtune.clock import Clock
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.testing.journal_checks import check_journal, recorded_levels, recorded_reports
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import Launch, ScriptedWorld

_STORE_CALLS = ("open", "append", "read", "durable", "close")
_BACKEND_CALLS = (
    "open",
    "start",
    "poll",
    "stop",
    "wait",
    "close",
    "acknowledge",
    "copy_checkpoint",
    "delete_checkpoint",
)


class SimulatedCrash(BaseException):
    """SIGKILL, as far as one process can play it to itself."""


class CrashableStore(ExperimentStore, Protocol):
    """A store whose writer can be dropped as by SIGKILL."""

    def abandon(self) -> None: ...


#: Opens, for one life of the tuner, the store that all its lives share.
Disk = Callable[[], CrashableStore]


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
    """

    at: int | None = None
    when: When = When.before
    limit: int = 1_000_000
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

    def _blow(self, name: str) -> NoReturn:
        self.blown = True
        raise SimulatedCrash(name)


class IntentChecker:
    """Holds each side effect against the journal: what is not recorded must not be done.

    Args:
        journal: Reads events from a number on.
        world: Its ``violations`` are where a breach is noted.
    """

    def __init__(self, journal: Callable[[int], list[ev.Event]], world: ScriptedWorld) -> None:
        self._journal, self._world = journal, world
        self._known = 0
        self._started: set[tuple[int, int]] = set()
        self._stopped: set[tuple[int, int]] = set()
        self._reported: set[tuple[int, int]] = set()

    def check(self, name: str, args: tuple[Any, ...]) -> None:
        """Called before ``backend.name(*args)``."""
        if name not in ("start", "stop", "acknowledge") or (name == "acknowledge" and args[1] == 0):
            return
        self._read_on()
        if name == "start":
            recorded = (args[0].trial_id, args[0].attempt) in self._started
        else:
            recorded = tuple(args) in (self._stopped if name == "stop" else self._reported)
        if not recorded:
            self._world.violations.append(f"{name}{args} was asked for and is not recorded")

    def _read_on(self) -> None:
        for event in self._journal(self._known):
            self._known += 1
            if isinstance(event, ev.TrialStarted):
                self._started.add((event.trial_id, event.attempt))
            elif isinstance(event, ev.StopRequested):
                self._stopped.add((event.trial_id, event.attempt))
            elif isinstance(event, ev.TrialReported):
                self._reported.add((event.trial_id, event.metrics[self._world.resource_attr]))


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

        def effect(args: tuple[Any, ...]) -> Any:
            if check is not None:
                check(name, args)
            return bound(*args)

        def call(_: object, *args: Any) -> Any:
            half = None
            if name == "append":
                half = functools.partial(effect, (args[0][: len(args[0]) // 2],))
            return fuse.call(f"{prefix}.{name}", functools.partial(effect, args), half)

        return call

    members = {name: method(name) for name in calls if hasattr(type(target), name)}
    return type(f"Crashing{type(target).__name__}", (), members)()


@dataclass
class Laboratory:
    """One experiment that can be repeated from the beginning.

    Args:
        make_world: The machines, at the beginning.
        make_disk: An empty disk.
        run_once: One life of the tuner: builds it anew (scheduler included) and runs it to the end.
        exact: Whether a disturbed run must give the same journal as an undisturbed one. False if times count
            (``max_wallclock_time``), since the time between the last recorded event and a crash is not recorded.
        max_calls: Calls to store and backend after which a life counts as running away.
    """

    make_world: Callable[[], ScriptedWorld]
    make_disk: Callable[[], Disk]
    run_once: Callable[[ExperimentStore, TrialBackend, Clock], object]
    exact: bool = True
    max_calls: int = 100_000


@dataclass
class Story:
    """What a run left behind."""

    world: ScriptedWorld
    events: list[ev.Event]
    #: Calls of each life.
    lives: list[list[str]]

    def facts(self) -> list[dict[str, Any]]:
        """The journal without times, sessions and the mere passing of time."""
        return [
            {"kind": event.kind, **{f.name: getattr(event, f.name) for f in fields(event) if f.name not in _TIMES}}
            for event in self.events
            if not isinstance(event, ev.SessionStarted | ev.TimePassed)
        ]

    def launches(self) -> list[Launch]:
        return self.world.launches


_TIMES = ("time", "elapsed_s")


class _Run:
    """A world and a disk, and the lives of the tuners that work on them."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self.world = laboratory.make_world()
        self._disk = laboratory.make_disk()
        self.lives: list[list[str]] = []

    def live(self, fuse: Fuse) -> bool:
        """One life; whether it came to its own end."""
        fuse.limit = self._laboratory.max_calls
        store = self._disk()
        backend = ScriptedBackend(self.world)
        intents = IntentChecker(store.read, self.world)
        try:
            self._laboratory.run_once(
                crashing(store, fuse, _STORE_CALLS, "store"),
                crashing(backend, fuse, _BACKEND_CALLS, "backend", intents.check),
                self.world.clock,
            )
        except SimulatedCrash:
            return False
        finally:
            self.lives.append(fuse.calls)
            store.abandon()
        if fuse.blown:
            raise AssertionError(f"the tuner has swallowed SimulatedCrash in {fuse.calls[-1]}")
        return True

    def events(self) -> list[ev.Event]:
        return self._disk().read()

    def story(self) -> Story:
        return Story(self.world, self.events(), self.lives)


def undisturbed(laboratory: Laboratory) -> Story:
    """The run that nothing disturbs. Raises AssertionError if that goes wrong already."""
    run = _Run(laboratory)
    run.live(Fuse())
    story = run.story()
    _expect(problems_of(story), "the run that nothing disturbed")
    return story


def crash_at(laboratory: Laboratory, number: int, when: When) -> Story:
    """Dies at call ``number`` of the first life; the second one runs to the end."""
    run = _Run(laboratory)
    if not run.live(Fuse(number, when)):
        run.live(Fuse())
    return run.story()


def crash_often(laboratory: Laboratory, rng: random.Random, mean_calls: float, machine: float = 0.0) -> Story:
    """Dies again and again, on average after ``mean_calls`` calls, until the experiment is done.

    Args:
        machine: Probability that the machine dies with the tuner: all trials, and what they have reported
            and the journal does not have.
    """
    run = _Run(laboratory)
    patience = 1.0
    while not run.live(Fuse(int(rng.expovariate(1 / mean_calls) * patience), rng.choice(list(When)))):
        patience *= 1.05  # a life that is too short to get anywhere must not be the fate of all
        if rng.random() < machine:
            run.world.lose_machine(recorded_reports(run.events()))
    return run.story()


def problems_of(story: Story, expected: Story | None = None) -> list[str]:
    """What is wrong with a run, by itself and beside the ``expected`` one."""
    world = story.world
    problems = [*world.violations, *check_journal(story.events, world.resource_attr, world.max_resource_attr)]
    problems += [f"{key} is an orphan: it runs, and no tuner does" for key in world.running()]
    problems += _lost_reports(story)
    if expected is not None:
        problems += _first_difference("journal", story.facts(), expected.facts())
        problems += _first_difference("launches", story.launches(), expected.launches())
    return problems


def crash_anywhere(laboratory: Laboratory, sample: int | None = None, seed: int = 0) -> int:
    """Dies once at every call, in every way; then several times in one run.

    Args:
        sample: How many of the points to try, chosen at random; None: all.
        seed: Of that choice, and of the runs with several crashes.

    Returns:
        Number of crash points tried.

    Raises:
        AssertionError: At the first run that differs; says how to repeat it.
    """
    expected = undisturbed(laboratory)
    compared = expected if laboratory.exact else None
    points = [
        (number, when)
        for number, name in enumerate(expected.lives[0])
        for when in When
        if when is not When.halfway or name == "store.append"
    ]
    rng = random.Random(seed)
    if sample is not None and sample < len(points):
        points = sorted(rng.sample(points, sample))
    for number, when in points:
        where = f"crash_at(laboratory, {number}, When.{when}), in {expected.lives[0][number]}"
        _try(where, functools.partial(crash_at, laboratory, number, when), compared)
    for share in (2, 5, 20):
        mean_calls = max(3.0, len(expected.lives[0]) / share)
        for machine, reference in ((0.0, compared), (0.5, None)):
            key = f"{seed}/{share}/{machine}"
            where = f"crash_often(laboratory, random.Random({key!r}), {mean_calls}, {machine})"
            run = functools.partial(crash_often, laboratory, random.Random(key), mean_calls, machine)
            _try(where, run, reference)
    return len(points)


def _lost_reports(story: Story) -> list[str]:
    world = story.world
    recorded = recorded_levels(story.events, world.resource_attr)
    return [
        f"level {level} of trial {launch.trial_id}, reported by attempt {launch.attempt}, is not recorded"
        for launch in world.launches
        for level in world.levels_reported(launch)
        if level not in recorded.get(launch.trial_id, ())
    ]


def _first_difference(what: str, found: Sequence[object], expected: Sequence[object]) -> list[str]:
    for number, (left, right) in enumerate(zip(found, expected, strict=False)):
        if repr(left) != repr(right):  # by text, since NaN differs from itself
            return [f"{what}[{number}] is {left}\n    undisturbed: {right}"]
    if len(found) != len(expected):
        return [f"{what} has {len(found)} entries; undisturbed: {len(expected)}"]
    return []


def _try(where: str, run: Callable[[], Story], expected: Story | None) -> None:
    try:
        story = run()
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    _expect(problems_of(story, expected), where)


def _expect(problems: Sequence[str], where: str) -> None:
    if problems:
        shown = "\n  ".join(problems[:8])
        raise AssertionError(f"{where}: {len(problems)} problems\n  {shown}")
