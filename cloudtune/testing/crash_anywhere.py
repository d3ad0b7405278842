"""Kill the tuner at every call of store and backend, resume, and compare with the run that was never disturbed.
Likewise, let every call fail once.

A *life* is one tuner process. It ends with :class:`~cloudtune.testing.fuse.SimulatedCrash` at a chosen call:
before the call has any effect, after it has had all of it, or, for ``append``, after half of the events are on
disk. From then on everything the dying tuner still tries (``finally`` and the like) does nothing, as after
SIGKILL. The next life is a new tuner on the same world, the same disk. Trials survive, or die with the tuner.

For a scheduler or store of your own, a :class:`~cloudtune.testing.scripted_world.ScriptedWorld` will do: its clock
is virtual, and a disturbed run must give the very journal of the undisturbed one. For a backend of your own, write
a :class:`~cloudtune.testing.world.World` that sees what its trials really do (for processes on this machine,
:class:`~cloudtune.testing.process_world.ProcessWorld` does), and choose how runs in real time are compared::

    Laboratory(make_world, make_disk, run_once, make_backend=MyBackend, compare=same_trials)
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cloudtune.clock import Clock
from cloudtune.errors import CloudtuneError, StoreError
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.testing.fuse import BACKEND_CALLS, STORE_CALLS, Fuse, IntentChecker, SimulatedCrash, When, crashing
from cloudtune.testing.journal_checks import recorded_reports
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.story import Compare, Story, problems_of, same_journal, same_trials
from cloudtune.testing.world import World


class CrashableStore(ExperimentStore, Protocol):
    """A store whose writer can be dropped as by SIGKILL."""

    def abandon(self) -> None: ...


#: Opens, for one life of the tuner, the store that all its lives share.
Disk = Callable[[], CrashableStore]


_MAX_LIVES = 500


@dataclass
class Laboratory:
    """One experiment that can be repeated from the beginning.

    Args:
        make_world: Where trials run, at the beginning.
        make_disk: An empty disk; called after ``make_world``.
        run_once: One life of the tuner: builds it anew (scheduler included) and runs it to the end.
        make_backend: A new backend, not open, for a world; as each life of the tuner has one.
        compare: What a disturbed run must have in common with an undisturbed one. None: nothing but the invariants
            of :func:`~cloudtune.testing.story.problems_of`, which all runs keep; for limits on elapsed time, of
            which a crash takes away a bit, and for schedulers whose decisions depend on which worker is faster.
        lose_disk: Cuts the newest disk back to what its ``durable()`` has promised; None: a machine that is
            lost leaves its disk behind.
        max_calls: Calls to store and backend after which a life counts as running away.
    """

    make_world: Callable[[], World]
    make_disk: Callable[[], Disk]
    run_once: Callable[[ExperimentStore, TrialBackend, Clock], object]
    make_backend: Callable[[Any], TrialBackend] = ScriptedBackend
    compare: Compare | None = same_journal
    lose_disk: Callable[[], None] | None = None
    max_calls: int = 100_000


class _Run:
    """A world and a disk, and the lives of the tuners that work on them."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self.world = laboratory.make_world()
        self._disk = laboratory.make_disk()
        self.lives: list[list[str]] = []
        self._machines_lost = 0
        self._breaches: list[str] = []

    def live(self, fuse: Fuse) -> bool:
        """One life; whether it came to its own end."""
        fuse.limit = self._laboratory.max_calls
        store = self._disk()
        backend = self._laboratory.make_backend(self.world)
        intents = IntentChecker(store.read, self.world.resource_attr)

        def check(name: str, args: tuple[Any, ...]) -> None:
            # What runs is stopped even if that cannot be recorded any more.
            if name != "stop" or not fuse.has_failed:
                intents.check(name, args)

        try:
            self._laboratory.run_once(
                crashing(store, fuse, STORE_CALLS, "store"),
                crashing(backend, fuse, BACKEND_CALLS, "backend", check),
                self.world.clock,
            )
        except SimulatedCrash:
            return False
        finally:
            self.lives.append(fuse.calls)
            self._breaches += intents.breaches
            store.abandon()
        if fuse.blown:
            raise AssertionError(f"the tuner has swallowed SimulatedCrash in {fuse.calls[-1]}")
        return True

    def lose_machine(self) -> None:
        """All trials die, and the disk with them if it can be lost."""
        lose_disk = self._laboratory.lose_disk
        if lose_disk is not None:
            lose_disk()
        self.world.lose_machine(recorded_reports(self.events()), disk=lose_disk is not None)
        self._machines_lost += 1

    def events(self) -> list[ev.Event]:
        return self._disk().read()

    def story(self) -> Story:
        return Story(self.world, self.events(), self.lives, self._machines_lost, self._breaches)


def undisturbed(laboratory: Laboratory) -> Story:
    """The run that nothing disturbs. Raises AssertionError if that goes wrong already."""
    run = _Run(laboratory)
    run.live(Fuse())
    story = run.story()
    _expect(problems_of(story), "the run that nothing disturbed")
    return story


