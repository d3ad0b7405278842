from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError
from remote_rig import Gate, eventually, reported, started

from cloudtune.aws import session as session_module
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.errors import AccessDenied, Conflict, ResourceNotFound, StoreError
from cloudtune.experiment.events import Event, ExperimentEnded
from cloudtune.paths import ExperimentPaths, S3Uri, write_atomic
from cloudtune.remote import mirrored_store, side_uploads
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.stores.file import FileStore
from cloudtune.stores.lines import encode_lines


@pytest.fixture
def paths(tmp_path: Path) -> ExperimentPaths:
    return ExperimentPaths(tmp_path / "here" / "exp", trials_dir=tmp_path / "trials")


def events(count: int, first: int = 0, text: str = "") -> list[Event]:
    made: list[Event] = [started(0)] if first == 0 else []
    return made + [reported(0, seq, note=text) for seq in range(max(first - 1, 0), first + count - 1)]


def in_s3(objects: S3Objects, state: S3Uri) -> bytes:
    """The journal there, all segments."""
    items = sorted(objects.list(state / "journal"), key=lambda item: item.uri.key)
    return b"".join(objects.get(item.uri) for item in items)


def on_disk(paths: ExperimentPaths) -> bytes:
    return b"".join(segment.read_bytes() for segment in sorted(paths.journal.glob("*.jsonl")))


def test_events_are_in_s3_soon_and_unasked(paths: ExperimentPaths, objects: S3Objects, state: S3Uri) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    for first in range(0, 50, 10):
        store.append(events(10, first))
        eventually(lambda: in_s3(objects, state) == on_disk(paths))
    eventually(lambda: store.durable() == 50)
    assert store.read() == events(50)
    store.close()


def test_durable_is_what_s3_has_confirmed(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, gate: Gate
) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    store.append(events(3))
    eventually(lambda: store.durable() == 3)
    gate.hold()
    store.append(events(4, 3))  # the loop does not wait for S3, which answers nobody now
    eventually(lambda: gate.attempts >= 2)
    assert store.durable() == 3
    assert len(store.read()) == 7
    gate.open()
    eventually(lambda: store.durable() == 7)
    store.close()


def test_an_empty_machine_continues_from_s3(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, tmp_path: Path
) -> None:
    write_atomic(paths.metadata, '{"metric_names": ["loss"]}')
    store = MirroredStore(paths, objects, state)
    store.open("first machine")
    store.append(events(5))
    store.close()

    there = ExperimentPaths(tmp_path / "there" / "exp")
    again = MirroredStore(there, objects, state)
    again.open("second machine")
    assert again.read() == events(5)
    assert again.durable() == 5, "S3 has all of it from the beginning"
    assert there.metadata.read_text() == paths.metadata.read_text()
    again.append(events(2, 5))
    again.close()
    assert in_s3(objects, state) == on_disk(there)

    third = MirroredStore(ExperimentPaths(tmp_path / "third" / "exp"), objects, state)
    third.restore()
    assert third.read() == events(7)


def test_what_is_here_is_never_replaced_by_what_s3_had(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, gate: Gate
) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    store.append(events(2))
    eventually(lambda: store.durable() == 2)
    store.close()
    local = FileStore(paths)
    local.open("a tuner whose uploads were lost")
    local.append(events(2, 2))
    local.close()
    gate.hold(only=".jsonl")
    again = MirroredStore(paths, objects, state)
    again.open("me")
    assert again.read() == events(4)
    assert again.durable() <= 2
    gate.open()
    eventually(lambda: again.durable() == 4)
    again.close()
    assert in_s3(objects, state) == on_disk(paths)


