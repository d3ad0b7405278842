"""The insides of moto that are known here. A failure: moto has changed; see moto_state.py and moto_roles.py."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from moto.iam.models import IAMBackend
from moto.logs.models import LogsBackend
from moto.s3.models import S3Backend

from cloudtune.emulator.state import moto_roles, moto_state

DOCUMENT = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
TRUST = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"}]}'
)
ACCOUNT = "444444444444"


def bucket() -> Any:
    return S3Backend("aws", ACCOUNT).create_bucket(f"moto-{uuid.uuid4()}", "us-east-1")


def version() -> Any:
    backend = S3Backend("aws", ACCOUNT)
    name = backend.create_bucket(f"moto-{uuid.uuid4()}", "us-east-1").name
    return backend.put_object(name, "key", b"content")


def group() -> Any:
    backend = LogsBackend("us-east-1", ACCOUNT)
    backend.create_log_group("group", {})
    return backend.groups["group"]


def stream() -> Any:
    found = group()
    found.create_log_stream("stream")
    return found.streams["stream"]


def role() -> Any:
    return IAMBackend("aws", ACCOUNT).create_role("role", TRUST, "/", None, "", [], "3600")


def policy() -> Any:
    return IAMBackend("aws", ACCOUNT).create_policy("", "/", DOCUMENT, "policy", [])


#: By model: what is kept beside what moto_state lists, and what is knowingly left out.
INSIDES = {
    bucket: (
        {
            *moto_state._PLAIN_OF_BUCKET,
            *moto_state._BYTES_OF_BUCKET,
            "name",
            "region_name",
            "creation_date",
            "keys",
        },
        {"account_id", "bucket_namespace", "partition", "multiparts", "rules", "acl", "cors", "logging"}
        | {"notification_configuration", "public_access_block", "inventory_configs"},
    ),
    version: (
        {
            *moto_state._PLAIN_OF_OBJECT,
            "name",
            "bucket_name",
            "last_modified",
            "_metadata",
            "_expiry",
            "_version_id",
        }
        | {"_value_buffer", "contentsize"},
        {"account_id", "region_name", "partition", "acl", "multipart", "disposed", "lock", "_max_buffer_size"}
        | {"model_name", "_transitions", "_status", "_tick", "_time_progressed"},
    ),
    group: (
        {"name", "region", "creation_time", "retention_in_days", "streams"},
        {"account_id", "arn", "subscription_filters", "kms_key_id"},
    ),
    stream: (
        {"log_group", "log_stream_name", "creation_time", "events"},
        {"account_id", "region", "arn", "first_event_timestamp", "last_event_timestamp"}
        | {"last_ingestion_time", "stored_bytes", "upload_sequence_token"},  # computed
    ),
    role: (
        {*moto_roles._PLAIN_OF_ROLE, "id", "name", "create_date", "managed_policies"},
        {"account_id", "partition", "last_used", "last_used_region"},
    ),
    policy: (
        {
            "name",
            "path",
            "description",
            "tags",
            "versions",
            "create_date",
            "default_version_id",
            "next_version_num",
        },
        {"account_id", "attachment_count", "id", "partition", "update_date"},
    ),
}


@pytest.mark.parametrize("make", INSIDES)
def test_every_attribute_is_kept_or_knowingly_left_out(make: Any) -> None:
    kept, left_out = INSIDES[make]
    found = set(vars(make()))
    assert found - kept - left_out == set(), "new in moto: keep it, or leave it out here"
    assert (kept | left_out) - found == set(), "no longer in moto"


def test_all_ways_into_the_objects_of_a_bucket_are_noted() -> None:
    """Whatever writes to moto's key store comes through a method that notes the key."""
    ways = {
        "pop": lambda keys: keys.pop("a"),
        "setlist": lambda keys: keys.setlist("a", []),
        "getlist": lambda keys: keys.getlist("a"),
        "get": lambda keys: keys.get("a"),
        "__getitem__": lambda keys: keys["a"],
        "__setitem__": lambda keys: keys.__setitem__("a", version()),
    }
    for name, way in ways.items():
        touched = moto_state.Touched()
        keys = moto_state.NotedKeys("bucket", touched)
        keys["a"] = version()
        touched.keys = set()
        way(keys)
        assert touched.keys == {("bucket", "a")}, name
    base = moto_state.NotedKeys.__mro__[1]
    defined = {name for name, value in vars(base).items() if callable(value)}
    readers = {"__sgetitem__", "_iteritems", "_itervalues", "_iterlists", "item_size", "_self_iterable"}
    aliases = {"items", "iteritems", "lists", "iterlists", "values", "itervalues"}
    assert defined == {*ways, *readers, *aliases}, "moto's key store has other methods"
