from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from cloudtune.aws import multipart
from cloudtune.aws import objects as objects_module
from cloudtune.aws.mirror import INDEX_FILENAME, is_safe_name
from cloudtune.aws.objects import S3Objects, TornAnswer
from cloudtune.aws.session import AwsSession
from cloudtune.aws.snapshot import copy_snapshot, read_snapshot, wait_for_write
from cloudtune.clock import VirtualClock
from cloudtune.errors import AlreadyExists, InvalidRequest, ResourceNotFound, StoreError, Unreachable
from cloudtune.paths import S3Uri


def count_calls(session: AwsSession) -> Counter[str]:
    calls: Counter[str] = Counter()
    session.client("s3").meta.events.register(
        "before-send.s3.*", lambda event_name, **_: calls.update([event_name.rsplit(".", 1)[-1]])
    )
    return calls


class RawBody:
    """The body of an answer that breaks off."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.data

    def read(self, amount: int | None = None, **_: Any) -> bytes:
        taken, self.data = self.data, b""
        return taken

    def close(self) -> None:
        pass


def break_answers(session: AwsSession, times: int, operation: str = "GetObject") -> list[int]:
    """The first ``times`` answers promise ten bytes and hold three."""
    left = [times]

    def hook(request: Any, **_: Any) -> AWSResponse | None:
        if left[0] == 0:
            return None
        left[0] -= 1
        headers = {"Content-Length": "10", "ETag": '"x"'}
        return AWSResponse(request.url, 200, headers, RawBody(b"abc"))

    session.client("s3").meta.events.register(f"before-send.s3.{operation}", hook)
    return left


def test_put_get_head_delete(objects: S3Objects, root: S3Uri) -> None:
    uri = root / "a" / "b c+ü.txt"
    assert objects.head(uri) is None
    assert not objects.exists(uri)
    etag = objects.put(uri, b"hello")
    assert etag == hashlib.md5(b"hello").hexdigest()
    assert objects.get(uri) == b"hello"
    found = objects.head(uri)
    assert found is not None
    assert (found.size, found.etag) == (5, etag)
    assert found.last_modified > 1_600_000_000
    assert objects.delete([uri, root / "never-was"]) == 2
    assert not objects.exists(uri)
    with pytest.raises(ResourceNotFound, match="b c"):
        objects.get(uri)


def test_get_range(objects: S3Objects, root: S3Uri) -> None:
    objects.put(root / "log", b"0123456789")
    assert objects.get_range(root / "log", 0) == b"0123456789"
    assert objects.get_range(root / "log", 7) == b"789"
    assert objects.get_range(root / "log", 10) == b""
    with pytest.raises(ResourceNotFound):
        objects.get_range(root / "none", 3)


def test_empty_object(objects: S3Objects, root: S3Uri, tmp_path: Path) -> None:
    objects.put(root / "empty", b"")
    assert objects.get(root / "empty") == b""
    assert objects.get_range(root / "empty", 0) == b""
    objects.download(root / "empty", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b""


def test_put_if_absent_has_one_winner(objects: S3Objects, root: S3Uri) -> None:
    uri = root / "lease"
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def contend(number: int) -> None:
        start.wait()
        try:
            objects.put(uri, f"holder-{number}".encode(), if_absent=True)
            outcomes.append(f"holder-{number}")
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=contend, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [objects.get(uri).decode()]
    # The winner that never heard of its victory may ask again.
    objects.put(uri, outcomes[0].encode(), if_absent=True)


def test_put_notices_that_something_else_arrived(objects: S3Objects, session: AwsSession, root: S3Uri) -> None:
    wrong = {"ETag": '"' + "0" * 32 + '"'}
    times = [2]

    def corrupt(parsed: dict[str, Any], **_: Any) -> None:
        if times[0]:
            times[0] -= 1
            parsed.update(wrong)

    session.client("s3").meta.events.register("after-call.s3.PutObject", corrupt)
    objects.put(root / "x", b"data")  # tried again
    assert times == [0]
    times[0] = 1000
    with pytest.raises(TornAnswer, match="something else"):
        objects.put(root / "x", b"data")


def test_a_body_that_breaks_off_is_read_again(
    objects: S3Objects, session: AwsSession, root: S3Uri, tmp_path: Path
) -> None:
    objects.put(root / "x", b"0123456789")
    left = break_answers(session, 2)
    assert objects.get(root / "x") == b"0123456789"
    assert left == [0]
    left[0] = 2
    target = tmp_path / "x"
    target.write_bytes(b"old")
    objects.download(root / "x", target)
    assert target.read_bytes() == b"0123456789"
    left[0] = 10_000
    with pytest.raises(TornAnswer):
        objects.download(root / "x", target)
    assert target.read_bytes() == b"0123456789"  # never half a file
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_damaged_body_is_read_again(objects: S3Objects, session: AwsSession, root: S3Uri) -> None:
    objects.put(root / "x", b"0123456789")
    checksum = base64.b64encode(zlib.crc32(b"0123456789").to_bytes(4, "big")).decode()
    left = [2]

    def damage(request: Any, **_: Any) -> AWSResponse | None:
        if left[0] == 0:
            return None
        left[0] -= 1
        headers = {"Content-Length": "10", "ETag": '"x"', "x-amz-checksum-crc32": checksum}
        return AWSResponse(request.url, 200, headers, RawBody(b"0123X56789"))

    session.client("s3").meta.events.register("before-send.s3.GetObject", damage)
    assert objects.get(root / "x") == b"0123456789"
    assert left == [0]
    left[0] = 10_000
    with pytest.raises(TornAnswer):
        objects.get(root / "x")


def test_an_outage_longer_than_botocore_waits(
    objects: S3Objects, session: AwsSession, root: S3Uri, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put(root / "x", b"data")
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    client = session._boto.client("s3", region_name="us-west-2", endpoint_url=session.endpoint_url, config=config)
    monkeypatch.setitem(session._clients, "s3", client)
    left = [4]

    def cut(request: Any, **_: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise EndpointConnectionError(endpoint_url=request.url)

    client.meta.events.register("before-send.s3.*", cut)
    assert objects.get(root / "x") == b"data"
    left[0] = 4
    objects.put(root / "x", b"more")
    left[0] = 10_000
    with pytest.raises(Unreachable):
        objects.get(root / "x")


def test_list_pages_and_keeps_siblings_out(objects: S3Objects, session: AwsSession, root: S3Uri) -> None:
    client = session.client("s3")
    for number in range(7):
        client.put_object(Bucket=root.bucket, Key=f"{root.key}/f{number}", Body=b"x" * number)
    client.put_object(Bucket=root.bucket, Key=f"{root.key}-sibling/f", Body=b"")
    client.meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=3)
    )
    calls = count_calls(session)
    assert [(o.uri.key, o.size) for o in objects.list(root)] == [(f"{root.key}/f{n}", n) for n in range(7)]
    assert calls["ListObjectsV2"] == 3
    assert list(objects.list(root / "nothing")) == []
    with pytest.raises(ResourceNotFound):
        list(objects.list(S3Uri("no-such-bucket-here", "x")))


def test_folders(objects: S3Objects, root: S3Uri) -> None:
    for key in ("b/x/y", "a/z", "top"):
        objects.put(root / key, b"")
    assert list(objects.folders(root)) == [root / "a", root / "b"]


def test_delete_in_batches(objects: S3Objects, session: AwsSession, root: S3Uri) -> None:
    calls = count_calls(session)
    objects.put(root / "1500", b"")
    assert objects.delete(root / str(n) for n in range(1501)) == 1501
    assert calls["DeleteObjects"] == 2
    assert list(objects.list(root)) == []


def test_upload_small_and_in_parts(
    objects: S3Objects, root: S3Uri, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"small")
    objects.upload(path, root / "small")
    assert objects.get(root / "small") == b"small"
    monkeypatch.setattr(objects_module, "MULTIPART_FROM", 1 << 20)
    monkeypatch.setattr(multipart, "_PART", 5 << 20)
    content = os.urandom(11 << 20)
    path.write_bytes(content)
    objects.upload(path, root / "large")
    assert objects.get(root / "large") == content
    with pytest.raises(StoreError, match="No such file"):
        objects.upload(tmp_path / "none", root / "x")


def test_failed_parts_are_abandoned(
    objects: S3Objects, session: AwsSession, root: S3Uri, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "MULTIPART_FROM", 1)
    body = b"<Error><Code>InvalidArgument</Code><Message>no</Message></Error>"
    client = session.client("s3")
    client.meta.events.register(
        "before-send.s3.UploadPart", lambda request, **_: AWSResponse(request.url, 400, {}, RawBody(body))
    )
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with pytest.raises(InvalidRequest, match="in parts"):
        objects.upload(path, root / "x")
    assert not client.list_multipart_uploads(Bucket=root.bucket).get("Uploads")
    assert not objects.exists(root / "x")


def test_parts_that_cannot_be_abandoned_hide_no_cause(
    objects: S3Objects,
    session: AwsSession,
    root: S3Uri,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(objects_module, "MULTIPART_FROM", 1)
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    events = session.client("s3").meta.events
    events.register("before-send.s3.UploadPart", interrupt)
    events.register(
        "before-send.s3.AbortMultipartUpload",
        lambda request, **_: AWSResponse(request.url, 403, {}, RawBody(denied)),
    )
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with pytest.raises(KeyboardInterrupt):
        objects.upload(path, root / "x")
    assert "Its parts are kept" in caplog.text


@pytest.mark.parametrize("copied", [False, True])
def test_snapshot_is_never_torn(tmp_path: Path, copied: bool) -> None:
    """A writer overwrites the file in place all the while; what is read is always one of its versions."""
    path = tmp_path / "f"
    size = 1 << 20
    path.write_bytes(bytes(size))
    stop = threading.Event()

    def write() -> None:
        value = 0
        with path.open("r+b") as file:
            while not stop.is_set():
                value = (value + 1) % 256
                os.pwrite(file.fileno(), bytes([value]) * size, 0)
                stop.wait(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        read = 0
        for _ in range(30):
            try:
                data = _snapshot(path, copied)
            except StoreError:
                continue
            assert len(set(data)) == 1
            read += 1
    finally:
        stop.set()
        writer.join()
    assert read


@pytest.mark.parametrize("content", [b"", b"content"])
def test_waiting_for_a_write_leaves_the_position(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        file.seek(len(content) // 2)
        wait_for_write(file.fileno())
        assert file.tell() == len(content) // 2


def _snapshot(path: Path, copied: bool) -> bytes:
    if not copied:
        return read_snapshot(path, VirtualClock())
    copy = path.with_name("copy")
    copy_snapshot(path, copy, VirtualClock())
    return copy.read_bytes()


# ---- download_missing


def fill(objects: S3Objects, root: S3Uri, names: list[str]) -> None:
    for name in names:
        objects.put(root / name, name.encode())


def test_download_missing_fetches_only_what_changed(
    objects: S3Objects, session: AwsSession, root: S3Uri, tmp_path: Path
) -> None:
    names = [f"journal/{n:08d}.jsonl" for n in range(20)] + ["metadata.json", "skip.bin"]
    fill(objects, root, names)
    calls = count_calls(session)
    progress: list[tuple[int, int]] = []

    def include(name: str) -> bool:
        return name != "skip.bin"

    def again() -> list[str]:
        paths = objects.download_missing(
            root, tmp_path, include=include, on_progress=lambda done, total: progress.append((done, total))
        )
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    assert again() == sorted(names[:-1])
    assert progress == [(n, 21) for n in range(1, 22)]
    assert not (tmp_path / "skip.bin").exists()
    assert (tmp_path / "metadata.json").read_text() == "metadata.json"
    assert calls["GetObject"] == 21
    assert again() == []
    assert calls["GetObject"] == 21
    objects.put(root / "metadata.json", b"METADATA.JSON")  # same size, other content
    (tmp_path / names[3]).unlink()
    (tmp_path / names[4]).write_bytes(b"cut off")
    assert again() == [names[3], names[4], "metadata.json"]
    assert (tmp_path / "metadata.json").read_text() == "METADATA.JSON"
    (tmp_path / INDEX_FILENAME).write_text("{damaged")
    assert len(again()) == 21


def test_download_missing_stays_inside_the_folder(
    objects: S3Objects, session: AwsSession, root: S3Uri, tmp_path: Path
) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    for name in ("../evil", "a/../../evil", "/evil", "a//evil", "link/evil", "c:\\evil", INDEX_FILENAME, "good"):
        session.client("s3").put_object(Bucket=root.bucket, Key=f"{root.key}/{name}", Body=b"{}")
    assert objects.download_missing(root, folder) == [folder / "good"]
    assert list(outside.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    assert list(json.loads((folder / INDEX_FILENAME).read_text())) == ["good"]


def test_download_missing_tells_of_files_that_cannot_be_written(
    objects: S3Objects, root: S3Uri, tmp_path: Path
) -> None:
    objects.put(root / "a/b", b"")
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="Cannot write"):
        objects.download_missing(root, tmp_path)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "\\", "c:", "\0", "ü"]), min_size=1, max_size=5))
def test_safe_names_never_leave(parts: list[str]) -> None:
    name = "/".join(parts)
    if is_safe_name(name):
        joined = os.path.normpath("/folder/" + name)
        assert joined == f"/folder/{name}"


def test_a_download_that_is_killed_leaves_a_folder_that_is_known_as_a_copy(
    objects: S3Objects, root: S3Uri, tmp_path: Path
) -> None:
    objects.put(root / "a", b"1")
    seen: list[bool] = []

    def on_progress(done: int, total: int) -> None:
        seen.append((tmp_path / INDEX_FILENAME).exists())

    objects.download_missing(root, tmp_path, on_progress=on_progress)
    assert seen == [True]
