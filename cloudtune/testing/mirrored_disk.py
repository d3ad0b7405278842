"""The mirrored store in the crash laboratory: a real S3, and disks that are kept or lost."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.retry import Wait
from cloudtune.clock import Clock, WallClock
from cloudtune.errors import Throttled, Unreachable
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.remote.writer_claim import NewestClaim, WriterClaim
from cloudtune.stores import FileStore
from cloudtune.testing.crash_anywhere import Disk
from cloudtune.testing.fuse import Fuse, SimulatedCrash

#: For the module of the mirrored store: a life of a tuner in a laboratory takes less than the usual pauses.
IMPATIENCE: dict[str, Any] = {
    **dict.fromkeys(("_BATCH_S", "_PACE_S", "_RETRY_S"), 0.002),
    "_RESTORE_WAITS": dict.fromkeys(
        (Throttled, Unreachable), Wait(base_s=0.002, cap_s=0.01, give_up_after_s=60.0)
    ),
}
_CATCH_UP_S = 60.0
_LOOK_S = 0.02
#: Share of appends after which S3 has everything: where a lost machine's successor may begin.
_CAUGHT_UP = 0.2


class Wire:
    """S3 as one life of the tuner reaches it. Its ``fuse`` counts calls of the store, of whichever thread; the one
    that is hit dies at once, the tuner at its next call of the store."""

    def __init__(self, objects: S3Objects) -> None:
        self._objects = objects
        self.fuse = Fuse()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._call, name)

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        effect = functools.partial(getattr(self._objects, name), *args, **options)
        half = functools.partial(_cut_short, effect) if name == "download_missing" else None
        return self.fuse.call(f"s3.{name}", effect, half)


@dataclass
class Unreliable(Fuse):
    """Calls fail at random, before their effect or after it: the answer is lost."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    share: float = 0.25
    num_failed: int = field(default=0, init=False)

    def call(self, name: str, effect: Callable[[], Any], half: Callable[[], object] | None = None) -> Any:
        draw = self.rng.random()
        if not self.blown and draw < self.share / 2:
            self.num_failed += 1
            raise Throttled(f"{name}: slow down.")
        result = super().call(name, effect, half)
        if draw > 1 - self.share / 2:
            self.num_failed += 1
            raise Unreachable(f"{name}: no answer.")
        return result


class _CutError(Exception):
    pass


def _cut_short(download: Callable[..., Any]) -> None:
    """Dies after the first file."""

    def cut(*_progress: int) -> NoReturn:
        raise _CutError

    with contextlib.suppress(_CutError):
        download(on_progress=cut, workers=1)


class PatientStore(MirroredStore):
    """S3 works in real time: a tuner on a virtual clock waits for it."""

    def durable(self) -> int:
        if super().durable() < len(self.read()) and self._conflict is None:
            self._clock.sleep(_LOOK_S)
        return super().durable()


class MirroredLife:
    """What one life of the tuner has as its store. Before it is opened, the laboratory looks."""

    def __init__(self, store: MirroredStore, wire: Wire, disk: MirroredDisk) -> None:
        self._store = store
        self._wire = wire
        self._disk = disk
        self._is_open = False
        self._rng = random.Random(0)
        self._clock = WallClock()

    def open(self, holder: str) -> None:
        self._is_open = True
        self._wire.fuse = self._disk.next_fuse()
        self._disk.was_closed = False
        self._store.open(holder)

    def append(self, events: Sequence[ev.Event]) -> None:
        self._die_with_the_wire()
        self._store.append(events)
        if self._rng.random() < _CAUGHT_UP:
            self._catch_up()

    def read(self, since: int = 0) -> list[ev.Event]:
        if not self._is_open:
            return self._disk.look()[since:]
        self._die_with_the_wire()
        return self._store.read(since)

    def durable(self) -> int:
        self._die_with_the_wire()
        return self._store.durable()

    def close(self) -> None:
        self._die_with_the_wire()
        try:
            self._store.close()
        finally:
            self._die_with_the_wire()
        self._disk.was_closed = True

    def abandon(self) -> None:
        self._wire.fuse.blown = True
        self._store.abandon()

    def _catch_up(self) -> None:
        wanted = len(self._store.read())
        deadline = self._clock.now() + _CATCH_UP_S
        while self._store.durable() < wanted:
            self._die_with_the_wire()
            if self._clock.now() > deadline:
                raise AssertionError(f"S3 does not have {wanted} events within {_CATCH_UP_S} s")
            self._clock.sleep(0.001)

    def _die_with_the_wire(self) -> None:
        if self._wire.fuse.blown:
            raise SimulatedCrash("S3")


class MirroredDisk:
    """``make_disk`` and ``lose_disk`` of a laboratory: each run has a disk and a prefix in S3.

    Args:
        objects: S3.
        state: Below which all runs lie.
        new_paths: Of the next run, called once for each.
        claim: Which session may write.

    Attributes:
        fuses: What S3 does to the lives of a run, one after the other; it works for further ones.
    """

    def __init__(
        self,
        objects: S3Objects,
        state: S3Uri,
        new_paths: Callable[[], ExperimentPaths],
        claim: Callable[[S3Objects, S3Uri, Clock], WriterClaim] = NewestClaim,
    ) -> None:
        self._objects = objects
        self._states = (state / str(number) for number in itertools.count())
        self._new_paths = new_paths
        self._claim = claim
        self.fuses: Callable[[], Sequence[Fuse]] = tuple
        self._waiting: list[Fuse] = []
        #: Whether the newest life has closed its store.
        self.was_closed = False

    def make(self) -> Disk:
        self._state, self._paths = next(self._states), self._new_paths()
        self._waiting = list(self.fuses())

        def life() -> MirroredLife:
            wire = Wire(self._objects)
            store = PatientStore(self._paths, cast("S3Objects", wire), self._state, claim=self._claim)
            return MirroredLife(store, wire, self)

        return life

    def elsewhere(self, paths: ExperimentPaths) -> MirroredStore:
        """The same experiment's store, as another machine has it."""
        return PatientStore(paths, self._objects, self._state, claim=self._claim)

    def next_fuse(self) -> Fuse:
        return self._waiting.pop(0) if self._waiting else Fuse()

    def lose(self) -> None:
        """The journal here is gone; S3 is not."""
        shutil.rmtree(self._paths.dir, ignore_errors=True)

    def look(self) -> list[ev.Event]:
        """The journal here, or, on a machine that has none, in S3; holds the two against each other."""
        scratch = ExperimentPaths(self._paths.dir.with_name("look") / self._paths.name)
        shutil.rmtree(scratch.dir, ignore_errors=True)
        self._objects.download_missing(self._state, scratch.dir)
        there, here = FileStore(scratch).read(), FileStore(self._paths).read()
        if not here or (self._paths.dir / ".restoring").exists():
            return there
        if there != here[: len(there)]:
            raise AssertionError(f"S3 has {len(there)} events which are no beginning of the {len(here)} here")
        if self.was_closed and len(there) < len(here):
            raise AssertionError(f"the store was closed; S3 has {len(there)} of {len(here)} events")
        return here


def folders_below(root: Path) -> Callable[[], ExperimentPaths]:
    numbers = itertools.count()
    return lambda: ExperimentPaths(root / str(next(numbers)) / "experiment")
