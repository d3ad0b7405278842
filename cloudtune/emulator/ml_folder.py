"""The files of one attempt of a job: what the service puts below ``/opt/ml`` before the program starts."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cloudtune.emulator.keeper import remove_tree
from cloudtune.emulator.object_store import ObjectStore, StoreFailed, split_uri
from cloudtune.emulator.rules import DEFAULT_CHECKPOINTS, ML_ROOT
from cloudtune.emulator.service_error import JsonObject

_HOSTS = "127.0.0.1 localhost algo-1\n::1 localhost\n"
_MAX_FAILURE_BYTES = 8192


@dataclass(frozen=True)
class JobFolder:
    """Folder of one attempt. ``ml`` becomes its ``/opt/ml``."""

    root: Path

    @property
    def ml(self) -> Path:
        return self.root / "ml"

    @property
    def work(self) -> Path:
        """Where the program starts, and its home."""
        return self.root / "work"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def venv(self) -> Path:
        return self.root / "venv"

    @property
    def failure(self) -> Path:
        return self.ml / "output" / "failure"

    def local(self, path: str) -> Path:
        """The file that the program knows as ``path``, below ``/opt/ml``."""
        return self.ml / PurePosixPath(path).relative_to(ML_ROOT)

    def create(self) -> None:
        """Makes all folders, and removes what an earlier attempt left."""
        self.remove()
        for name in (
            "ml/input/config",
            "ml/input/data",
            "ml/model",
            "ml/output/data",
            "ml/code",
            "ml/checkpoints",
        ):
            (self.root / name).mkdir(parents=True)
        for folder in (self.work, self.tmp, self.root / "opt"):
            folder.mkdir()
        (self.root / "hosts").write_text(_HOSTS, encoding="ascii")

    def remove(self) -> None:
        remove_tree(self.root)

    def read_failure(self) -> str:
        """What the program wrote to ``/opt/ml/output/failure``; empty if nothing."""
        if not self.failure.is_file():  # reading a pipe would not end
            return ""
        try:
            with self.failure.open("rb") as file:
                return file.read(_MAX_FAILURE_BYTES).decode(errors="replace").strip()
        except OSError:
            return ""


def checkpoint_folder(folder: JobFolder, request: JsonObject) -> Path:
    return folder.local(request["CheckpointConfig"].get("LocalPath", DEFAULT_CHECKPOINTS).rstrip("/"))


def write_configuration(folder: JobFolder, request: JsonObject, hyperparameters: dict[str, str]) -> None:
    """Writes ``/opt/ml/input/config``."""
    resources = request["ResourceConfig"]
    instance_type = resources.get("InstanceType", "ml.m5.large")
    algorithm = request["AlgorithmSpecification"]
    channels = {}
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        channels[channel["ChannelName"]] = {
            "TrainingInputMode": channel.get("InputMode", algorithm["TrainingInputMode"]),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": ["algo-1"]}
    files = {
        "hyperparameters.json": hyperparameters,
        "inputdataconfig.json": channels,
        "resourceconfig.json": {
            "current_host": "algo-1",
            "current_instance_type": instance_type,
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [group],
            "network_interface_name": "eth0",
        },
    }
    for name, content in files.items():
        target = folder.ml / "input" / "config" / name
        target.write_text(json.dumps(content), encoding="utf-8")


def download_channels(folder: JobFolder, request: JsonObject, store: ObjectStore) -> None:
    """Copies each channel to ``/opt/ml/input/data/{channel}``. Raises StoreFailed."""
    for channel in request.get("InputDataConfig", []):
        target = folder.ml / "input" / "data" / channel["ChannelName"]
        target.mkdir()
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        if download_prefix(store, uri, target) == 0:
            raise StoreFailed(f'no S3 objects found under S3 URL "{uri}" given in input data source')


def download_prefix(store: ObjectStore, uri: str, target: Path) -> int:
    """Copies all objects below ``uri`` into ``target``; returns their number. Raises StoreFailed.

    An object ``prefix/a/b`` becomes ``a/b``; an object that is itself the prefix, or only begins with it,
    becomes its own last part.
    """
    bucket, prefix = split_uri(uri)
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    parent = prefix[: prefix.rfind("/") + 1]
    found = store.list(bucket, prefix)
    for item in found:
        relative = item.key[len(folder) :] if item.key.startswith(folder) else item.key[len(parent) :]
        path = safe_join(target, relative)
        try:
            if relative.endswith("/") or not relative:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.get(bucket, item.key))
        except OSError as error:
            raise StoreFailed(f"s3://{bucket}/{item.key} cannot become a file: {error.strerror}") from error
    return len(found)


def safe_join(folder: Path, relative: str) -> Path:
    """``folder / relative``; StoreFailed for a name that leaves it or no file can have."""
    parts = relative.split("/")
    if ".." in parts or "\0" in relative or relative.startswith("/"):
        raise StoreFailed(f"the object name {relative!r} is no safe file name")
    return folder.joinpath(*[part for part in parts if part])


def upload_results(folder: JobFolder, job_prefix: str, compressed: bool, store: ObjectStore) -> str | None:
    """Uploads ``/opt/ml/model`` and ``/opt/ml/output/data``; returns the URI of the model, None if it is empty."""
    model_uri = None
    for source, name in ((folder.ml / "model", "model"), (folder.ml / "output" / "data", "output")):
        if not source.is_dir() or not any(source.iterdir()):
            continue
        if compressed:
            uri = f"{job_prefix}/{name}.tar.gz"
            bucket, key = split_uri(uri)
            store.put(bucket, key, _archive(source, folder.root / f"{name}.tar.gz"))
        else:
            uri = f"{job_prefix}/{name}/"
            _upload_tree(source, uri, store)
        if name == "model":
            model_uri = uri
    return model_uri


def _archive(source: Path, target: Path) -> bytes:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for entry in sorted(source.iterdir()):
            archive.add(entry, arcname=entry.name)
    return target.read_bytes()


def _upload_tree(source: Path, uri: str, store: ObjectStore) -> None:
    bucket, prefix = split_uri(uri)
    for path in regular_files(source):
        store.put(bucket, prefix + path.relative_to(source).as_posix(), path.read_bytes())


def regular_files(folder: Path) -> list[Path]:
    """All files below ``folder``, sorted. Links are left out: a job's may point anywhere."""
    found = []
    for path, _, names in os.walk(folder):
        found += [file for name in names if not (file := Path(path) / name).is_symlink() and file.is_file()]
    return sorted(found)
