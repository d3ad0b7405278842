"""The platform's copy of a checkpoint folder: whole objects, deletions, nothing copied in or after a loss."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.core.base_backend import BackendDict
from moto.s3.models import s3_backends

from cloudtune.emulator.channels import download, prefix_parts, safe_join
from cloudtune.emulator.checkpoint_sync import CheckpointSync
from cloudtune.emulator.object_store import ObjectStore, StoreFailed
from cloudtune.emulator.settings import ACCOUNT_ID


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    BackendDict.reset()
    s3_backends[ACCOUNT_ID]["aws"].create_bucket("bucket", "us-east-1")
    yield ObjectStore(ACCOUNT_ID)
    BackendDict.reset()


def contents(store: ObjectStore, prefix: str = "c/") -> dict[str, bytes]:
    return {item.key.removeprefix(prefix): store.get("bucket", item.key) for item in store.list("bucket", prefix)}


def fetched(store: ObjectStore, uri: str, target: Path) -> int:
    """Downloads what is below ``uri``; returns the number of objects."""
    parts = prefix_parts(store, uri)
    download(store, parts, target)
    return len(parts)


def sync_of(store: ObjectStore, folder: Path, interval_s: float = 0.01) -> CheckpointSync:
    sync = CheckpointSync(store, "s3://bucket/c", folder, interval_s)
    sync.restore()
    sync.start()
    return sync


def test_an_object_is_never_torn(store: ObjectStore, tmp_path: Path) -> None:
    """A file is rewritten in place, mostly without pause; each object seen is one of the versions written."""
    size = 1 << 20
    target = tmp_path / "state"
    ended = threading.Event()

    def write() -> None:
        number = 0
        with target.open("wb", buffering=0) as file:
            while not ended.is_set():
                for _ in range(30):
                    number += 1
                    os.pwrite(file.fileno(), bytes([number % 256]) * size, 0)
                ended.wait(0.15)  # at rest for long enough to be uploaded

    writer = threading.Thread(target=write)
    writer.start()
    sync = sync_of(store, tmp_path)
    seen: set[bytes] = set()
    try:
        give_up = time.monotonic() + 20
        while len(seen) < 4 and time.monotonic() < give_up:
            found = contents(store).get("state", b"")
            assert len(set(found)) <= 1
            seen.add(found[:1])
    finally:
        ended.set()
        writer.join()
        sync.finish(complete=True)
    assert len(seen) == 4
    assert contents(store) == {"state": target.read_bytes()}


def test_deletions_propagate_and_nothing_is_copied_in(store: ObjectStore, tmp_path: Path) -> None:
    store.put("bucket", "c/old/a", b"1")
    store.put("bucket", "cc", b"a neighbour")
    folder = tmp_path / "checkpoints"
    sync = sync_of(store, folder)
    assert (folder / "old" / "a").read_bytes() == b"1"
    (folder / "old" / "a").unlink()
    (folder / "b").write_bytes(b"2")
    eventually(lambda: contents(store) == {"b": b"2"})
    store.put("bucket", "c/from-elsewhere", b"3")
    (folder / "b").unlink()
    eventually(lambda: contents(store) == {"from-elsewhere": b"3"})
    sync.finish(complete=True)
    assert not list(folder.glob("from*"))
    assert store.get("bucket", "cc") == b"a neighbour"


def test_a_lost_machine_uploads_nothing_more(store: ObjectStore, tmp_path: Path) -> None:
    sync = sync_of(store, tmp_path, interval_s=3600)
    (tmp_path / "late").write_bytes(b"x")
    sync.finish(complete=False)
    assert contents(store) == {}


def test_links_are_left_alone(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of the host")
    folder = tmp_path / "checkpoints"
    sync = sync_of(store, folder)
    (folder / "file").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    sync.finish(complete=True)
    assert contents(store) == {}


def test_a_missing_bucket_is_survived_and_reported_at_the_end(store: ObjectStore, tmp_path: Path) -> None:
    sync = sync_of(store, tmp_path)
    s3_backends[ACCOUNT_ID]["aws"].delete_bucket("bucket")
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(StoreFailed, match="bucket"):
        sync.finish(complete=True)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=10).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(names, st.binary(max_size=100), max_size=5))
def test_what_was_synced_is_restored(
    store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    for item in store.list("bucket", ""):
        store.delete("bucket", item.key)
    source, target = (tmp_path_factory.mktemp("folder") for _ in range(2))
    sync = sync_of(store, source)
    for name, content in files.items():
        (source / name).write_bytes(content)
    sync.finish(complete=True)
    assert fetched(store, "s3://bucket/c/", target) == len(files)
    assert {os.fsdecode(path.name): path.read_bytes() for path in target.iterdir()} == files


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a/..", "a\0b"])
def test_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(StoreFailed, match="no safe file name"):
        safe_join(Path("/jobs/j"), name)


def test_an_object_that_is_also_a_folder(store: ObjectStore, tmp_path: Path) -> None:
    store.put("bucket", "d/a", b"1")
    store.put("bucket", "d/a/b", b"2")
    with pytest.raises(StoreFailed, match="cannot become a file"):
        fetched(store, "s3://bucket/d", tmp_path)


def test_names_that_only_begin_with_the_prefix_keep_their_own(store: ObjectStore, tmp_path: Path) -> None:
    for key in ("data/part-1", "data/part-2/x", "data/part/y", "data/part"):
        store.put("bucket", key, key.encode())
    assert fetched(store, "s3://bucket/data/part-", tmp_path / "a") == 2
    assert sorted(
        path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()
    ) == ["part-1", "part-2/x"]


def test_files_that_no_object_can_be_named_after_hide_no_others(
    store: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sync = sync_of(store, tmp_path)
    deep = tmp_path.joinpath(*["d" * 200] * 6)
    deep.mkdir(parents=True)
    for path in (tmp_path / os.fsdecode(b"a\xff"), deep / "too-long", tmp_path / "z"):
        path.write_bytes(b"1")
    sync.finish(complete=True)
    assert contents(store) == {"z": b"1"}
    assert caplog.text.count("left out") == 2