def crash_at(laboratory: Laboratory, number: int, when: When, machine: bool = False) -> Story:
    """Dies at call ``number`` of the first life, with its ``machine`` or alone; the second one runs to the end."""
    run = _Run(laboratory)
    if not run.live(Fuse(number, when)):
        if machine:
            run.lose_machine()
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
            run.lose_machine()
    return run.story()


def relay(laboratory: Laboratory, machine: bool = False) -> Story:
    """Lives one after the other, whatever ends each of them, until one comes to the end of the experiment: they
    are asked to end, fail with a CloudtuneError, or die as ``run_once`` or the disk will have it.

    Args:
        laboratory: Of the lives.
        machine: Whether a life that dies takes its machine with it.

    Raises:
        AssertionError: One that was asked to end, or failed, leaves a trial running; or there is no end.
    """
    run = _Run(laboratory)
    error: CloudtuneError | None = None
    while len(run.lives) < _MAX_LIVES:
        try:
            dead, error = not run.live(Fuse()), None
        except CloudtuneError as failure:
            dead, error = False, failure
        if dead and machine:
            run.lose_machine()
        if not dead and run.world.running():
            raise AssertionError(f"the tuner has ended, and left running {run.world.running()}")
        if not dead and error is None and any(isinstance(event, ev.ExperimentEnded) for event in run.events()):
            return run.story()
    raise AssertionError(f"{_MAX_LIVES} lives have not come to an end; the last error: {error}") from error


def crash_anywhere(laboratory: Laboratory, sample: int | None = None, seed: int = 0) -> int:
    """Dies once at every call, in every way, alone and with its machine; then several times in one run.

    Args:
        sample: How many of the points to try, chosen at random; None: all.
        seed: Of that choice, and of the runs with several crashes.

    Returns:
        Number of crash points tried.

    Raises:
        AssertionError: At the first run that differs; says how to repeat it.
    """
    expected = undisturbed(laboratory)
    calls = expected.lives[0]
    points = [
        (number, when, machine)
        for number, name in enumerate(calls)
        for when in When
        for machine in (False, True)
        if when is not When.halfway or name == "store.append"
    ]
    rng = random.Random(seed)
    if sample is not None and sample < len(points):
        points = sorted(rng.sample(points, sample))
    for number, when, machine in points:
        where = f"crash_at(laboratory, {number}, When.{when}, {machine}), in {calls[number]}"
        _try(laboratory, where, functools.partial(crash_at, laboratory, number, when, machine), expected)
    for share in (2, 5, 20):
        mean_calls = max(3.0, len(calls) / share)
        for probability in (0.0, 0.5):
            key = f"{seed}/{share}/{probability}"
            where = f"crash_often(laboratory, random.Random({key!r}), {mean_calls}, {probability})"
            run = functools.partial(crash_often, laboratory, random.Random(key), mean_calls, probability)
            # Machines that are lost again and again may make an end of a trial.
            _try(laboratory, where, run, None if probability else expected)
    return len(points)


def error_anywhere(laboratory: Laboratory, sample: int | None = None, seed: int = 0) -> int:
    """Each call fails once with a StoreError, before or after its effect.

    The tuner may end with an error, but must leave nothing running; run again, it finishes the experiment, and no
    report is lost or doubled.

    Args:
        sample: How many of the points to try; None: all.
        seed: Of that choice.

    Returns:
        Number of points tried.

    Raises:
        AssertionError: At the first run that goes wrong.
    """
    calls = undisturbed(laboratory).lives[0]
    points = [(number, when) for number in range(len(calls)) for when in (When.before, When.after)]
    if sample is not None and sample < len(points):
        points = sorted(random.Random(seed).sample(points, sample))
    for number, when in points:
        where = f"error {when} call {number}, {calls[number]}"
        _try(laboratory, where, functools.partial(_error_at, laboratory, number, when), None)
    return len(points)


def _error_at(laboratory: Laboratory, number: int, when: When) -> Story:
    run = _Run(laboratory)
    run.world.strict_attempts = False
    with contextlib.suppress(CloudtuneError):
        run.live(Fuse(number, when, error=StoreError("This call was to fail.")))
    orphans = run.world.running()
    if orphans:
        raise AssertionError(f"the tuner has ended, and left running {orphans}")
    run.live(Fuse())
    return run.story()


def _try(laboratory: Laboratory, where: str, run: Callable[[], Story], expected: Story | None) -> None:
    try:
        story = run()
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    problems = problems_of(story)
    if expected is not None and laboratory.compare is not None:
        problems += laboratory.compare(story, expected)
    _expect(problems, where)


def _expect(problems: Sequence[str], where: str) -> None:
    if problems:
        shown = "\n  ".join(problems[:8])
        raise AssertionError(f"{where}: {len(problems)} problems\n  {shown}")


__all__ = [
    "CrashableStore",
    "Disk",
    "Fuse",
    "Laboratory",
    "SimulatedCrash",
    "Story",
    "When",
    "crash_anywhere",
    "crash_at",
    "crash_often",
    "error_anywhere",
    "problems_of",
    "relay",
    "same_journal",
    "same_trials",
    "undisturbed",
]
