"""Input data: from S3 to ``/opt/ml/input/data``.

A FastFile channel, in the service a read-only file system that fetches what is read, is a read-only copy here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudtune.emulator.control.rules import ML_ROOT
from cloudtune.emulator.machine.hosts import Host
from cloudtune.emulator.machine.job_files import make_folder
from cloudtune.emulator.machine.ml_folder import JobFolder
from cloudtune.emulator.object_store import ObjectStore, StoreFailed, split_uri
from cloudtune.emulator.service_error import JsonObject, ServiceError

_MAX_MANIFEST_BYTES = 64 << 20
#: Called between two pieces of a copy; what it raises ends the copy.
Between = Callable[[], None]


def go_on() -> None:
    """Nothing ends the copy."""


@dataclass(frozen=True)
class Part:
    """An object of a channel, and the file that it becomes, relative to the channel's folder."""

    bucket: str
    key: str
    path: str


@dataclass(frozen=True)
class Channel:
    """One channel as one host sees it.

    Args:
        name: Its folder.
        mode: ``File``, ``FastFile`` or ``Pipe``.
        parts: All of its objects.
        shard: Position of the host among those that share the objects, and their number; (0, 1): it sees all.
        seed: Of the order of the objects; None: as they are.
        is_gzip: Whether a pipe delivers them unpacked.
    """

    name: str
    mode: str
    parts: Sequence[Part]
    shard: tuple[int, int]
    seed: int | None
    is_gzip: bool

    def share(self, epoch: int = 0) -> list[Part]:
        """What the host sees in that pass over the data."""
        parts = list(self.parts)
        if self.seed is not None:
            random.Random(f"{self.seed}:{epoch}").shuffle(parts)
        position, count = self.shard
        return parts[position::count]


def channels_of(request: JsonObject, hosts: Sequence[Host], host: Host, store: ObjectStore) -> list[Channel]:
    """The channels of a job on one of its hosts. Raises StoreFailed where one has no data."""
    found = []
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        groups = source.get("InstanceGroupNames")
        readers = [reader for reader in hosts if not groups or reader.group in groups]
        if host not in readers:
            continue
        parts = channel_parts(store, source)
        if not parts:
            raise StoreFailed(f'no S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source')
        is_sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
        found.append(
            Channel(
                name=channel["ChannelName"],
                mode=channel.get("InputMode", request["AlgorithmSpecification"]["TrainingInputMode"]),
                parts=parts,
                shard=(readers.index(host), len(readers)) if is_sharded else (0, 1),
                seed=channel.get("ShuffleConfig", {}).get("Seed"),
                is_gzip=channel.get("CompressionType", "None") == "Gzip",
            )
        )
    return found


def download_channels(
    folder: JobFolder, channels: Sequence[Channel], store: ObjectStore, between: Between = go_on
) -> None:
    """Copies each channel that is not a pipe to ``/opt/ml/input/data/{channel}``. Raises StoreFailed."""
    files = [channel for channel in channels if channel.mode != "Pipe"]
    for channel in files:
        target = folder.data / channel.name
        target.mkdir()
        download(store, channel.share(), target, between)
    folder.protect([f"{ML_ROOT}/input/data/{channel.name}" for channel in files if channel.mode == "FastFile"])


def channel_parts(store: ObjectStore, source: JsonObject) -> list[Part]:
    """The objects of an S3DataSource, in its order. Raises StoreFailed for a manifest that is none."""
    if source["S3DataType"] == "ManifestFile":
        return _manifest_parts(store, source["S3Uri"])
    return prefix_parts(store, source["S3Uri"])


def prefix_parts(store: ObjectStore, uri: str) -> list[Part]:
    """All objects below ``uri``, by key.

    An object ``prefix/a/b`` becomes ``a/b``; an object that is itself the prefix, or only begins with it,
    becomes its own last part.
    """
    bucket, prefix = split_uri(uri)
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    parent = prefix[: prefix.rfind("/") + 1]
    return [
        Part(bucket, key, key[len(folder) :] if key.startswith(folder) else key[len(parent) :])
        for key in (item.key for item in store.list(bucket, prefix))
    ]


def _manifest_parts(store: ObjectStore, uri: str) -> list[Part]:
    """``[{"prefix": "s3://bucket/path/"}, "relative/a", ...]``; without relative names, all below the prefix."""
    bucket, key = split_uri(uri)
    content = b""
    for chunk in store.chunks(bucket, key):
        content += chunk
        if len(content) > _MAX_MANIFEST_BYTES:
            raise StoreFailed(f"the manifest {uri} is larger than {_MAX_MANIFEST_BYTES >> 20} MiB")
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StoreFailed(f"the manifest {uri} is no JSON: {error}") from error
    head = manifest[0] if isinstance(manifest, list) and manifest else None
    prefix = head.get("prefix") if isinstance(head, dict) else None
    if not isinstance(prefix, str) or not all(isinstance(name, str) for name in manifest[1:]):
        raise StoreFailed(
            f'the manifest {uri} is not of the form [{{"prefix": "s3://bucket/path/"}}, "relative/name", ...]'
        )
    try:
        data_bucket, start = split_uri(prefix)
    except ServiceError as error:
        raise StoreFailed(f"the manifest {uri} names a prefix that is no S3 URI: {prefix}") from error
    return [Part(data_bucket, start + name, name) for name in manifest[1:]] or prefix_parts(store, prefix)


def download(store: ObjectStore, parts: Sequence[Part], target: Path, between: Between = go_on) -> None:
    """Copies ``parts`` into the folder ``target``. Raises StoreFailed."""
    for part in parts:
        between()
        path = safe_join(target, part.path)
        try:
            if part.path.endswith("/") or not part.path:
                make_folder(path)
                continue
            make_folder(path.parent)
            with path.open("wb") as file:
                for chunk in store.chunks(part.bucket, part.key):
                    file.write(chunk)
                    between()
        except OSError as error:
            raise StoreFailed(f"s3://{part.bucket}/{part.key} cannot become a file: {error.strerror}") from error


def safe_join(folder: Path, relative: str) -> Path:
    """``folder / relative``; StoreFailed for a name that leaves it or no file can have."""
    parts = relative.split("/")
    if ".." in parts or "\0" in relative or relative.startswith("/"):
        raise StoreFailed(f"the object name {relative!r} is no safe file name")
    return folder.joinpath(*[part for part in parts if part])
