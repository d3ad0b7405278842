"""What moto holds of S3 and CloudWatch Logs, as JSON documents and back. What persistence has to know of moto's
insides is here and in moto_roles.py; ``tests/emulator/test_emulator_state_moto.py`` holds it against moto.

Left out, and gone after a restart: multipart uploads in progress, access control lists, and of buckets CORS rules,
life cycles, logging, notifications.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from moto.logs.models import LogEvent, LogGroup, LogStream, logs_backends
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends
from moto.s3.utils import _VersionedKeyStore
from moto.utilities.utils import LowercaseDict

from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.settings import ACCOUNT_ID

_PLAIN_OF_BUCKET = (
    "versioning_status",
    "encryption",
    "ownership_rule",
    "payer",
    "accelerate_configuration",
    "object_lock_enabled",
    "default_lock_mode",
    "default_lock_days",
    "default_lock_years",
)
_BYTES_OF_BUCKET = ("policy", "website_configuration")
_PLAIN_OF_OBJECT = (
    "website_redirect_location",
    "checksum_algorithm",
    "checksum_type",
    "checksum_parts",
    "checksum_value",
    "encryption",
    "kms_key_id",
    "bucket_key_enabled",
    "lock_mode",
    "lock_legal_status",
    "lock_until",
    "_storage_class",
    "_is_versioned",
    "_etag",
)
Event = tuple[int, int, str]  # ingested, happened (both milliseconds), message
_LOADING = threading.Lock()


def s3() -> Any:
    """Moto's backend."""
    return s3_backends[ACCOUNT_ID]["aws"]


class Touched(threading.local):
    """What a thread has looked up in S3 since it began to note that. What it writes it looks up."""

    def __init__(self) -> None:
        self.buckets: set[str] | None = None  # None: this thread does not note
        self.keys: set[tuple[str, str]] | None = None


class NotedKeys(_VersionedKeyStore):
    """The objects of a bucket."""

    def __init__(self, bucket: str, touched: Touched) -> None:
        super().__init__()
        self._bucket = bucket
        self._touched = touched

    def _note(self, key: str) -> None:
        if self._touched.keys is not None:
            self._touched.keys.add((self._bucket, key))

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._note(key)
        super().__setitem__(key, value)

    def getlist(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().getlist(key, default)

    def setlist(self, key: str, list_: Any) -> None:
        self._note(key)
        super().setlist(key, list_)

    def pop(self, key: str) -> None:  # type: ignore[override] # as moto has it
        self._note(key)
        super().pop(key)


class NotedBuckets(dict[str, Any]):
    """The buckets.

    Args:
        touched: Where to note.
        buckets: Those that are there already.
    """

    def __init__(self, touched: Touched, buckets: dict[str, Any]) -> None:
        super().__init__()
        self._touched = touched
        for name, bucket in buckets.items():
            self[name] = bucket

    def _note(self, name: str) -> None:
        if self._touched.buckets is not None:
            self._touched.buckets.add(name)

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, bucket: Any) -> None:
        self._note(name)
        if not isinstance(bucket.keys, NotedKeys):
            keys = NotedKeys(name, self._touched)
            for key, versions in bucket.keys.lists():
                keys.setlist(key, versions)
            bucket.keys = keys
        super().__setitem__(name, bucket)

    def pop(self, name: str, *default: Any) -> Any:
        self._note(name)
        return super().pop(name, *default)


def _new(model: Any) -> Any:
    """Moto's models do not implement all that their bases declare as abstract."""
    return model


def versions_of(bucket: str, key: str) -> list[Any]:
    """All versions and delete markers of an object, the newest last; empty where there is none."""
    found = s3().buckets.get(bucket)
    return [] if found is None else list(found.keys.getlist(key, []))


def bucket_document(bucket: Any) -> JsonObject:
    found: JsonObject = {name: getattr(bucket, name) for name in _PLAIN_OF_BUCKET}
    for name in _BYTES_OF_BUCKET:
        value = getattr(bucket, name)
        found[name] = value.decode() if isinstance(value, bytes) else value
    return {
        "region": bucket.region_name,
        "created": bucket.creation_date.isoformat(),
        "tags": s3().tagger.get_tag_dict_for_resource(bucket.arn),
        **found,
    }


def restore_bucket(name: str, document: JsonObject) -> None:
    bucket = _new(FakeBucket)(name, ACCOUNT_ID, document["region"])
    bucket.creation_date = datetime.fromisoformat(document["created"])
    for attribute in _PLAIN_OF_BUCKET:
        setattr(bucket, attribute, document[attribute])
    for attribute in _BYTES_OF_BUCKET:
        value = document[attribute]
        setattr(bucket, attribute, None if value is None else value.encode())
    _tag(s3().tagger, bucket.arn, document["tags"])
    s3().buckets[name] = bucket


def version_document(version: Any) -> JsonObject:
    """Of a version or a delete marker; without its content."""
    found: JsonObject = {"modified": version.last_modified.isoformat(), "marker": not isinstance(version, FakeKey)}
    if found["marker"]:
        return found
    version.etag  # noqa: B018 - computes it
    found |= {name: getattr(version, name) for name in _PLAIN_OF_OBJECT}
    found["size"] = version.contentsize
    found["metadata"] = dict(version.metadata)
    found["expires"] = None if version._expiry is None else version._expiry.isoformat()
    tags = s3().tagger.get_tag_dict_for_resource(version.arn)
    return {**found, "tags": tags} if tags else found


