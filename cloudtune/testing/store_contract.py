"""What every store must do. Run each of :data:`STORE_CHECKS` with a function that makes an empty disk::

    @pytest.mark.parametrize("check", STORE_CHECKS)
    def test_contract(check):
        check(make_disk)

A *disk* is a function that opens what one process would: a store object, each time it is called.
"""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from cloudtune.errors import Conflict, SpecError, StoreError
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore
from cloudtune.testing.crash_anywhere import CrashableStore, Disk

MakeDisk = Callable[[], Disk]
StoreCheck = Callable[[MakeDisk], None]

_WRITER_TIMEOUT_S = 60.0


def numbered(number: int) -> ev.Event:
    """An event that differs from all others."""
    metrics = {"epoch": number, "loss": number / 7}
    return ev.TrialReported(1.7e9 + number, float(number), number % 5, 0, number // 5, metrics, "CONTINUE")


def check_begins_empty(make_disk: MakeDisk) -> None:
    store = make_disk()()
    _same(store.read(), [])
    store.open("first:1")
    _same(store.read(), [])
    _require(store.durable() == 0, "an empty store has durable events")
    store.append([])
    _same(store.read(), [])
    store.close()


def check_keeps_everything_in_order(make_disk: MakeDisk) -> None:
    store = make_disk()()
    store.open("first:1")
    events = [numbered(number) for number in range(40)]
    store.append(events[:1])
    store.append(events[1:30])
    store.append(events[30:])
    _same(store.read(), events)
    for since in (0, 1, 29, 30, 39, 40, 1000):
        _same(store.read(since), events[since:])
    _require(store.durable() == 40, f"40 events appended, {store.durable()} durable")
    store.close()


def check_keeps_values_exactly(make_disk: MakeDisk) -> None:
    metrics = {
        "nan": math.nan,
        "infinite": -math.inf,
        "tiny": 5e-324,
        "large": 2**70,
        "sum": 0.1 + 0.2,
        "text": 'ä\n\u2028\x00😀 \\ "',
        "": [None, True, {"deep": [1, 1.0]}],
    }
    events = [
        ev.SessionStarted(0.1, 0.0, 0, "höst:1"),
        ev.TrialStarted(1.0, 0.5, 0, 0, {"x": 1e-7, "name": "a b"}, None),
        ev.TrialReported(2.0, 1.5, 0, 0, 0, metrics, "STOP"),
        ev.TrialEnded(3.0, 2.5, 0, 0, "failed", "line 1\nline 2", -9),
        ev.ExperimentEnded(4.0, 3.5, "done"),
    ]
    disk = make_disk()
    store = disk()
    store.open("first:1")
    store.append(events)
    store.close()
    _same(disk().read(), events)


def check_has_one_writer(make_disk: MakeDisk) -> None:
    disk = make_disk()
    first = disk()
    first.open("alpha:17")
    message = _refused(Conflict, lambda: disk().open("beta:18"))
    _require("alpha:17" in message, f"Conflict does not name the holder: {message}")
    first.append([numbered(0)])
    first.close()
    second = disk()
    second.open("beta:18")
    _same(second.read(), [numbered(0)])
    second.close()


def check_outlives_its_writer(make_disk: MakeDisk) -> None:
    disk = make_disk()
    for life in range(5):
        store = disk()
        store.open(f"writer:{life}")
        _same(store.read(), [numbered(number) for number in range(3 * life)])
        store.append([numbered(3 * life)])
        store.append([numbered(3 * life + 1), numbered(3 * life + 2)])
        store.abandon()


def check_needs_open_to_write(make_disk: MakeDisk) -> None:
    store = make_disk()()
    _refused(StoreError, lambda: store.append([numbered(0)]))
    store.open("first:1")
    store.close()
    _refused(StoreError, lambda: store.append([numbered(0)]))
    _same(store.read(), [])


def check_refuses_what_it_cannot_keep(make_disk: MakeDisk) -> None:
    store = make_disk()()
    store.open("first:1")
    bad = ev.TrialStarted(0.0, 0.0, 0, 0, {"x": object()})
    _refused(SpecError, lambda: store.append([numbered(0), bad]))
    _same(store.read(), [])
    _refused(SpecError, lambda: store.read(-1))
    store.append([numbered(0)])
    _same(store.read(), [numbered(0)])
    store.close()


def check_is_read_while_written(make_disk: MakeDisk) -> None:
    disk = make_disk()
    writer, reader = disk(), disk()
    writer.open("first:1")
    seen: list[ev.Event] = []
    for number in range(0, 60, 3):
        writer.append([numbered(number + offset) for offset in range(3)])
        seen.extend(reader.read(len(seen)))
        _require(len(seen) == number + 3, f"{number + 3} events appended, a reader has seen {len(seen)}")
    _same(seen, [numbered(number) for number in range(60)])
    writer.close()


def check_random_history(make_disk: MakeDisk, seed: int = 0, steps: int = 60) -> None:
    """Appends, crashes, reopens and reads at random, beside a plain list."""
    rng = random.Random(seed)
    disk = make_disk()
    model: list[ev.Event] = []
    writer, reader = disk(), disk()
    writer.open("writer:0")
    for step in range(steps):
        choice = rng.random()
        if choice < 0.5:
            batch = [numbered(len(model) + offset) for offset in range(rng.randrange(6))]
            writer.append(batch)
            model += batch
        elif choice < 0.65:
            writer.abandon() if rng.random() < 0.5 else writer.close()
            writer = writer if rng.random() < 0.3 else disk()
            writer.open(f"writer:{step}")
        else:
            since = rng.randrange(len(model) + 2)
            _same((writer if rng.random() < 0.5 else reader).read(since), model[since:])
            _require(writer.durable() <= len(model), "more events are durable than were appended")
    writer.close()
    _same(disk().read(), model)


STORE_CHECKS: tuple[StoreCheck, ...] = (
    check_begins_empty,
    check_keeps_everything_in_order,
    check_keeps_values_exactly,
    check_has_one_writer,
    check_outlives_its_writer,
    check_needs_open_to_write,
    check_refuses_what_it_cannot_keep,
    check_is_read_while_written,
    check_random_history,
)

_WRITER = """
import random, sys
from pathlib import Path
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore
from cloudtune.testing.store_contract import numbered
store = FileStore(ExperimentPaths(Path(sys.argv[1])), segment_bytes=int(sys.argv[3]))
store.open("writer")
count, rng = len(store.read()), random.Random(sys.argv[2])
while True:
    size = rng.choice((1, 1, 3, 50, 400))
    store.append([numbered(count + offset) for offset in range(size)])
    count += size
    print(count, flush=True)
"""


def check_file_survives_kill(paths: ExperimentPaths, kills: int, seed: int = 0, segment_bytes: int = 8192) -> int:
    """Kills real writers (SIGKILL) of one journal at random moments during appends. Every acknowledged event
    must be there, in order, once. Returns the number of events at the end."""
    rng = random.Random(seed)
    reader = FileStore(paths, segment_bytes)
    known = 0
    for kill in range(kills):
        acknowledged = _write_and_kill(paths, f"{seed}/{kill}", segment_bytes, rng)
        known += len(new := reader.read(known))
        _same(new, [numbered(number) for number in range(known - len(new), known)])
        _require(known >= acknowledged, f"{acknowledged} events were acknowledged, {known} are there")
    survivor = FileStore(paths, segment_bytes)
    survivor.open("survivor")
    _same(survivor.read(), [numbered(number) for number in range(known)])
    survivor.close()
    return known


def _write_and_kill(paths: ExperimentPaths, seed: str, segment_bytes: int, rng: random.Random) -> int:
    command = [sys.executable, "-c", _WRITER, str(paths.dir), seed, str(segment_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        if writer.stdout is None:
            raise AssertionError("the writer has no output")
        acknowledged = 0
        for _ in range(rng.randrange(1, 12)):
            acknowledged = int(writer.stdout.readline())
        for _ in range(rng.randrange(4000)):  # some microseconds into the next append
            pass
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:  # acknowledged before the signal arrived
            acknowledged = int(line) if line.endswith("\n") else acknowledged
        writer.wait(_WRITER_TIMEOUT_S)
    return acknowledged


def _refused(error: type[Exception], action: Callable[[], object]) -> str:
    try:
        action()
    except error as caught:
        return str(caught)
    raise AssertionError(f"{error.__name__} was expected, nothing was raised")


def _same(found: Sequence[ev.Event], expected: Sequence[ev.Event]) -> None:
    left, right = [ev.encode(event) for event in found], [ev.encode(event) for event in expected]
    if left != right:  # compared as text, since NaN differs from itself
        differing = next((i for i, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), None)
        where = "" if differing is None else f", first at {differing}: {left[differing]}, not {right[differing]}"
        raise AssertionError(f"{len(left)} events were read, {len(right)} expected{where}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


__all__ = [
    "STORE_CHECKS",
    "CrashableStore",
    "Disk",
    "MakeDisk",
    "StoreCheck",
    "check_file_survives_kill",
    "numbered",
]
