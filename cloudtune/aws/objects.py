"""Objects in S3: verified writes, atomic reads, listings, and folders kept up to date."""

from __future__ import annotations

import base64
import builtins
import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

from cloudtune.aws.errors import aws_call
from cloudtune.aws.mirror import FolderIndex, target_in
from cloudtune.aws.multipart import copy_in_parts, put_in_parts
from cloudtune.aws.retry import Retry, Wait
from cloudtune.aws.session import AwsSession
from cloudtune.aws.snapshot import copy_snapshot, read_snapshot, size_of
from cloudtune.clock import Clock, WallClock
from cloudtune.errors import (
    AlreadyExists,
    AwsError,
    CloudtuneError,
    InvalidRequest,
    ResourceNotFound,
    StoreError,
    Throttled,
    Unreachable,
)
from cloudtune.paths import S3Uri, atomic_path

_CHUNK = 1 << 20
# Above this, an upload goes in parts. S3 takes up to 5 GB in one request.
MULTIPART_FROM = 64 << 20
# The same for copies, which S3 makes by itself.
COPY_IN_PARTS_FROM = 1 << 30
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETE_BATCH = 1000
_log = logging.getLogger(__name__)


class TornAnswer(Unreachable):
    """What arrived is not what was sent."""


class ObjectChanged(AwsError):
    """An object is no longer what the request said that it was: look again."""


# botocore retries requests for a few seconds, and the reading of an answer's body not at all. Listings and heads
# are left to it: they are what a person waits for who has named a wrong endpoint.
_WAITS: dict[type[AwsError], Wait] = {
    TornAnswer: Wait(base_s=0.2, cap_s=5.0, give_up_after_s=30.0),
    Throttled: Wait(base_s=1.0, cap_s=10.0, give_up_after_s=30.0),
    Unreachable: Wait(base_s=0.5, cap_s=4.0, give_up_after_s=8.0),
}


@dataclass(frozen=True)
class S3Object:
    """One object as listed. ``last_modified`` in seconds since the epoch; ``etag`` without quotes."""

    uri: S3Uri
    size: int
    etag: str
    last_modified: float


