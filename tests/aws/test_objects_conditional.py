"""Writes and copies that S3 makes only if an object is still what it was; ages by S3's clock."""

from __future__ import annotations

import os
import threading
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.awsrequest import AWSResponse
from test_objects import RawBody, count_calls

from cloudtune.aws import multipart
from cloudtune.aws import objects as objects_module
from cloudtune.aws.objects import ObjectChanged, S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import VirtualClock
from cloudtune.errors import ResourceNotFound, ServiceFailed
from cloudtune.paths import S3Uri


def test_put_if_match_replaces_what_it_knows_alone(objects: S3Objects, root: S3Uri) -> None:
    uri = root / "lease"
    first = objects.put(uri, b"one")
    second = objects.put(uri, b"two", if_match=first)
    with pytest.raises(ObjectChanged):
        objects.put(uri, b"three", if_match=first)
    assert objects.get(uri) == b"two"
    # Whoever never heard of its success may ask again.
    assert objects.put(uri, b"two", if_match=first) == second
    objects.delete([uri])
    with pytest.raises(ObjectChanged):
        objects.put(uri, b"three", if_match=second)
    assert not objects.exists(uri)
    with pytest.raises(ResourceNotFound):
        objects.put(S3Uri("no-such-bucket-here", "x"), b"", if_match=first)


def test_put_if_match_has_one_winner(objects: S3Objects, root: S3Uri) -> None:
    uri = root / "lease"
    before = objects.put(uri, b"nobody")
    start = threading.Barrier(6)
    won: list[bytes] = []

    def contend(name: bytes) -> None:
        start.wait()
        try:
            objects.put(uri, name, if_match=before)
            won.append(name)
        except ObjectChanged:
            pass

    threads = [threading.Thread(target=contend, args=(b"holder-%d" % n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [objects.get(uri)]


@pytest.mark.parametrize("somebody_was_first", [False, True])
def test_a_write_that_met_another_one_is_tried_again(
    objects: S3Objects, session: AwsSession, root: S3Uri, somebody_was_first: bool
) -> None:
    """409 does not say who has won: the next answer does."""
    uri, known = root / "lease", objects.put(root / "lease", b"nobody")
    body = b"<Error><Code>ConditionalRequestConflict</Code><Message>Try again</Message></Error>"
    left = [2]

    def collide(request: Any, **_: Any) -> AWSResponse | None:
        left[0] -= 1
        if left[0] < 0:
            return None
        return AWSResponse(request.url, 409, {}, RawBody(body))  # type: ignore[arg-type]

    if somebody_was_first:
        objects.put(uri, b"other")
    session.client("s3").meta.events.register("before-send.s3.PutObject", collide)
    if somebody_was_first:
        with pytest.raises(ObjectChanged):
            objects.put(uri, b"me", if_match=known)
    else:
        objects.put(uri, b"me", if_match=known)
    assert left[0] < 0
    assert objects.get(uri) == (b"other" if somebody_was_first else b"me")


def test_age_is_told_by_the_services_clock(objects: S3Objects, session: AwsSession, root: S3Uri) -> None:
    uri = root / "x"
    assert objects.age_s(uri) is None
    objects.put(uri, b"")

    def later(parsed: dict[str, Any], **_: Any) -> None:
        date = parsed["LastModified"].replace(year=parsed["LastModified"].year + 1, month=1, day=1)
        parsed["ResponseMetadata"]["HTTPHeaders"]["date"] = format_datetime(date)
        later.expected = (date - parsed["LastModified"]).total_seconds()  # type: ignore[attr-defined]

    session.client("s3").meta.events.register("after-call.s3.HeadObject", later)
    assert objects.age_s(uri) == later.expected  # type: ignore[attr-defined]


@pytest.fixture
def strict_copies(session: AwsSession) -> None:
    """S3 copies only what still has the etag that is named; moto does not look at it."""
    client = session.client("s3")
    body = b"<Error><Code>PreconditionFailed</Code><Message>It has changed</Message></Error>"

    def check(request: Any, **_: Any) -> AWSResponse | None:
        bucket, _, key = unquote(request.headers["x-amz-copy-source"].decode()).partition("/")
        try:
            found = client.head_object(Bucket=bucket, Key=key)["ETag"]
        except client.exceptions.ClientError:
            return None
        if found == request.headers["x-amz-copy-source-if-match"].decode():
            return None
        return AWSResponse(request.url, 412, {}, RawBody(body))  # type: ignore[arg-type]

    for operation in ("CopyObject", "UploadPartCopy"):
        client.meta.events.register(f"before-send.s3.{operation}", check)


@pytest.mark.usefixtures("strict_copies")
def test_copy_takes_what_was_listed_alone(objects: S3Objects, root: S3Uri) -> None:
    objects.put(root / "a b+\u00fc", b"content")
    (item,) = objects.list(root)
    objects.copy(item, root / "copy")
    assert objects.get(root / "copy") == b"content"
    objects.put(item.uri, b"changed")
    with pytest.raises(ObjectChanged):
        objects.copy(item, root / "copy")
    objects.delete([item.uri])
    with pytest.raises(ResourceNotFound):
        objects.copy(item, root / "copy")
    assert objects.get(root / "copy") == b"content"


@pytest.mark.usefixtures("strict_copies")
def test_large_objects_are_copied_in_parts(
    objects: S3Objects, session: AwsSession, root: S3Uri, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(11 << 20)
    objects.put(root / "large", content)
    (item,) = objects.list(root)
    monkeypatch.setattr(objects_module, "COPY_IN_PARTS_FROM", item.size)
    monkeypatch.setattr(multipart, "_COPIED_PART", 5 << 20)
    calls = count_calls(session)
    objects.copy(item, root / "copy")
    assert objects.get(root / "copy") == content
    assert calls["UploadPartCopy"] == 3
    objects.put(item.uri, b"changed")
    with pytest.raises(ObjectChanged):
        objects.copy(item, root / "again")
    objects.delete([item.uri])
    with pytest.raises(ResourceNotFound):
        objects.copy(item, root / "again")
    assert not session.client("s3").list_multipart_uploads(Bucket=root.bucket).get("Uploads")


def test_without_waits_nothing_is_tried_again(session: AwsSession, root: S3Uri) -> None:
    hasty = S3Objects(session, VirtualClock(), waits={})
    tries: list[str] = []

    def fail(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        tries.append(model.name)
        raise ServiceFailed("broken")

    session.client("s3").meta.events.register("after-call.s3.GetObject", fail)
    with pytest.raises(ServiceFailed):
        hasty.get(root / "x")
    assert tries == ["GetObject"]