def restore_version(bucket: str, key: str, version_id: str, document: JsonObject, content: Any) -> None:
    """As the newest one.

    Args:
        content: A file; None for a delete marker.
    """
    keys = s3().buckets[bucket].keys
    versions = keys.getlist(key, [])
    if document["marker"]:
        made = FakeDeleteMarker(versions[-1] if versions else _key(bucket, key, version_id))
        made._version_id = version_id
    else:
        made = _key(bucket, key, version_id)
        for name in _PLAIN_OF_OBJECT:
            setattr(made, name, document[name])
        made._metadata = LowercaseDict(document["metadata"])
        made._expiry = None if document["expires"] is None else datetime.fromisoformat(document["expires"])
        replace_content(made, content, document["size"])
        _tag(s3().tagger, made.arn, document.get("tags", {}))
    made.last_modified = datetime.fromisoformat(document["modified"])
    keys.setlist(key, [*versions, made])


def new_version(bucket: Any, key: str, content: Any, size: int, etag: str) -> None:
    """Stores an object whose content is a file; moto itself takes content only as bytes."""
    versioned = bucket.is_versioned
    version_id = str(uuid.uuid4()) if versioned else "null"
    made = FakeKey(
        name=key,
        value=b"",
        account_id=bucket.account_id,
        region_name=s3_backends[bucket.account_id]["aws"].region_name,
        etag=etag,
        is_versioned=versioned,
        version_id=version_id,
        bucket_name=bucket.name,
    )
    replace_content(made, content, size)
    bucket.keys.setlist(key, [*(bucket.keys.getlist(key, []) if versioned else []), made])


def content_of(version: Any) -> Any:
    """The file that holds the content; closed once the version has been replaced."""
    return version._value_buffer


def replace_content(version: Any, content: Any, size: int) -> None:
    """``content`` is a file that holds what the version's content is."""
    with version.lock:
        old, version._value_buffer = version._value_buffer, content
        version.contentsize = size
    old.close()


def _key(bucket: str, key: str, version_id: str) -> Any:
    return FakeKey(key, b"", ACCOUNT_ID, "aws", version_id=version_id, max_buffer_size=1, bucket_name=bucket)


def _tag(tagger: Any, arn: str, tags: dict[str, str]) -> None:
    if tags:
        tagger.tag_resource(arn, [{"Key": name, "Value": value} for name, value in tags.items()])


class KeptStream(LogStream):
    """A log stream whose events are read when somebody asks for them."""

    _load: Callable[[], list[Event]] | None = None
    _events: list[Any]

    @property
    def events(self) -> list[Any]:
        if self._load is not None:
            with _LOADING:
                self._read()
        return self._events

    @events.setter
    def events(self, events: list[Any]) -> None:
        self._events = events

    def _read(self) -> None:
        if self._load is None:
            return
        self._events = [_event(*item) for item in self._load()]
        self.stored_bytes = sum(len(event.message) for event in self._events)
        if self._events:
            self.upload_sequence_token = 1
            newest_ms = max(event.ingestion_time for event in self._events)
            self.last_ingestion_time = datetime.fromtimestamp(newest_ms / 1000, timezone.utc).replace(tzinfo=None)
        self._load = None  # from now on nobody waits

    @property
    def is_loaded(self) -> bool:
        return self._load is None


def _event(ingestion_ms: int, timestamp_ms: int, message: str) -> Any:
    return LogEvent(ingestion_ms, {"timestamp": timestamp_ms, "message": message})


def logs(region: str) -> Any:
    """Moto's backend."""
    return logs_backends[ACCOUNT_ID][region]


def group_document(region: str, group: Any) -> JsonObject:
    return {
        "created": group.creation_time.isoformat(),
        "retention": group.retention_in_days,
        "tags": logs(region).tagger.get_tag_dict_for_resource(group.arn),
    }


def restore_group(region: str, name: str, document: JsonObject) -> None:
    group = _new(LogGroup)(ACCOUNT_ID, region, name)
    group.creation_time = datetime.fromisoformat(document["created"])
    group.retention_in_days = document["retention"]
    _tag(logs(region).tagger, group.arn, document["tags"])
    logs(region).groups[name] = group


def stream_created(stream: Any) -> str:
    return str(stream.creation_time.isoformat())


def restore_stream(region: str, group: str, name: str, created: str, load: Callable[[], list[Event]]) -> None:
    owner = logs(region).groups[group]
    stream = KeptStream(owner, name)
    stream.creation_time = datetime.fromisoformat(created)
    stream._load = load
    owner.streams[name] = stream


def is_unread(stream: Any) -> bool:
    """Whether its events are still in its file alone."""
    return isinstance(stream, KeptStream) and not stream.is_loaded


def events_from(stream: Any, number: int) -> list[Event]:
    """Those after the first ``number``."""
    return [(event.ingestion_time, event.timestamp, event.message) for event in stream.events[number:]]