def test_a_restore_that_was_cut_short_is_done_again(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, tmp_path: Path
) -> None:
    for first in (0, 3, 6):  # a segment for each session
        store = MirroredStore(paths, objects, state)
        store.open("me")
        store.append(events(3, first))
        store.close()
    there = ExperimentPaths(tmp_path / "there" / "exp")
    whole = MirroredStore(there, objects, state)
    whole.restore()
    segments = sorted(there.journal.glob("*.jsonl"))
    assert len(segments) == 3
    segments[1].unlink()  # as if killed between two downloads
    write_atomic(there.dir / ".restoring", "")
    again = MirroredStore(there, objects, state)
    again.restore()
    assert again.read() == events(9)
    assert not (there.dir / ".restoring").exists()


def test_tuning_outlasts_s3(
    paths: ExperimentPaths,
    objects: S3Objects,
    state: S3Uri,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    store.append(events(1))
    eventually(lambda: store.durable() == 1)
    gate.fail()
    for first in range(1, 6):
        store.append(events(1, first))
    attempts = gate.attempts
    eventually(lambda: gate.attempts > attempts)
    assert store.durable() == 1
    gate.open()
    eventually(lambda: store.durable() == 6)
    store.append(events(1, 6))
    store.close()
    assert in_s3(objects, state) == on_disk(paths)


def test_segments_grow_in_whole_lines(paths: ExperimentPaths, objects: S3Objects, state: S3Uri) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    seen = b""
    for first in range(0, 300, 20):
        store.append(events(20, first, text="x" * 700))
        now = in_s3(objects, state)
        assert now.startswith(seen)
        assert now == b"" or now.endswith(b"\n")
        seen = now
    store.close()
    assert in_s3(objects, state) == on_disk(paths)
    assert len(list(objects.list(state / "journal"))) > 2, "one segment would be uploaded ever again"
    assert store.durable() == 300


def test_close_uploads_the_rest(paths: ExperimentPaths, objects: S3Objects, state: S3Uri) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    store.append(events(8))
    write_atomic(paths.results, b"results")
    write_atomic(paths.snapshot, b"snapshot")
    store.close()
    assert in_s3(objects, state) == on_disk(paths)
    assert objects.get(state / "results.csv.zip") == b"results"
    assert objects.get(state / "tuner.dill") == b"snapshot"


def test_an_end_that_s3_has_not_seen_is_an_error(
    paths: ExperimentPaths,
    objects: S3Objects,
    state: S3Uri,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirrored_store, "_FLUSH_S", 0.5)
    store = MirroredStore(paths, objects, state)
    store.open("me")
    gate.fail()
    store.append(events(2))
    with pytest.raises(StoreError, match="up to event 0 only"):
        store.close()
    again = FileStore(paths)
    again.open("the lock is free")
    again.close()


def test_a_bucket_that_is_missing_is_noticed_at_once(paths: ExperimentPaths, objects: S3Objects) -> None:
    store = MirroredStore(paths, objects, S3Uri("no-such-bucket-of-ours", "cloudtune/exp/state"))
    with pytest.raises(ResourceNotFound):
        store.open("me")


def test_a_role_that_may_not_write_is_noticed_at_once(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, session: AwsSession
) -> None:
    class Body:
        def stream(self, **_: object) -> list[bytes]:
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]

    def refuse(request: object, **_: object) -> AWSResponse | None:
        put = getattr(request, "method", "") == "PUT"
        return AWSResponse("http://s3", 403, {"content-type": "application/xml"}, Body()) if put else None

    session.client("s3").meta.events.register("before-send.s3", refuse)
    write_atomic(paths.metadata, "{}")
    store = MirroredStore(paths, objects, state)
    with pytest.raises(AccessDenied):
        store.open("me")
    FileStore(paths).open("the lock is free")


def test_one_writer_at_a_time(paths: ExperimentPaths, objects: S3Objects, state: S3Uri) -> None:
    one, two = (MirroredStore(paths, objects, state) for _ in range(2))
    one.open("the first")
    with pytest.raises(Conflict, match="the first"):
        two.open("the second")
    one.close()
    two.open("the second")
    two.close()


