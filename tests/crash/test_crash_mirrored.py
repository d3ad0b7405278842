"""The real loop dies at every call, its journal on a disk that is kept or lost, mirrored to a real S3."""

from __future__ import annotations

import functools
import logging
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from crash_lab import laboratory
from local_lab import LocalRig
from moto.server import ThreadedMotoServer
from test_crash_anywhere import FAULTS, SCHEDULERS

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import WallClock
from cloudtune.errors import AccessDenied, AwsError, StoreError, Throttled, Unreachable
from cloudtune.experiment import events as ev
from cloudtune.paths import S3Uri
from cloudtune.remote import mirrored_store
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.testing.crash_anywhere import (
    Laboratory,
    crash_anywhere,
    crash_often,
    error_anywhere,
    problems_of,
    relay,
    same_trials,
)
from cloudtune.testing.fuse import Fuse, SimulatedCrash, When
from cloudtune.testing.mirrored_disk import IMPATIENCE, MirroredDisk, Unreliable, Wire, folders_below
from cloudtune.testing.store_contract import numbered

# The thread that uploads dies with its process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
METHODS = ("random", "grid", "asha-stopping", "asha-promotion", "successive-halving")


@pytest.fixture(scope="module")
def objects() -> Iterator[S3Objects]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    yield S3Objects(AwsSession(endpoint_url=f"http://{host}:{port}", environ=environ))
    server.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads begin at once: here a tuner's life takes less than the usual pause between two of them."""
    for name, value in IMPATIENCE.items():
        monkeypatch.setattr(mirrored_store, name, value)


@pytest.fixture
def state(objects: S3Objects, request: pytest.FixtureRequest) -> S3Uri:
    return S3Uri(objects._session.default_bucket(), f"cloudtune/{request.node.name}")


@pytest.fixture
def disk(objects: S3Objects, state: S3Uri, tmp_path: Path) -> MirroredDisk:
    return MirroredDisk(objects, state, folders_below(tmp_path))


def mirrored(scheduler: str, disk: MirroredDisk, lose: bool = False) -> Laboratory:
    lab = laboratory(SCHEDULERS[scheduler], make_disk=disk.make, max_trials=3, faults=FAULTS[:2])
    lab.lose_disk = disk.lose if lose else None
    return lab


@pytest.mark.parametrize(
    ("scheduler", "lose"),
    [
        ("grid", False),
        ("asha-stopping", True),
        ("successive-halving", True),
    ],
)
def test_dies_anywhere(scheduler: str, lose: bool, disk: MirroredDisk) -> None:
    crash_anywhere(mirrored(scheduler, disk, lose), sample=3)


@pytest.mark.parametrize("scheduler", METHODS)
def test_fails_anywhere(scheduler: str, disk: MirroredDisk) -> None:
    error_anywhere(mirrored(scheduler, disk), sample=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lose", [False, True], ids=["disk-kept", "disk-lost"])
@pytest.mark.parametrize("scheduler", METHODS)
def test_every_point(scheduler: str, lose: bool, disk: MirroredDisk) -> None:
    lab = mirrored(scheduler, disk, lose)
    crash_anywhere(lab)
    error_anywhere(lab)


@pytest.fixture
def local_rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalRig]:
    rig = LocalRig(tmp_path, request.param)
    yield rig
    rig.end()


@pytest.mark.parametrize("lose", [False, True], ids=["disk-kept", "disk-lost"])
@pytest.mark.parametrize("local_rig", ["random", "asha-promotion"], indirect=True)
def test_dies_anywhere_with_real_trials(
    local_rig: LocalRig, lose: bool, objects: S3Objects, state: S3Uri, request: pytest.FixtureRequest
) -> None:
    """As in a tuning job: processes, and a journal in S3; checkpoints outlive the machine."""
    disk = MirroredDisk(objects, state, local_rig.new_paths)
    compare = same_trials if "random" in request.node.name else None
    lab = local_rig.laboratory(compare=compare, lose_disk=disk.lose if lose else None)
    lab.make_disk = disk.make
    crash_anywhere(lab, sample=3)


#: Calls to S3 of the first life: claim and restore, then as many uploads as time allows.
S3_CALLS = range(6)


def two_fuses(number: int, when: When) -> list[Fuse]:
    return [Fuse(number, when), Fuse(number, when)]


