"""What S3 loses, or what others overwrite there, is uploaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_s3 import Bucket, Line
from remote_rig import eventually, reported, started

from cloudtune.clock import VirtualClock
from cloudtune.errors import Conflict
from cloudtune.experiment.events import Event
from cloudtune.paths import ExperimentPaths, S3Uri, write_atomic
from cloudtune.remote import mirrored_store
from cloudtune.remote.mirrored_store import CHECK_S, MirroredStore

STATE = S3Uri("bucket", "cloudtune/exp/state")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BATCH_S", "_PACE_S", "_RETRY_S"):
        monkeypatch.setattr(mirrored_store, name, 0.002)


class Instance:
    """Of a job: its disk, its way to S3, and its tuner's store."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.line = Line(bucket)
        self.paths = ExperimentPaths(folder / "exp")
        self.store = MirroredStore(self.paths, self.line.objects, STATE, clock=bucket.clock)

    def record(self, events: list[Event]) -> None:
        """Returns when S3 has them."""
        self.store.append(events)
        eventually(lambda: self.store.durable() == len(self.store.read()))

    def on_disk(self) -> dict[str, bytes]:
        return {f"journal/{path.name}": path.read_bytes() for path in self.paths.journal.glob("*.jsonl")}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(VirtualClock())


def in_s3(bucket: Bucket) -> dict[str, bytes]:
    """The journal there."""
    with bucket.lock:
        found = {key[len(STATE.prefix) :]: content for key, (content, _) in bucket.contents.items()}
    return {name: content for name, content in found.items() if name.endswith(".jsonl")}


@pytest.mark.parametrize("at_end", [True, False])
def test_the_last_words_of_an_instance_that_was_given_up_do_not_stay(
    bucket: Bucket, tmp_path: Path, at_end: bool
) -> None:
    """It was told that it still has the experiment, then its upload took long: it arrives after its successor has
    read the journal, whose own events would then follow upon one that the successor never knew."""
    old, new = (Instance(bucket, tmp_path / name) for name in ("old", "new"))
    old.store.open("old")
    old.record([started(0), reported(0, 0)])
    old.line.hold(only="journal/")
    old.store.append([reported(0, 1, loss=0.1)])
    eventually(lambda: old.line.num_held == 1)
    new.store.open("new")
    new.record([reported(0, 1, loss=0.2)])
    assert in_s3(bucket) == new.on_disk()
    old.line.open()
    with pytest.raises(Conflict, match="new has taken over"):
        old.store.close()
    assert old.store.durable() == 2, "what its successor has not read is not safe"
    assert in_s3(bucket) != new.on_disk()
    if not at_end:
        bucket.clock.sleep(CHECK_S)
        eventually(lambda: in_s3(bucket) == new.on_disk())
    new.store.close()
    assert in_s3(bucket) == new.on_disk()


def test_other_content_of_the_same_size_is_noticed(bucket: Bucket, tmp_path: Path) -> None:
    """The first words of two sessions, which both found nothing, are much alike."""
    instance = Instance(bucket, tmp_path)
    instance.store.open("me")
    instance.record([started(0)])
    ((name, content),) = instance.on_disk().items()
    instance.line.objects.put(STATE / name, content.replace(b"0.5", b"0.7"))
    instance.store.close()
    assert in_s3(bucket) == {name: content}


@pytest.mark.parametrize("at_end", [True, False])
def test_what_was_removed_is_uploaded_again(bucket: Bucket, tmp_path: Path, at_end: bool) -> None:
    instance = Instance(bucket, tmp_path)
    write_atomic(instance.paths.metadata, "{}")
    for number in range(3):  # a segment for each session
        instance.store.open("me")
        instance.record([started(number)])
        if number < 2:
            instance.store.close()
    with bucket.lock:
        bucket.contents.clear()
    if not at_end:
        bucket.clock.sleep(CHECK_S)
        eventually(lambda: in_s3(bucket) == instance.on_disk())
    instance.store.close()
    assert len(instance.on_disk()) == 3
    assert in_s3(bucket) == instance.on_disk()
    assert bucket.contents[(STATE / "metadata.json").key][0] == b"{}"


def test_a_part_that_s3_lacks_is_no_other_journal(bucket: Bucket, tmp_path: Path) -> None:
    """All of it is here: nobody has gone on from the same beginning."""
    instance = Instance(bucket, tmp_path)
    for number in range(3):
        instance.store.open("me")
        instance.record([started(number)])
        instance.store.close()
    whole = in_s3(bucket)
    del bucket.contents[(STATE / "journal/00000001.jsonl").key]
    instance.store.open("me")
    assert instance.store.read() == [started(number) for number in range(3)]
    instance.store.close()
    assert in_s3(bucket) == whole


def test_a_session_does_not_believe_what_an_earlier_one_knew(bucket: Bucket, tmp_path: Path) -> None:
    instance = Instance(bucket, tmp_path)
    instance.store.open("me")
    instance.record([started(0)])
    instance.store.close()
    bucket.contents.clear()
    instance.line.hold(only="journal/0")
    instance.store.open("me")
    assert instance.store.durable() == 0
    instance.line.open()
    eventually(lambda: instance.store.durable() == 1)
    instance.store.close()
    assert in_s3(bucket) == instance.on_disk()
