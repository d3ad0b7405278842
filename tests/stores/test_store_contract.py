"""Every store passes the shipped contract; a file survives what only a file can suffer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.errors import StoreError
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore, MemoryStore
from cloudtune.testing.crash_anywhere import Disk
from cloudtune.testing.store_contract import (
    STORE_CHECKS,
    StoreCheck,
    check_file_survives_kill,
    check_random_history,
    numbered,
)

STORES = ["memory", "file", "file-small-segments"]


@pytest.fixture
def make_disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Disk]:
    kind = request.param
    if kind == "memory":

        def memory() -> Disk:
            store = MemoryStore()
            return lambda: store

        return memory
    segment_bytes = 300 if kind == "file-small-segments" else 256 * 1024

    def file() -> Disk:
        paths = ExperimentPaths(tmp_path_factory.mktemp("disk") / "experiment")
        return lambda: FileStore(paths, segment_bytes)

    return file


@pytest.mark.parametrize("make_disk", STORES, indirect=True)
@pytest.mark.parametrize("check", STORE_CHECKS)
def test_contract(check: StoreCheck, make_disk: Callable[[], Disk]) -> None:
    check(make_disk)


@pytest.mark.parametrize("make_disk", STORES, indirect=True)
def test_random_histories(make_disk: Callable[[], Disk]) -> None:
    for seed in range(8):
        check_random_history(make_disk, seed)


class Forgetful(MemoryStore):
    """Acknowledges what it has not kept."""

    def abandon(self) -> None:
        self._lines[-1:] = []
        super().abandon()


class Reordering(MemoryStore):
    def read(self, since: int = 0) -> list[ev.Event]:
        return sorted(super().read(since), key=lambda event: getattr(event, "trial_id", 0))


class Shared(MemoryStore):
    """Lets everybody write."""

    def open(self, holder: str) -> None:
        self._holder = holder


@pytest.mark.parametrize("broken", [Forgetful, Reordering, Shared])
def test_contract_notices(broken: type[MemoryStore]) -> None:
    def make_disk() -> Disk:
        store = broken()
        return lambda: store

    failures = 0
    for check in STORE_CHECKS:
        try:
            check(make_disk)
        except AssertionError:
            failures += 1
    assert failures >= 1


def test_writers_killed_at_many_moments(tmp_path: Path) -> None:
    assert check_file_survives_kill(ExperimentPaths(tmp_path / "experiment"), kills=12) > 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
some_dict = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
ids = st.integers(0, 10**9)
times = st.floats(allow_nan=False)
events = st.one_of(
    st.builds(ev.SessionStarted, times, times, ids, st.text()),
    st.builds(ev.TrialStarted, times, times, ids, ids, some_dict, st.none() | ids),
    st.builds(ev.TrialReported, times, times, ids, ids, ids, some_dict, st.sampled_from(["CONTINUE", "STOP"])),
    st.builds(ev.TrialEnded, times, times, ids, ids, st.sampled_from(["failed"]), st.text(), st.none() | ids),
    st.builds(ev.TimePassed, times, times),
    st.builds(ev.ExperimentEnded, times, times, st.text(), st.text()),
)


def as_text(journal: list[ev.Event]) -> list[str]:
    return [ev.encode(event) for event in journal]


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(events, max_size=4), max_size=6), segment_bytes=st.sampled_from([1, 200, 10**6]))
def test_any_events_come_back(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[ev.Event]], segment_bytes: int
) -> None:
    paths = ExperimentPaths(tmp_path_factory.mktemp("any") / "experiment")
    store = FileStore(paths, segment_bytes)
    store.open("h:1")
    for batch in batches:
        store.append(batch)
    flat = [event for batch in batches for event in batch]
    for since in range(len(flat) + 1):
        assert as_text(store.read(since)) == as_text(FileStore(paths).read(since)) == as_text(flat[since:])
    segments = store.segments()
    assert sum(segment.num_events for segment in segments) == store.durable() == len(flat)
    store.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever a crash leaves of the last segment: whole lines stay, the rest goes, writing continues."""
    paths = ExperimentPaths(tmp_path_factory.mktemp("cut") / "experiment")
    store = FileStore(paths, 500)
    store.open("h:1")
    for number in range(data.draw(st.integers(1, 9))):
        store.append([numbered(number)])
    last = store.segments()[-1]
    store.abandon()
    size = data.draw(st.integers(0, last.num_bytes))
    whole = last.path.read_bytes()
    kept = last.first_event + whole[:size].count(b"\n")
    last.path.write_bytes(whole[:size] + data.draw(st.sampled_from([b"", b"\0" * 7, b"{", b"\xff\xfe"])))
    second = FileStore(paths, 500)
    second.open("h:2")
    expected = [numbered(number) for number in range(kept)]
    assert second.read() == expected == FileStore(paths).read()
    second.append([numbered(kept)])
    assert FileStore(paths).read() == [*expected, numbered(kept)]
    second.close()


@settings(max_examples=40, deadline=None)
@given(line=st.integers(0, 5), junk=st.binary(min_size=1, max_size=6))
def test_a_damaged_line_is_never_taken_for_an_event(
    tmp_path_factory: pytest.TempPathFactory, line: int, junk: bytes
) -> None:
    paths = ExperimentPaths(tmp_path_factory.mktemp("damage") / "experiment")
    store = FileStore(paths)
    store.open("h:1")
    store.append([numbered(number) for number in range(6)])
    store.close()
    lines = paths.segment(0).read_bytes().split(b"\n")
    lines[line] = junk.replace(b"\n", b"#") + lines[line][1:]
    if lines[line].lstrip().startswith(b'{"kind"'):
        return
    paths.segment(0).write_bytes(b"\n".join(lines))
    with pytest.raises(StoreError, match=rf"00000000\.jsonl, line {line + 1},"):
        FileStore(paths).read()
