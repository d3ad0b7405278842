"""S3 and CloudWatch Logs as the service's own machinery uses them: moto's backends, without HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.core.exceptions import JsonRESTError, ServiceException
from moto.logs.models import logs_backends
from moto.s3.models import FakeKey, s3_backends

from cloudtune.emulator.service_error import JsonObject, invalid

_URI = re.compile(r"(?:s3|https)://([^/]+)/?(.*)", re.DOTALL)
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_MAX_KEY_BYTES = 1024
_CHUNK_BYTES = 1 << 20
_IN_MEMORY_BYTES = 4 << 20


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``. Raises ServiceError for anything else."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise invalid(f"{uri!r} is no S3 URI.")
    return match[1], match[2]


def is_legal_key(key: str) -> bool:
    """Whether S3 could have an object of that name; file names may be longer, or not even text."""
    try:
        return 0 < len(key.encode()) <= _MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True)
class StoredObject:
    key: str
    size: int


class StoreFailed(Exception):
    """S3 refused an operation; the message says why."""


class ObjectStore:
    """The account's buckets."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id

    @property
    def _backend(self) -> Any:
        return s3_backends[self._account_id]["aws"]

    def _bucket(self, name: str) -> Any:
        try:
            return self._backend.get_bucket(name)
        except ServiceException as error:
            raise StoreFailed(f"bucket {name!r}: {error}") from error

    def region_of(self, name: str) -> str | None:
        """The bucket's region; None if there is no such bucket."""
        try:
            return str(self._bucket(name).region_name)
        except StoreFailed:
            return None

    def has_any(self, bucket: str, prefix: str) -> bool:
        """Whether an object's key begins with ``prefix``."""
        versions = dict(self._bucket(bucket).keys)
        return any(
            key.startswith(prefix) and kept and isinstance(kept[-1], FakeKey) for key, kept in versions.items()
        )

    def list(self, bucket: str, prefix: str) -> list[StoredObject]:
        """All objects whose key begins with ``prefix``, by key."""
        # A copy of the plain dictionary: other threads write to it, and moto's own iterators mind.
        versions = dict(self._bucket(bucket).keys)
        found = [
            StoredObject(key, kept[-1].contentsize)
            for key, kept in versions.items()
            if key.startswith(prefix) and kept and isinstance(kept[-1], FakeKey)
        ]
        return sorted(found, key=lambda item: item.key)

    def get(self, bucket: str, key: str) -> bytes:
        self._bucket(bucket)
        found = self._backend.get_object(bucket, key)
        if found is None:
            raise StoreFailed(f"s3://{bucket}/{key} does not exist")
        return bytes(found.value)

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        """The content of an object in pieces, of one version throughout. Raises StoreFailed, also in between where
        the object has been replaced."""
        self._bucket(bucket)
        found = self._backend.get_object(bucket, key)
        if found is None:
            raise StoreFailed(f"s3://{bucket}/{key} does not exist")
        for start in range(0, found.contentsize, _CHUNK_BYTES):
            try:
                with found.lock:
                    found._value_buffer.seek(start)
                    chunk = found._value_buffer.read(_CHUNK_BYTES)
            except ValueError as error:  # closed: moto drops what is replaced
                raise StoreFailed(f"s3://{bucket}/{key} was replaced while it was read") from error
            yield chunk

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._bucket(bucket)
        _check_key(key)
        self._backend.put_object(bucket, key, content)

    def put_chunks(self, bucket: str, key: str, chunks: Iterable[bytes]) -> None:
        """Like :meth:`put`, without holding large content in memory. The object is replaced when ``chunks`` has
        come to its end, and left alone where ``chunks`` raises."""
        owner = self._bucket(bucket)
        _check_key(key)
        buffer = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - becomes the object's
        digest = hashlib.md5(usedforsecurity=False)
        try:
            for chunk in chunks:
                buffer.write(chunk)
                digest.update(chunk)
        except BaseException:
            buffer.close()
            raise
        size = buffer.tell()
        if size <= _IN_MEMORY_BYTES:
            buffer.seek(0)
            self._backend.put_object(bucket, key, buffer.read())
            return
        # moto itself takes content only as one piece.
        made = FakeKey(
            name=key,
            value=b"",
            account_id=self._account_id,
            region_name=self._backend.region_name,
            etag=digest.hexdigest(),
            is_versioned=owner.is_versioned,
            version_id=str(uuid.uuid4()) if owner.is_versioned else "null",
            bucket_name=bucket,
        )
        made._value_buffer, made.contentsize = buffer, size
        owner.keys.setlist(key, [*(owner.keys.getlist(key, []) if owner.is_versioned else []), made])

    def put_file(self, bucket: str, key: str, file: Path) -> None:
        """Uploads a file that nobody changes."""
        with file.open("rb") as opened:
            self.put_chunks(bucket, key, iter(lambda: opened.read(_CHUNK_BYTES), b""))

    def delete(self, bucket: str, key: str) -> None:
        self._bucket(bucket)
        self._backend.delete_object(bucket, key)


def _check_key(key: str) -> None:
    if not is_legal_key(key):
        raise StoreFailed(f"{key!r} is no legal name of an object: UTF-8, at most {_MAX_KEY_BYTES} bytes")


class LogStore:
    """The log group of training jobs in one region."""

    def __init__(self, account_id: str, region: str) -> None:
        self._backend: Any = logs_backends[account_id][region]
        self._ensure_group()

    def _ensure_group(self) -> None:
        if LOG_GROUP not in self._backend.groups:
            with contextlib.suppress(JsonRESTError):  # another job has made it just now
                self._backend.create_log_group(LOG_GROUP, {})

    def new_stream(self, job_name: str, host: str) -> str:
        """Creates a stream for a host of an attempt of the job; returns its name, ``{job}/{host}-{epoch}``."""
        self._ensure_group()  # users may delete it
        taken = self._backend.groups[LOG_GROUP].streams
        epoch = int(time.time())
        while (name := f"{job_name}/{host}-{epoch}") in taken:  # an attempt of less than a second
            epoch += 1
        self._backend.create_log_stream(LOG_GROUP, name)
        return name

    def put(self, stream: str, events: Sequence[JsonObject]) -> None:
        """``events``: ``timestamp`` (milliseconds, not descending) and ``message``. Raises StoreFailed."""
        try:
            self._backend.put_log_events(LOG_GROUP, stream, list(events))
        except JsonRESTError as error:
            raise StoreFailed(f"log stream {stream!r}: {error}") from error
