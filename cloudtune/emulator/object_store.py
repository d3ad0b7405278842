"""S3 and CloudWatch Logs as the service's own machinery uses them: moto's backends, without HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from moto.core.exceptions import JsonRESTError, ServiceException
from moto.logs.models import logs_backends
from moto.s3.models import FakeKey, s3_backends

from cloudtune.emulator.service_error import JsonObject, invalid
from cloudtune.emulator.state import moto_state
from cloudtune.emulator.state.log_state import LogState
from cloudtune.emulator.state.s3_state import NotKept, S3State, StoredContent

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
    """The account's buckets, and its log groups.

    Args:
        account_id: Whose.
        s3: Keeps what is stored; None: nothing outlives the process.
        logs: Keeps what is logged.
    """

    def __init__(self, account_id: str, s3: S3State | None = None, logs: LogState | None = None) -> None:
        self._account_id = account_id
        self._s3 = s3
        self._logs = logs

    def logs(self, region: str) -> LogStore:
        """The log group of training jobs in a region."""
        return LogStore(self._account_id, region, self._logs)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """What is changed within the block is kept when it is left. Raises StoreFailed."""
        try:
            with contextlib.nullcontext() if self._s3 is None else self._s3.keeping():
                yield
        except NotKept as error:
            raise StoreFailed(f"the emulator's state cannot be written: {error}") from error

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
                    content = moto_state.content_of(found)
                    content.seek(start)
                    chunk = content.read(_CHUNK_BYTES)
            except ValueError as error:  # closed: moto drops what is replaced
                raise StoreFailed(f"s3://{bucket}/{key} was replaced while it was read") from error
            yield chunk

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._bucket(bucket)
        _check_key(key)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        with self._keeping():
            self._backend.put_object(bucket, key, content, etag=etag)

    def put_chunks(self, bucket: str, key: str, chunks: Iterable[bytes]) -> None:
        """Like :meth:`put`, without holding large content in memory. The object is replaced when ``chunks`` has
        come to its end, and left alone where ``chunks`` raises."""
        self._bucket(bucket)
        _check_key(key)
        pieces = iter(chunks)
        first: list[bytes] = []
        size = 0
        for piece in pieces:
            first.append(piece)
            size += len(piece)
            if size > _IN_MEMORY_BYTES:
                break
        else:
            self.put(bucket, key, b"".join(first))
            return
        with self._keeping(), self._new_file() as (content, file):
            size, etag = _write(itertools.chain(first, pieces), file)
            moto_state.new_version(self._bucket(bucket), key, content, size, etag)

    @contextlib.contextmanager
    def _new_file(self) -> Iterator[tuple[object, IO[bytes]]]:
        """What becomes an object's content, and how to write it. What is kept is written straight to its place."""
        if self._s3 is not None:
            with self._s3.contents.new_file() as (path, file):
                yield StoredContent(path), file
            return
        with contextlib.ExitStack() as on_error:
            buffer = on_error.enter_context(tempfile.TemporaryFile())
            yield buffer, buffer
            on_error.pop_all()

    def delete(self, bucket: str, key: str) -> None:
        self._bucket(bucket)
        with self._keeping():
            self._backend.delete_object(bucket, key)


def _write(chunks: Iterable[bytes], file: IO[bytes]) -> tuple[int, str]:
    """Size and ETag of what was written."""
    size, digest = 0, hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    file.flush()
    return size, digest.hexdigest()


def _check_key(key: str) -> None:
    if not is_legal_key(key):
        raise StoreFailed(f"{key!r} is no legal name of an object: UTF-8, at most {_MAX_KEY_BYTES} bytes")


class LogStore:
    """The log group of training jobs in one region.

    Args:
        account_id: Whose.
        region: Of the group.
        state: Keeps what is logged; None: nothing outlives the process.
    """

    def __init__(self, account_id: str, region: str, state: LogState | None = None) -> None:
        self._region = region
        self._state = state
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
        if self._state is not None:
            self._state.keep_stream(self._region, LOG_GROUP, name)
        return name

    def put(self, stream: str, events: Sequence[JsonObject]) -> None:
        """``events``: ``timestamp`` (milliseconds, not descending) and ``message``. Raises StoreFailed."""
        try:
            self._backend.put_log_events(LOG_GROUP, stream, list(events))
            if self._state is not None:
                self._state.keep_stream(self._region, LOG_GROUP, stream)
        except (JsonRESTError, OSError) as error:
            raise StoreFailed(f"log stream {stream!r}: {error}") from error
