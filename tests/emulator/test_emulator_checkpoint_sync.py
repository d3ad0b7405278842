"""The platform's copy of a checkpoint folder: whole objects, deletions, nothing copied in or after a loss."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulator_rig import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.core.base_backend import BackendDict
from moto.s3.models import s3_backends

from cloudtune.emulator.machine.channels import download, prefix_parts, safe_join
from cloudtune.emulator.machine.checkpoint_sync import CheckpointSync
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import ObjectStore, StoreFailed
from cloudtune.emulator.settings import ACCOUNT_ID


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    BackendDict.reset()
    s3_backends[ACCOUNT_ID]["aws"].create_bucket("bucket", "us-east-1")
    yield ObjectStore(ACCOUNT_ID)
    BackendDict.reset()


@pytest.fixture
def threads() -> Iterator[SharedThreads]:
    shared = SharedThreads()
    yield shared
    shared.close()


def contents(store: ObjectStore, prefix: str = "c/") -> dict[str, bytes]:
    return {item.key.removeprefix(prefix): store.get("bucket", item.key) for item in store.list("bucket", prefix)}


def fetched(store: ObjectStore, uri: str, target: Path) -> int:
    """Downloads what is below ``uri``; returns the number of objects."""
    parts = prefix_parts(store, uri)
    download(store, parts, target)
    return len(parts)


def sync_of(
    store: ObjectStore,
    threads: SharedThreads,
    folder: Path,
    interval_s: float = 0.01,
    lost: Callable[[str], bool] = lambda _: False,
) -> CheckpointSync:
    sync = CheckpointSync(store, "s3://bucket/c", folder, interval_s, threads, lost)
    sync.restore()
    sync.start()
    return sync


def test_an_object_is_never_torn(store: ObjectStore, threads: SharedThreads, tmp_path: Path) -> None:
    """A file is rewritten in place, in bursts without pause; each object seen is one of the versions written."""
    size = 1 << 20
    target = tmp_path / "state"
    ended, uploaded = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        with target.open("wb", buffering=0) as file:
            while not ended.is_set():
                for _ in range(30):
                    number += 1
                    os.pwrite(file.fileno(), bytes([number % 256]) * size, 0)
                uploaded.wait()  # at rest until the next version has arrived
                uploaded.clear()

    writer = threading.Thread(target=write)
    writer.start()
    sync = sync_of(store, threads, tmp_path)
    seen: set[bytes] = set()
    try:
        give_up = time.monotonic() + 120
        while len(seen) < 4 and time.monotonic() < give_up:
            found = contents(store).get("state", b"")
            assert len(set(found)) <= 1
            if found[:1] not in seen:
                seen.add(found[:1])
                uploaded.set()
    finally:
        ended.set()
        uploaded.set()
        writer.join()
        sync.finish(complete=True)
    assert len(seen) == 4
    assert contents(store) == {"state": target.read_bytes()}


def test_deletions_propagate_and_nothing_is_copied_in(
    store: ObjectStore, threads: SharedThreads, tmp_path: Path
) -> None:
    store.put("bucket", "c/old/a", b"1")
    store.put("bucket", "cc", b"a neighbour")
    folder = tmp_path / "checkpoints"
    sync = sync_of(store, threads, folder)
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


def test_a_lost_machine_uploads_nothing_more(store: ObjectStore, threads: SharedThreads, tmp_path: Path) -> None:
    sync = sync_of(store, threads, tmp_path, interval_s=3600)
    (tmp_path / "late").write_bytes(b"x")
    sync.finish(complete=False)
    assert contents(store) == {}


def test_links_are_left_alone(store: ObjectStore, threads: SharedThreads, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of the host")
    folder = tmp_path / "checkpoints"
    sync = sync_of(store, threads, folder)
    (folder / "file").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    sync.finish(complete=True)
    assert contents(store) == {}


def test_a_missing_bucket_is_survived_and_reported_at_the_end(
    store: ObjectStore, threads: SharedThreads, tmp_path: Path
) -> None:
    sync = sync_of(store, threads, tmp_path)
    s3_backends[ACCOUNT_ID]["aws"].delete_bucket("bucket")
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(StoreFailed, match="bucket"):
        sync.finish(complete=True)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=10).filter(
    lambda name: name not in (".", "..")
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files=st.dictionaries(names, st.binary(max_size=100), max_size=5))
def test_what_was_synced_is_restored(
    store: ObjectStore, threads: SharedThreads, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    for item in store.list("bucket", ""):
        store.delete("bucket", item.key)
    source, target = (tmp_path_factory.mktemp("folder") for _ in range(2))
    sync = sync_of(store, threads, source)
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
    store: ObjectStore, threads: SharedThreads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sync = sync_of(store, threads, tmp_path)
    deep = tmp_path.joinpath(*["d" * 200] * 6)
    deep.mkdir(parents=True)
    for path in (tmp_path / os.fsdecode(b"a\xff"), deep / "too-long", tmp_path / "z"):
        path.write_bytes(b"1")
    sync.finish(complete=True)
    assert contents(store) == {"z": b"1"}
    assert caplog.text.count("left out") == 2


def test_a_lost_upload_is_not_noticed_by_the_platform(
    store: ObjectStore, threads: SharedThreads, tmp_path: Path
) -> None:
    asked = []

    def lost(key: str) -> bool:
        asked.append(key)
        return key == "c/unlucky"

    sync = sync_of(store, threads, tmp_path, lost=lost)
    for name in ("unlucky", "lucky"):
        (tmp_path / name).write_bytes(b"1")
    eventually(lambda: contents(store) == {"lucky": b"1"})
    sync.finish(complete=True)
    assert contents(store) == {"lucky": b"1"}
    assert sorted(asked) == ["c/lucky", "c/unlucky"]  # each once: it believes that the upload is done


_AS_NOBODY = """
import os, shutil, sys, tempfile
from pathlib import Path
from moto.s3.models import s3_backends
from cloudtune.emulator.machine.checkpoint_sync import CheckpointSync
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.machine.shared_threads import SharedThreads
s3_backends["1"]["aws"].create_bucket("bucket", "us-east-1")
store, threads = ObjectStore("1"), SharedThreads()
for key in ("hidden/a", "hidden/deep/b", "seen"):
    store.put("bucket", "c/" + key, b"1")