class S3Objects:
    """Reads and writes objects. Thread-safe. Everything raises AwsError; what may pass is retried before.

    Args:
        waits: How long to go on after which class of error; none: all are raised at once.
    """

    def __init__(
        self,
        session: AwsSession,
        clock: Clock | None = None,
        *,
        waits: Mapping[type[AwsError], Wait] = _WAITS,
    ) -> None:
        self._session = session
        self._clock = clock or WallClock()
        self._retry = Retry(self._clock, dict(waits))

    # ---- reading

    def list(self, uri: S3Uri) -> Iterator[S3Object]:
        """All objects below the folder ``uri``, in order of their keys. Siblings that share the name as a
        prefix are not among them; a missing folder is empty."""
        for page in self._pages(uri):
            for item in page.get("Contents", []):
                yield S3Object(
                    S3Uri(uri.bucket, item["Key"]),
                    int(item["Size"]),
                    _etag(item),
                    item["LastModified"].timestamp(),
                )

    def folders(self, uri: S3Uri) -> Iterator[S3Uri]:
        """The folders directly below ``uri``, without reading what is in them."""
        for page in self._pages(uri, Delimiter="/"):
            for item in page.get("CommonPrefixes", []):
                yield S3Uri(uri.bucket, item["Prefix"].rstrip("/"))

    def head(self, uri: S3Uri) -> S3Object | None:
        """What is known of one object; None if there is none (or no such bucket)."""
        answer = self._head(uri)
        if answer is None:
            return None
        return S3Object(uri, int(answer["ContentLength"]), _etag(answer), answer["LastModified"].timestamp())

    def age_s(self, uri: S3Uri) -> float | None:
        """Whole seconds since the object was written, by S3's clock; None if there is none."""
        answer = self._head(uri)
        if answer is None:
            return None
        written: datetime = answer["LastModified"]
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return max(0.0, (now - written).total_seconds())

    def exists(self, uri: S3Uri) -> bool:
        return self.head(uri) is not None

    def get(self, uri: S3Uri) -> bytes:
        """Raises ResourceNotFound if there is no such object."""
        return self._retry.call(lambda: self._read(uri))

    def get_range(self, uri: S3Uri, start: int) -> bytes:
        """The bytes from ``start`` to the end; empty if the object is not that long."""
        if start == 0:
            return self.get(uri)
        try:
            return self._retry.call(lambda: self._read(uri, Range=f"bytes={start}-"))
        except InvalidRequest as error:
            if error.code in ("InvalidRange", "416"):
                return b""
            raise

    def download(self, uri: S3Uri, path: Path) -> str:
        """Replaces ``path`` by the object as a whole; returns the object's etag."""

        def attempt() -> str:
            try:
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    return self._copy_to(uri, file)
            except OSError as error:
                if isinstance(error, CloudtuneError):
                    raise
                raise StoreError(f"Cannot write {path}: {error.strerror or error}.") from error

        return self._retry.call(attempt)

    def download_missing(
        self,
        uri_prefix: S3Uri,
        folder: Path,
        *,
        include: Callable[[str], bool] | None = None,
        workers: int = 16,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> builtins.list[Path]:
        """Brings ``folder`` up to date with what is below ``uri_prefix``, fetching only what is new or changed.

        Args:
            include: Called with each name relative to ``uri_prefix``; default: everything.
            workers: Downloads at the same time.
            on_progress: Called with the number of files fetched, and of all that are to be.

        Returns:
            The files that were fetched, sorted. Objects that vanish meanwhile are left out, files here that S3
            does not have are left alone, keys that would lead out of ``folder`` are refused with a warning.
        """
        index = FolderIndex(folder)
        wanted: dict[str, Path] = {}
        for item in self.list(uri_prefix):
            name = item.uri.key[len(uri_prefix.prefix) :]
            if name.endswith("/") or (include is not None and not include(name)):
                continue
            target = target_in(folder, name)
            if target is None:
                _log.warning("skipping %s: its name leads out of %s", item.uri, folder)
            elif not index.is_current(name, item.size, item.etag):
                wanted[name] = target
        if wanted:
            index.save()  # tells from the first file on that this is a copy, even if we are killed midway
        try:
            return self._download_all(uri_prefix, wanted, index, workers, on_progress)
        finally:
            index.save()  # also after an interrupt: what has arrived need not be fetched again

    # ---- writing

    def put(self, uri: S3Uri, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Writes the object and returns its etag; S3 has checked what arrived against our digest.

        With a condition, S3 decides, so that one of several writers wins. An object that holds exactly ``data``
        already counts as written: a first answer may have been lost.

        Args:
            if_absent: Write only if there is no such object.
            if_match: Replace only the object that has this etag.

        Raises:
            AlreadyExists: With ``if_absent``, if the object exists.
            ObjectChanged: With ``if_match``, if the object is another one, or gone.
        """
        digest = hashlib.md5(data, usedforsecurity=False)
        arguments: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            arguments["IfMatch"] = f'"{if_match}"'
        try:
            return self._retry.call(lambda: self._put(uri, data, digest.digest(), arguments))
        except (AlreadyExists, ResourceNotFound) as error:
            etag = self._etag_if_it_holds(uri, data) if isinstance(error, AlreadyExists) else None
            if etag is not None:
                return etag
            if if_match is not None and error.code != "NoSuchBucket":
                raise ObjectChanged(error.message, error.hint, error.code) from error
            raise

    def copy(self, source: S3Object, target: S3Uri) -> None:
        """Copies the object as it was listed, without fetching it.

        Raises:
            ResourceNotFound: If it is gone.
            ObjectChanged: If it has been replaced since.
        """
        self._retry.call(lambda: self._copy(source, target))

    def upload(self, path: Path, uri: S3Uri) -> str:
        """Uploads the file as it was at one moment, never half of one version and half of another; returns
        the object's etag.

        Raises:
            StoreError: If the file is missing or does not hold still.
        """
        if size_of(path) < MULTIPART_FROM:
            return self.put(uri, read_snapshot(path, self._clock))
        with tempfile.TemporaryDirectory(prefix="cloudtune-upload-") as folder:
            copy = Path(folder) / "snapshot"
            copy_snapshot(path, copy, self._clock)
            etag = put_in_parts(self._client, self._retry, copy, uri)
            found = self.head(uri)
            if found is None or found.size != size_of(copy):
                raise Unreachable(f"Cannot write {uri}: it has not arrived whole.")
            return etag

    def delete(self, uris: Iterable[S3Uri]) -> int:
        """Deletes objects, a thousand per call; missing ones are no error. Returns how many were named."""
        by_bucket: dict[str, list[str]] = {}
        for uri in uris:
            by_bucket.setdefault(uri.bucket, []).append(uri.key)
        for bucket, keys in by_bucket.items():
            for start in range(0, len(keys), _DELETE_BATCH):
                self._delete_batch(bucket, keys[start : start + _DELETE_BATCH])
        return sum(len(keys) for keys in by_bucket.values())

    # ---- inside

    @property
    def _client(self) -> Any:
        return self._session.client("s3")

    def _download_all(
        self,
        source: S3Uri,
        wanted: dict[str, Path],
        index: FolderIndex,
        workers: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> builtins.list[Path]:
        def fetch(name: str) -> Path | None:
            try:
                etag = self.download(source / name, wanted[name])
            except ResourceNotFound:
                return None  # an experiment that runs replaces its files
            index.record(name, etag)
            return wanted[name]

        fetched: list[Path] = []
        executor = ThreadPoolExecutor(max_workers=max(1, min(workers, len(wanted))), thread_name_prefix="download")
        try:
            for done, future in enumerate(as_completed([executor.submit(fetch, name) for name in wanted]), 1):
                path = future.result()
                if path is not None:
                    fetched.append(path)
                if on_progress is not None:
                    on_progress(done, len(wanted))
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        return sorted(fetched)

    def _pages(self, uri: S3Uri, **arguments: str) -> Iterator[dict[str, Any]]:
        pages = iter(
            self._client.get_paginator("list_objects_v2").paginate(
                Bucket=uri.bucket, Prefix=uri.prefix, **arguments
            )
        )
        while True:
            with aws_call(f"list {uri} (s3:ListBucket)"):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _read(self, uri: S3Uri, **arguments: str) -> bytes:
        return b"".join(self._chunks(uri, self._open(uri, **arguments)))

    def _copy_to(self, uri: S3Uri, file: BinaryIO) -> str:
        answer = self._open(uri)
        for chunk in self._chunks(uri, answer):
            file.write(chunk)
        return _etag(answer)

    def _open(self, uri: S3Uri, **arguments: str) -> dict[str, Any]:
        with aws_call(f"read {uri} (s3:GetObject)"):
            return dict(self._client.get_object(Bucket=uri.bucket, Key=uri.key, **arguments))

    def _chunks(self, uri: S3Uri, answer: dict[str, Any]) -> Iterator[bytes]:
        received = 0
        try:
            with aws_call(f"read {uri} (s3:GetObject)"), closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    received += len(chunk)
                    yield chunk
        except Unreachable as error:
            raise TornAnswer(error.message, error.hint, error.code) from error
        if received != int(answer["ContentLength"]):
            raise TornAnswer(f"Cannot read {uri}: the answer broke off after {received} bytes.")

    def _head(self, uri: S3Uri) -> dict[str, Any] | None:
        try:
            with aws_call(f"look at {uri} (s3:GetObject)"):
                return dict(self._client.head_object(Bucket=uri.bucket, Key=uri.key))
        except ResourceNotFound:
            return None

    def _copy(self, source: S3Object, target: S3Uri) -> None:
        place = {"Bucket": source.uri.bucket, "Key": source.uri.key}
        etag = f'"{source.etag}"'
        try:
            with aws_call(f"copy {source.uri} to {target} (s3:GetObject, s3:PutObject)"):
                if source.size >= COPY_IN_PARTS_FROM:
                    copy_in_parts(self._client, place, etag, target)
                else:
                    where = {"Bucket": target.bucket, "Key": target.key}
                    self._client.copy_object(**where, CopySource=place, CopySourceIfMatch=etag)
        except AlreadyExists as error:
            raise ObjectChanged(error.message, "It has been replaced: list it again.", error.code) from error

    def _etag_if_it_holds(self, uri: S3Uri, data: bytes) -> str | None:
        found = self.head(uri)
        try:
            return found.etag if found and found.size == len(data) and self.get(uri) == data else None
        except ResourceNotFound:
            return None

    def _put(self, uri: S3Uri, data: bytes, md5: bytes, arguments: dict[str, Any]) -> str:
        with aws_call(f"write {uri} (s3:PutObject)"):
            answer = self._client.put_object(
                Bucket=uri.bucket,
                Key=uri.key,
                Body=data,
                ContentMD5=base64.b64encode(md5).decode(),
                **arguments,
            )
        etag = _etag(answer)
        # Objects encrypted with a key of KMS have etags that are no digests; ContentMD5 alone vouches for them.
        encrypted = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
        if not encrypted and etag != md5.hex():
            raise TornAnswer(f"Cannot write {uri}: S3 holds something else than what was sent (etag {etag}).")
        return etag

    def _delete_batch(self, bucket: str, keys: builtins.list[str]) -> None:
        with aws_call(f"delete {len(keys)} objects from bucket {bucket!r} (s3:DeleteObject)"):
            answer = self._client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        failed = answer.get("Errors", [])
        if failed:
            first = failed[0]
            raise AwsError(
                f"Cannot delete {len(failed)} of {len(keys)} objects from bucket {bucket!r}: "
                f"{first.get('Key')}: {first.get('Message')}",
                "Check that s3:DeleteObject is allowed there.",
                str(first.get("Code", "")),
            )


def _etag(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')
