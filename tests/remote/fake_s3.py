"""S3 in memory: conditional writes are decided one after the other, and it has a clock of its own."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any, cast

from botocore.exceptions import ClientError, EndpointConnectionError

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import Clock, VirtualClock


class MachineClock:
    """What one machine takes for the time. ``on_sleep`` is called while it sleeps."""

    def __init__(self, world: VirtualClock, wrong_by_s: float = 0.0) -> None:
        self._world = world
        self._wrong_by_s = wrong_by_s
        self.on_sleep: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self._world.now() + self._wrong_by_s

    def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)
        self.on_sleep()


class Bucket:
    """What all machines see."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.contents: dict[str, tuple[bytes, datetime]] = {}
        self.lock = threading.Lock()

    def now(self) -> datetime:
        """In whole seconds, as S3 has it."""
        return datetime.fromtimestamp(int(self.clock.now()), tz=timezone.utc)


class Line:
    """One machine's way to S3: a client of botocore, as far as it is needed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._passable = threading.Event()
        self._passable.set()
        self._held = ""
        self._is_cut = False
        #: Called with the number of each call, from 0, before it has any effect.
        self.before: Callable[[int], object] = lambda number: None
        #: The answer to the next write is lost; with ``cuts``, so are all further calls.
        self.loses_answer = self.cuts = False
        self.num_calls = 0
        #: Calls that have been held.
        self.num_held = 0

    @property
    def objects(self) -> S3Objects:
        return S3Objects(cast("AwsSession", self), VirtualClock())

    def client(self, _service: str) -> Line:
        return self

    def hold(self, only: str = "") -> None:
        """Calls take until :meth:`open`, as on a machine that sleeps: those whose key has ``only`` in it."""
        self._held = only
        self._passable.clear()

    def cut(self) -> None:
        """Calls fail until :meth:`open`."""
        self._is_cut = True

    def open(self) -> None:
        self._is_cut = False
        self._passable.set()

    # -- the client

    def put_object(self, **request: Any) -> dict[str, Any]:
        self._come("PutObject", request["Key"])
        key, body = request["Key"], request["Body"]
        with self._bucket.lock:
            known = self._bucket.contents.get(key)
            if "IfMatch" in request and known is None:
                raise _error("NoSuchKey", 404, "PutObject")
            is_other = known is not None and request.get("IfMatch", _etag(known[0])) != _etag(known[0])
            if is_other or ("IfNoneMatch" in request and known is not None):
                raise _error("PreconditionFailed", 412, "PutObject")
            self._bucket.contents[key] = (body, self._bucket.now())
        if self.loses_answer:
            self.loses_answer, self._is_cut = False, self.cuts
            raise EndpointConnectionError(endpoint_url="fake")
        return {"ETag": _etag(body)}

    def head_object(self, **request: Any) -> dict[str, Any]:
        self._come("HeadObject", request["Key"])
        return self._describe(request["Key"], "HeadObject")

    def get_object(self, **request: Any) -> dict[str, Any]:
        self._come("GetObject", request["Key"])
        answer = self._describe(request["Key"], "GetObject")
        return {**answer, "Body": _Body(self._bucket.contents[request["Key"]][0])}

    def get_paginator(self, _operation: str) -> Line:
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        self._come("ListObjectsV2", request["Prefix"])
        with self._bucket.lock:
            found = sorted(key for key in self._bucket.contents if key.startswith(request["Prefix"]))
        items = [{"Key": key, **self._describe(key, "ListObjectsV2")} for key in found]
        yield {"Contents": [{**item, "Size": item["ContentLength"]} for item in items]}

    def _describe(self, key: str, operation: str) -> dict[str, Any]:
        with self._bucket.lock:
            if key not in self._bucket.contents:
                raise _error("NoSuchKey", 404, operation)
            body, written = self._bucket.contents[key]
        date = format_datetime(self._bucket.now(), usegmt=True)
        return {
            "ETag": _etag(body),
            "ContentLength": len(body),
            "LastModified": written,
            "ResponseMetadata": {"HTTPHeaders": {"date": date}},
        }

    def _come(self, operation: str, key: str) -> None:
        number, self.num_calls = self.num_calls, self.num_calls + 1
        self.before(number)
        if self._held in key and not self._passable.is_set():
            self.num_held += 1
            if not self._passable.wait(60):
                raise AssertionError(f"{operation} of {key} was never let through")
        if self._is_cut:
            raise EndpointConnectionError(endpoint_url="fake")


class _Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _error(code: str, status: int, operation: str) -> ClientError:
    response = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(cast("Any", response), operation)
