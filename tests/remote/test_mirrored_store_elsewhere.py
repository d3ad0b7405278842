"""One experiment, several machines: the second tuner is refused, another machine goes on, laptops sleep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_s3 import Bucket, Line
from remote_rig import eventually, reported, started

from cloudtune.clock import VirtualClock
from cloudtune.errors import Conflict, StoreError, Unreachable
from cloudtune.experiment.events import Event
from cloudtune.paths import ExperimentPaths, S3Uri, write_atomic
from cloudtune.remote import claim_record, mirrored_store
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.remote.polite_claim import PoliteClaim
from cloudtune.stores.lines import encode_lines

STATE = S3Uri("bucket", "cloudtune/exp/state")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BATCH_S", "_PACE_S", "_RETRY_S"):
        monkeypatch.setattr(mirrored_store, name, 0.002)


class Machine:
    """Has a disk, a way to S3 and a name. Time is the same for all; clocks that differ are a matter of claims."""

    def __init__(self, rig: Rig, name: str) -> None:
        self._rig, self._name = rig, name
        self.line = Line(rig.bucket)
        self.paths = ExperimentPaths(rig.folder / name / "exp")
        self.store = self.new_store()

    def new_store(self) -> MirroredStore:
        return MirroredStore(self.paths, self.line.objects, STATE, clock=self._rig.clock, claim=PoliteClaim)

    def open(self, takeover: bool = False) -> MirroredStore:
        self._rig.be(self._name)
        self.store.takeover = takeover
        self.store.open(f"{self._name}:1")
        return self.store

    def kill(self) -> None:
        """The process is gone, all that it has written is in S3."""
        eventually(lambda: self.store.durable() == len(self.store.read()))
        self.store.abandon()
        self.store = self.new_store()

    def on_disk(self) -> bytes:
        return b"".join(segment.read_bytes() for segment in sorted(self.paths.journal.glob("*.jsonl")))


class Rig:
    def __init__(self, folder: Path, be: Callable[[str], None]) -> None:
        self.folder, self.be = folder, be
        self.clock = VirtualClock()
        self.bucket = Bucket(self.clock)
        self.laptop, self.desk = Machine(self, "laptop"), Machine(self, "desk")

    def in_s3(self) -> bytes:
        names = sorted(key for key in self.bucket.contents if key.endswith(".jsonl"))
        return b"".join(self.bucket.contents[name][0] for name in names)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, lambda name: monkeypatch.setattr(claim_record, "this_machine", lambda: name))


def events(count: int, first: int = 0) -> list[Event]:
    made: list[Event] = [started(0)] if first == 0 else []
    return made + [reported(0, seq) for seq in range(max(first - 1, 0), first + count - 1)]


def test_the_second_tuner_is_refused_by_name(rig: Rig) -> None:
    rig.laptop.open().append(events(3))
    with pytest.raises(Conflict, match=r"laptop:1 since .* Its last sign of life"):
        rig.desk.open()
    with pytest.raises(Conflict, match=r"(?s)run by laptop:1 since .*stop that process"):
        rig.laptop.new_store().open("laptop:2")  # whose disk says so before S3 is asked
    rig.laptop.store.append(events(2, 3))
    rig.laptop.store.close()
    assert rig.desk.open().read() == events(5)
    rig.desk.store.close()


def test_a_claim_is_renewed_while_the_tuner_has_nothing_to_record(rig: Rig) -> None:
    rig.laptop.open()
    key = (STATE / ".writer.json").key
    for _ in range(2):
        rig.clock.sleep(25)
        eventually(lambda: rig.bucket.contents[key][1] == rig.bucket.now())
    with pytest.raises(Conflict, match="sign of life was 0 s ago"):
        rig.desk.open()
    rig.laptop.store.close()


def test_another_machine_goes_on_and_the_first_one_after_it(rig: Rig) -> None:
    write_atomic(rig.laptop.paths.metadata, "{}")
    rig.laptop.open().append(events(5))
    rig.laptop.store.close()
    rig.desk.open().append(events(3, 5))
    rig.desk.store.close()
    assert rig.desk.paths.metadata.read_text() == "{}"
    again = rig.laptop.open()
    assert again.read() == events(8)
    assert again.durable() == 8, "S3 has all of it from the beginning"
    again.append(events(1, 8))
    again.close()
    assert rig.in_s3() == rig.laptop.on_disk() == b"".join(encode_lines(events(9)))


def test_takeover_after_a_machine_was_lost(rig: Rig) -> None:
    rig.laptop.open().append(events(5))
    rig.laptop.kill()
    with pytest.raises(Conflict, match="laptop:1"):
        rig.desk.open()
    rig.clock.sleep(100)
    with pytest.raises(Conflict, match="--takeover"):
        rig.desk.open()
    rig.desk.open(takeover=True).append(events(1, 5))
    rig.desk.store.close()
    assert rig.laptop.open().read() == events(6)
    rig.laptop.store.close()


def test_a_tuner_that_was_killed_is_continued_on_its_machine_at_once(rig: Rig) -> None:
    rig.laptop.open().append(events(5))
    rig.laptop.kill()
    rig.laptop.open().append(events(2, 5))
    rig.laptop.store.close()
    assert rig.in_s3() == b"".join(encode_lines(events(7)))


def test_what_s3_lacks_is_uploaded(rig: Rig) -> None:
    rig.laptop.open().append(events(5))
    eventually(lambda: rig.laptop.store.durable() == 5)
    rig.laptop.line.cut()
    rig.laptop.store.append(events(2, 5))
    rig.laptop.store.abandon()
    rig.laptop.line.open()
    rig.laptop.store = rig.laptop.new_store()
    store = rig.laptop.open()
    assert store.read() == events(7)
    eventually(lambda: store.durable() == 7)
    store.close()
    assert rig.in_s3() == rig.laptop.on_disk()


@pytest.mark.parametrize("new_session", [False, True], ids=["same segment", "next segment"])
def test_two_that_went_on_from_the_same_beginning_are_not_mixed(rig: Rig, new_session: bool) -> None:
    rig.laptop.open().append(events(5))
    if new_session:
        rig.laptop.store.close()
        rig.laptop.open()
    eventually(lambda: rig.laptop.store.durable() == 5)
    rig.laptop.line.cut()
    rig.laptop.store.append(events(1, 5))
    rig.laptop.store.abandon()
    rig.clock.sleep(100)
    rig.desk.open(takeover=True).append(events(3, 7))
    rig.desk.store.close()
    rig.laptop.line.open()
    rig.laptop.store = rig.laptop.new_store()
    here, there = rig.laptop.on_disk(), rig.in_s3()
    with pytest.raises(StoreError) as caught:
        rig.laptop.open()
    assert str(rig.laptop.paths.journal) in str(caught.value)
    assert f"{STATE}/journal/0000000" in str(caught.value)
    assert (rig.laptop.on_disk(), rig.in_s3()) == (here, there)
    rig.desk.open()  # nobody holds it
    rig.desk.store.close()


def test_an_offline_laptop_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrored_store, "_CONFIRM_TRIES", 2)
    store = rig.laptop.open()
    store.append(events(3))
    eventually(lambda: store.durable() == 3)
    rig.laptop.line.cut()
    for number in range(3, 10):
        rig.clock.sleep(50)
        store.append(events(1, number))
    assert store.durable() == 3
    rig.laptop.line.open()
    eventually(lambda: store.durable() == 10)
    store.close()
    assert rig.in_s3() == rig.laptop.on_disk()


def test_nobody_knows_who_has_it_without_s3(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrored_store, "_RESTORE_WAITS", {})
    rig.laptop.open().append(events(3))
    rig.laptop.store.close()
    rig.laptop.line.cut()
    with pytest.raises(Unreachable):
        rig.laptop.open()
    rig.laptop.line.open()
    rig.laptop.open()  # the lock is free
    rig.laptop.store.close()


@pytest.mark.parametrize("somebody_came", [False, True])
def test_a_laptop_wakes_up_after_an_hour(rig: Rig, somebody_came: bool) -> None:
    store = rig.laptop.open()
    store.append(events(5))
    eventually(lambda: store.durable() == 5)
    rig.laptop.line.hold()
    rig.clock.sleep(3600)
    if somebody_came:
        rig.desk.open(takeover=True).append(events(1, 5))
        rig.desk.store.close()
    before = rig.laptop.on_disk()
    rig.laptop.line.open()
    if somebody_came:
        for _ in range(2):
            with pytest.raises(Conflict, match="desk:1 has taken over"):
                store.append(events(2, 5))
        assert rig.laptop.on_disk() == before
        with pytest.raises(Conflict, match="desk:1 has taken over"):
            store.close()
        assert rig.in_s3() == rig.desk.on_disk()
        assert rig.laptop.open().read() == events(6)
        rig.laptop.store.close()
    else:
        store.append(events(2, 5))
        store.close()
        assert rig.in_s3() == rig.laptop.on_disk() == b"".join(encode_lines(events(7)))