def test_a_torn_line_stays_here(paths: ExperimentPaths, objects: S3Objects, state: S3Uri) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    store.append(events(3))
    eventually(lambda: store.durable() == 3)
    store.close()
    last = sorted(paths.journal.glob("*.jsonl"))[-1]
    whole = last.read_bytes()
    last.write_bytes(whole + encode_lines(events(1, 3))[0][:-5])  # killed while it wrote
    again = MirroredStore(paths, objects, state)
    assert again.read() == events(3)
    again.open("me")
    again.append(events(2, 3))
    again.close()
    assert again.read() == events(5)
    assert in_s3(objects, state) == on_disk(paths) == b"".join(encode_lines(events(5)))


def test_output_of_trials_is_uploaded_while_it_grows(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri
) -> None:
    logs = S3Uri(state.bucket, state.key.replace("/state", "/logs"))
    output = paths.trial(0).stdout
    output.parent.mkdir(parents=True)
    store = MirroredStore(paths, objects, state, logs)
    with output.open("ab", buffering=0) as file:
        store.open("me")
        for number in range(200):
            file.write(b"line %d\n" % number)
            store.append(events(1, number))
        eventually(lambda: objects.exists(logs / "0/std.out"))
        eventually(lambda: store.durable() == 200)
    store.close()
    assert objects.get(logs / "0/std.out") == output.read_bytes()