def one_error(number: int, when: When, error: type[AwsError]) -> list[Fuse]:
    return [Fuse(number, when, error=error("as scripted"))]


@pytest.mark.parametrize("machine", ["kept", "lost", "lost-with-disk"])
@pytest.mark.parametrize("when", When)
def test_dies_in_each_call_to_s3(when: When, machine: str, disk: MirroredDisk) -> None:
    """So does its successor, which restores; the third life has none of it."""
    lab = mirrored("asha-promotion", disk, machine == "lost-with-disk")
    for number in S3_CALLS:
        disk.fuses = functools.partial(two_fuses, number, when)
        story = relay(lab, machine != "kept")
        assert problems_of(story) == []
        assert number > 2 or len(story.lives) == 3, f"it did not die in call {number}"


@pytest.mark.parametrize("error", [Unreachable, Throttled, AccessDenied])
@pytest.mark.parametrize("when", [When.before, When.after])
def test_each_call_to_s3_fails(when: When, error: type[AwsError], disk: MirroredDisk) -> None:
    lab = mirrored("asha-promotion", disk)
    for number in S3_CALLS:
        disk.fuses = functools.partial(one_error, number, when, error)
        assert problems_of(relay(lab)) == []


@pytest.mark.parametrize("scheduler", METHODS)
def test_s3_is_unreliable(scheduler: str, disk: MirroredDisk) -> None:
    """And the tuner dies with its machine and its disk, again and again."""
    rng = random.Random(scheduler)
    disk.fuses = lambda: [Unreliable(rng=rng) for _ in range(20)]
    story = crash_often(mirrored(scheduler, disk, lose=True), random.Random(scheduler), 30.0, machine=0.5)
    assert problems_of(story) == []


def written(store: MirroredStore, first: int, sessions: int) -> list[ev.Event]:
    """What that many sessions of two events each, hence as many segments, have written."""
    events: list[ev.Event] = [numbered(number) for number in range(first, first + 2 * sessions)]
    for session in range(sessions):
        store.open("an earlier machine")
        store.append(events[2 * session : 2 * session + 2])
        store.close()
    return events


def test_what_came_while_restoring_is_fetched_as_a_whole(objects: S3Objects, state: S3Uri, tmp_path: Path) -> None:
    """A machine restores, an earlier one writes on, and the restored one dies while it fetches the rest."""
    new = folders_below(tmp_path)
    earlier, here = MirroredStore(new(), objects, state), new()
    events = written(earlier, 0, 2)
    wire = Wire(objects)
    dying = MirroredStore(here, cast("S3Objects", wire), state)
    dying.restore()
    events += written(earlier, 4, 6)
    wire.fuse = Fuse(2, When.halfway)
    with pytest.raises(SimulatedCrash):
        dying.open("here")
    dying.abandon()
    assert wire.fuse.calls == ["s3.put", "s3.list", "s3.download_missing"], "it died elsewhere"
    assert len(list(here.journal.glob("*.jsonl"))) < 8, "it did not die midway"
    successor = MirroredStore(here, objects, state)
    successor.open("here")
    assert successor.read() == events
    assert successor.durable() == len(events)
    successor.close()


def test_a_store_that_is_opened_again_keeps_what_s3_lacks(
    objects: S3Objects, state: S3Uri, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored_store, "_FLUSH_S", 0.1)
    wire = Wire(objects)
    store = MirroredStore(folders_below(tmp_path)(), cast("S3Objects", wire), state)
    store.open("me")
    store.append([numbered(0)])
    eventually = WallClock().now() + 60
    while store.durable() < 1 and WallClock().now() < eventually:
        WallClock().sleep(0.002)
    wire.fuse = Unreliable(share=2.0)  # every call fails
    store.append([numbered(1)])
    with pytest.raises(StoreError, match="up to event 1 only"):
        store.close()
    for thread in threading.enumerate():  # the one that uploads is at its last attempt
        if thread.name == "cloudtune-mirror":
            thread.join(60)
    wire.fuse = Fuse()
    monkeypatch.setattr(mirrored_store, "_FLUSH_S", 60.0)
    store.open("me")
    assert store.read() == [numbered(0), numbered(1)]
    store.close()
    assert store.durable() == 2