if os.getuid() == 0:  # who may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
folder = Path(tempfile.mkdtemp())
sync = CheckpointSync(store, "s3://bucket/c", folder, 3600, threads, lambda _: False)
sync.restore()
(folder / "new").write_bytes(b"2")
(folder / "locked").write_bytes(b"3")
(folder / "locked").chmod(0)
(folder / "hidden").chmod(0)
(folder / "seen").unlink()
sync.finish(complete=True)
(folder / "hidden").chmod(0o700)
shutil.rmtree(folder)
threads.close()
print(*[item.key for item in store.list("bucket", "")])
"""


def test_what_cannot_be_read_is_not_gone() -> None:
    done = subprocess.run([sys.executable, "-c", _AS_NOBODY], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["c/hidden/a", "c/hidden/deep/b", "c/new"], done.stderr
    assert "'locked' cannot be read" in done.stderr


def test_ten_thousand_files(store: ObjectStore, threads: SharedThreads, tmp_path: Path) -> None:
    sync = sync_of(store, threads, tmp_path)
    for number in range(10_000):
        folder = tmp_path / str(number % 100)
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(str(number).encode())
    eventually(lambda: len(s3_backends[ACCOUNT_ID]["aws"].get_bucket("bucket").keys) == 10_000)
    shutil.rmtree(tmp_path / "0")
    sync.finish(complete=True)
    assert len(store.list("bucket", "c/")) == 9_900
    assert store.get("bucket", "c/99/9999") == b"9999"


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    """256 MB up and down again, in a process that grows by far less."""
    script = f"""
import pathlib, resource, sys
from moto.s3.models import s3_backends
from cloudtune.emulator.machine.channels import download, prefix_parts
from cloudtune.emulator.machine.checkpoint_sync import CheckpointSync
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.machine.shared_threads import SharedThreads
s3_backends["1"]["aws"].create_bucket("bucket", "us-east-1")
store, threads, folder = ObjectStore("1"), SharedThreads(), pathlib.Path({str(tmp_path)!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sync = CheckpointSync(store, "s3://bucket/c", folder / "up", 0.05, threads, lambda _: False)
sync.restore()
with (folder / "up" / "large").open("wb") as file:
    file.truncate(1 << 28)
    file.seek(-1, 2)
    file.write(b"x")
sync.finish(complete=True)
download(store, prefix_parts(store, "s3://bucket/c/"), folder / "down")
threads.close()
with (folder / "down" / "large").open("rb") as file:
    file.seek(-1, 2)
    assert file.tell() + 1 == 1 << 28 and file.read() == b"x"
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64  # MiB
    shutil.rmtree(tmp_path)


def test_a_folder_that_becomes_a_link_is_left_alone(
    store: ObjectStore, threads: SharedThreads, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_bytes(b"of the host")
    sync = sync_of(store, threads, folder)
    (folder / "state").write_bytes(b"1")
    eventually(lambda: contents(store) == {"state": b"1"})
    (folder / "state").unlink()
    (folder / "state").symlink_to(tmp_path / "elsewhere" / "secret")
    os.mkfifo(folder / "pipe")
    eventually(lambda: contents(store) == {})
    sync.finish(complete=True)
    assert contents(store) == {}


def test_rounds_become_rarer_where_nothing_happens(tmp_path: Path, store: ObjectStore) -> None:
    waits: list[float] = []

    class Counting(SharedThreads):
        def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
            waits.append(delay_s)
            super().call_later(delay_s, action)

    counting = Counting()
    try:
        sync = sync_of(store, counting, tmp_path, interval_s=0.02)
        eventually(lambda: waits and waits[-1] >= 0.08)
        (tmp_path / "new").write_bytes(b"1")
        seen = len(waits)
        eventually(lambda: contents(store) == {"new": b"1"})
        eventually(lambda: min(waits[seen:], default=1.0) < 0.08)
        sync.finish(complete=True)
    finally:
        counting.close()