def test_megabytes_hold_up_neither_the_journal_nor_its_verdict(
    paths: ExperimentPaths,
    objects: S3Objects,
    state: S3Uri,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(side_uploads, "_INTERVAL_S", 0.01)
    monkeypatch.setattr(mirrored_store, "_FLUSH_S", 2.0)
    write_atomic(paths.trial(0).stdout, "output")
    write_atomic(paths.snapshot, b"a large model")
    gate.hold(only="tuner.dill")
    store = MirroredStore(paths, objects, state, S3Uri(state.bucket, state.key.replace("/state", "/logs")))
    store.open("me")
    eventually(lambda: gate.attempts, "the snapshot is on its way")
    store.append(events(5))
    eventually(lambda: store.durable() == 5, "the journal goes past it")
    store.append(events(5, 5))
    eventually(lambda: store.durable() == 10, "the journal goes past it")
    store.close()  # no error: the experiment is whole
    assert in_s3(objects, state) == on_disk(paths)
    assert "S3 lacks the last results, snapshot or output" in caplog.text


def test_a_steady_stream_of_events_costs_few_requests(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, gate: Gate
) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    begin = time.monotonic()
    count = 0
    while count < 1000:
        store.append(events(1, count))
        count += 1
        time.sleep(0.001)  # the pace of the events, not a synchronisation
    eventually(lambda: store.durable() == count)
    took = time.monotonic() - begin
    store.close()
    uploads = sum(".jsonl" in url for url in gate.written)
    segments = len(list(paths.journal.glob("*.jsonl")))
    assert uploads <= took / mirrored_store._PACE_S + 2 + segments


def test_an_instance_that_should_be_gone_writes_no_more(
    paths: ExperimentPaths,
    objects: S3Objects,
    state: S3Uri,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    zombie = MirroredStore(paths, objects, state)
    zombie.open("old-host:1")
    zombie.append(events(5))
    eventually(lambda: zombie.durable() == 5)
    there = ExperimentPaths(tmp_path / "there" / "exp")
    successor = MirroredStore(there, objects, state)
    successor.open("new-host:2")
    assert successor.read() == events(5)
    successor.append(events(3, 5))
    eventually(lambda: successor.durable() == 8)

    zombie.append([reported(0, 99, note="of a zombie")])
    eventually(lambda: "new-host:2 has taken over" in caplog.text, "the old session is told")
    with pytest.raises(Conflict, match="new-host:2 has taken over"):
        zombie.append([reported(0, 100)])
    with pytest.raises(Conflict, match="new-host:2 has taken over"):
        zombie.close()
    successor.append(events(2, 8))
    successor.close()
    assert in_s3(objects, state) == on_disk(there) == b"".join(encode_lines(events(10)))


def test_what_the_old_instance_wrote_to_the_last_is_not_lost(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, tmp_path: Path
) -> None:
    old = MirroredStore(paths, objects, state)
    old.open("old")
    old.append(events(5))
    eventually(lambda: old.durable() == 5)
    new = MirroredStore(ExperimentPaths(tmp_path / "there" / "exp"), objects, state)
    new.restore()
    old.append(events(3, 5))
    eventually(lambda: old.durable() == 8)
    new.open("new")
    assert new.read() == events(8)
    assert new.durable() == 8
    new.append(events(1, 8))
    new.close()
    third = MirroredStore(ExperimentPaths(tmp_path / "third" / "exp"), objects, state)
    third.restore()
    assert third.read() == events(9)
    old.append(events(1, 8))
    with pytest.raises(Conflict, match="new has taken over"):
        old.close()


def test_the_end_of_an_experiment_waits_longer_for_s3(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored_store, "_FLUSH_S", 0.1)
    monkeypatch.setattr(mirrored_store, "_RETRY_S", 0.05)
    store = MirroredStore(paths, objects, state)
    store.open("me")
    gate.hold()
    store.append([*events(3), ExperimentEnded(1e9, 1.0, "enough trials", "")])
    timer = threading.Timer(1.0, gate.open)
    timer.start()
    store.close()
    timer.join()
    assert in_s3(objects, state) == on_disk(paths)


def test_a_restarted_machine_waits_for_s3(
    paths: ExperimentPaths,
    objects: S3Objects,
    state: S3Uri,
    s3_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MirroredStore(paths, objects, state)
    store.open("me")
    store.append(events(4))
    store.close()
    monkeypatch.setattr(session_module, "MAX_ATTEMPTS", 1)
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    session = AwsSession(endpoint_url=s3_url, environ=environ)
    failures = [EndpointConnectionError(endpoint_url=s3_url)] * 2

    def fail_twice(**_: object) -> None:
        if failures:
            raise failures.pop()

    session.client("s3").meta.events.register("before-send.s3", fail_twice)
    again = MirroredStore(ExperimentPaths(tmp_path / "there" / "exp"), S3Objects(session), state)
    again.restore()
    assert again.read() == events(4)
    assert not failures


def test_output_of_an_earlier_machine_is_kept(
    paths: ExperimentPaths, objects: S3Objects, state: S3Uri, tmp_path: Path
) -> None:
    logs = S3Uri(state.bucket, state.key.replace("/state", "/logs"))
    for number, folder in enumerate(("one", "two", "three")):
        there = ExperimentPaths(tmp_path / folder / "exp", trials_dir=tmp_path / folder / "trials")
        write_atomic(there.trial(0).stdout, f"machine {number}")
        write_atomic(there.trial(0).config, "{}")
        store = MirroredStore(there, objects, state, logs)
        store.open("me")
        store.append(events(1, number))
        store.close()
    found = {item.uri.key.rsplit("/", 1)[-1]: objects.get(item.uri) for item in objects.list(logs)}
    assert found == {
        "std.out": b"machine 0",
        "std.out.2": b"machine 1",
        "std.out.3": b"machine 2",
        "config.json": b"{}",
    }


@pytest.mark.parametrize(
    ("size", "known", "expected"),
    [
        (10, None, True),
        (11, 10, True),
        (1 << 20, 1 << 20, False),
        ((1 << 20) + 1000, 1 << 20, False),
        (int(1.2 * (1 << 20)), 1 << 20, True),
        (100, 1 << 20, True),  # begun anew
        (17 << 20, 15 << 20, False),
    ],
)
def test_large_output_is_not_uploaded_again_and_again(size: int, known: int | None, expected: bool) -> None:
    assert side_uploads._is_worth_it(size, None if known is None else (known, 0)) is expected
