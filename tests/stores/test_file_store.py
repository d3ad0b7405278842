"""What a file can do that memory cannot: tear, be damaged, fill the disk, be held by another process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudtune.errors import Conflict, NotFound, SpecError, StoreError
from cloudtune.experiment.events import TimePassed, TrialStarted
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore


def event(number: int) -> TimePassed:
    return TimePassed(1.7e9 + number, float(number))


@pytest.fixture
def paths(tmp_path: Path) -> ExperimentPaths:
    return ExperimentPaths(tmp_path / "experiment")


def written(paths: ExperimentPaths, count: int, segment_bytes: int = 256 * 1024) -> FileStore:
    store = FileStore(paths, segment_bytes)
    store.open("first:1")
    for number in range(count):
        store.append([event(number)])
    return store


def test_rolls_over_to_numbered_segments(paths: ExperimentPaths) -> None:
    store = written(paths, 20, segment_bytes=200)
    names = sorted(path.name for path in paths.journal.iterdir())
    assert names[:2] == ["00000000.jsonl", "00000001.jsonl"] and len(names) == len(store.segments()) > 3
    assert all(200 <= segment.num_bytes < 400 for segment in store.segments()[:-1])
    assert store.read() == [event(number) for number in range(20)]
    firsts = [segment.first_event for segment in store.segments()]
    assert store.read(firsts[2]) == [event(number) for number in range(firsts[2], 20)]
    assert store.read(firsts[2] + 1)[0] == event(firsts[2] + 1)


def test_torn_last_line_is_cut_off_and_writing_goes_on(paths: ExperimentPaths) -> None:
    written(paths, 3).abandon()
    with paths.segment(0).open("ab") as file:
        file.write(b'{"kind":"time_passed","schema":1,"ti')
    reader = FileStore(paths)
    assert reader.read() == [event(0), event(1), event(2)]
    store = FileStore(paths)
    store.open("second:2")
    assert paths.segment(0).read_bytes().endswith(b"}\n")
    store.append([event(3)])
    assert store.read() == reader.read() == [event(number) for number in range(4)]


def test_nothing_but_a_torn_line(paths: ExperimentPaths) -> None:
    paths.journal.mkdir(parents=True)
    paths.segment(0).write_bytes(b"\0\0\0\0")
    store = FileStore(paths)
    store.open("h:1")
    assert store.sealed_segments() == [] and store.durable() == 0
    store.append([event(0)])
    assert [path.name for path in paths.journal.iterdir()] == ["00000000.jsonl"]
    assert FileStore(paths).read() == [event(0)]


def test_damage_is_named_by_file_and_line(paths: ExperimentPaths) -> None:
    written(paths, 20, segment_bytes=300).close()
    lines = paths.segment(1).read_bytes().split(b"\n")
    lines[1] = lines[1][:10] + b"\xff" + lines[1][11:]
    paths.segment(1).write_bytes(b"\n".join(lines))
    with pytest.raises(StoreError, match=r"00000001\.jsonl, line 2, "):
        FileStore(paths).read()
    assert FileStore(paths).read(19) == [event(19)]


def test_a_segment_torn_in_the_middle_is_damage(paths: ExperimentPaths) -> None:
    written(paths, 20, segment_bytes=300).close()
    whole = paths.segment(1).read_bytes()
    paths.segment(1).write_bytes(whole[:-5])
    with pytest.raises(StoreError, match=r"00000001\.jsonl, line 5, is cut off"):
        FileStore(paths).open("h:1")
    assert paths.segment(1).read_bytes() == whole[:-5]


def test_a_missing_segment_is_named(paths: ExperimentPaths) -> None:
    written(paths, 20, segment_bytes=300).close()
    paths.segment(1).unlink()
    store = FileStore(paths)
    with pytest.raises(StoreError, match=r"00000001\.jsonl is missing"):
        store.open("h:1")
    paths.segment(1).write_bytes(b"")  # refused, it has let go of the lock
    FileStore(paths).open("h:2")


def test_a_journal_that_shrinks_under_a_reader(paths: ExperimentPaths) -> None:
    written(paths, 3).close()
    reader = FileStore(paths)
    reader.read()
    paths.segment(0).write_bytes(b"")
    with pytest.raises(StoreError, match="shorter"):
        reader.read()
    paths.segment(0).unlink()
    with pytest.raises(StoreError, match="vanished"):
        reader.read()


def test_reading_is_incremental(paths: ExperimentPaths) -> None:
    store = written(paths, 20, segment_bytes=300)
    reader = FileStore(paths)
    assert len(reader.read()) == 20
    paths.segment(0).write_bytes(b"x" * paths.segment(0).stat().st_size)  # never looked at again
    store.append([event(20), event(21)])
    assert reader.read(20) == [event(20), event(21)]


def test_full_disk(paths: ExperimentPaths) -> None:
    store = written(paths, 3)
    store.seal()
    paths.segment(1).symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left") as caught:
        store.append([event(3)])
    assert "Free some space" in str(caught.value)
    assert FileStore(paths).read()[:3] == [event(0), event(1), event(2)]


def test_a_write_that_fails_halfway_leaves_nothing(paths: ExperimentPaths) -> None:
    store = written(paths, 3)
    size = paths.segment(0).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 80, hard))
    try:
        with pytest.raises(StoreError):
            store.append([event(number) for number in range(3, 10)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert paths.segment(0).stat().st_size == size
    store.append([event(3)])
    assert store.read() == FileStore(paths).read() == [event(number) for number in range(4)]


def test_a_file_where_the_directory_should_be(paths: ExperimentPaths) -> None:
    paths.dir.parent.mkdir(exist_ok=True)
    paths.dir.write_text("not a directory")
    with pytest.raises(StoreError, match="move it away"):
        FileStore(paths).open("h:1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_directory(paths: ExperimentPaths) -> None:
    paths.dir.mkdir()
    paths.dir.chmod(0o500)
    with pytest.raises(StoreError, match="CLOUDTUNE_FOLDER"):
        FileStore(paths).open("h:1")


def test_segments_tell_an_uploader_what_is_safe(paths: ExperimentPaths) -> None:
    store = written(paths, 3)
    assert [segment.sealed for segment in store.segments()] == [False]
    store.seal()
    store.seal()
    (sealed,) = store.sealed_segments()
    assert (sealed.first_event, sealed.num_events) == (0, 3) and sealed.num_bytes == sealed.path.stat().st_size
    store.append([event(3), event(4)])
    assert store.sealed_segments() == [sealed] and len(store.segments()) == 2
    assert store.event_number_at(0, 0) == 0
    assert store.event_number_at(0, sealed.num_bytes - 1) == 2
    assert store.event_number_at(0, sealed.num_bytes) == 3
    assert store.event_number_at(1, store.segments()[1].num_bytes) == store.durable() == 5
    with pytest.raises(NotFound):
        store.event_number_at(2, 0)
    assert FileStore(paths).sealed_segments() == [sealed]


def test_a_new_session_never_touches_old_segments(paths: ExperimentPaths) -> None:
    written(paths, 3).abandon()
    before = paths.segment(0).read_bytes()
    store = FileStore(paths)
    store.open("second:2")
    assert [segment.number for segment in store.sealed_segments()] == [0]
    store.append([event(3)])
    assert paths.segment(0).read_bytes() == before and paths.segment(1).exists()


def test_append_needs_open(paths: ExperimentPaths) -> None:
    store = written(paths, 1)
    store.close()
    with pytest.raises(StoreError, match="not open"):
        store.append([event(1)])


def test_refuses_nonsense(paths: ExperimentPaths) -> None:
    with pytest.raises(SpecError, match="segment_bytes"):
        FileStore(paths, segment_bytes=0)
    store = written(paths, 1)
    with pytest.raises(SpecError, match="TrialStarted cannot be recorded"):
        store.append([event(1), TrialStarted(0.0, 0.0, 0, 0, {"x": object()})])
    assert store.durable() == 1


HOLDER = """
import sys
from pathlib import Path
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore
store = FileStore(ExperimentPaths(Path(sys.argv[1])))
store.open("elsewhere:4711")
print("open", flush=True)
{then}
"""


def holder(paths: ExperimentPaths, then: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(then=then), str(paths.dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    return process


def test_another_process_is_named_until_it_dies(paths: ExperimentPaths) -> None:
    store = FileStore(paths)
    with holder(paths, "input()") as process:
        with pytest.raises(Conflict, match=r"run by elsewhere:4711 since 20\d\d-\d\d-\d\d .* UTC"):
            store.open("h:1")
        assert store.read() == []
        process.kill()
    store.open("h:1")


@pytest.mark.parametrize(
    "child",
    [
        "import subprocess; child = subprocess.Popen(['sleep', '60'], close_fds=False)",
        "import os, signal\nif os.fork() == 0:\n    print('child', os.getpid(), flush=True); signal.pause()",
    ],
    ids=["exec", "fork"],
)
def test_children_do_not_inherit_the_lock(paths: ExperimentPaths, child: str) -> None:
    if "fork" in child:
        then = f"{child}\nsignal.pause()"
    else:
        then = f"{child}\nprint('child', child.pid, flush=True); input()"
    with holder(paths, then) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split()[1])
        process.kill()
        process.wait()
        try:
            os.kill(pid, 0)  # the child lives
            FileStore(paths).open("h:1")
        finally:
            os.kill(pid, 9)


def test_who_has_let_go_has_done_so_although_a_process_is_being_spawned(paths: ExperimentPaths) -> None:
    """Between fork and exec it has all handles of its parent: another thread may spawn one at any moment."""
    store = FileStore(paths)
    store.open("me")
    opened = {int(fd): os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}  # noqa: PTH208
    (handle,) = [fd for fd, path in opened.items() if path == str(paths.lock.resolve())]
    inherited = os.dup(handle)
    try:
        store.close()
        after = FileStore(paths)
        after.open("next")
        after.close()
    finally:
        os.close(inherited)


def test_read_while_another_thread_writes(paths: ExperimentPaths) -> None:
    store = written(paths, 0, segment_bytes=1000)
    reader = FileStore(paths)
    count = 400

    def write() -> None:
        for number in range(count):
            store.append([event(number)])

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[object] = []
    while len(seen) < count:
        alive = writer.is_alive()
        seen.extend(reader.read(len(seen)))
        assert alive or len(seen) == count
    writer.join()
    assert seen == [event(number) for number in range(count)]


def test_a_folder_that_is_removed_while_tuning_is_noticed(paths: ExperimentPaths) -> None:
    store = written(paths, 3)
    paths.segment(0).unlink()
    with pytest.raises(StoreError, match="removed while tuning"):
        store.append([event(3)])
    store.close()
