"""The files of one attempt of a job: what the service puts below ``/opt/ml`` before the program starts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cloudtune.emulator.control.rules import DEFAULT_CHECKPOINTS, ML_ROOT
from cloudtune.emulator.machine.job_files import is_own, open_file
from cloudtune.emulator.machine.keeper import remove_tree
from cloudtune.emulator.service_error import JsonObject

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
    def data(self) -> Path:
        return self.ml / "input" / "data"

    @property
    def failure(self) -> Path:
        return self.ml / "output" / "failure"

    def local(self, path: str) -> Path:
        """The file that the program knows as ``path``, below ``/opt/ml``."""
        return self.ml / PurePosixPath(path).relative_to(ML_ROOT)

    def create(self, host: str = "localhost", hosts: str = "127.0.0.1 localhost\n") -> None:
        """Makes all folders, and removes what an earlier attempt left.

        Args:
            host: Its name.
            hosts: Its ``/etc/hosts``.
        """
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
        (self.root / "hosts").write_text(hosts, encoding="ascii")
        (self.root / "hostname").write_text(f"{host}\n", encoding="ascii")
        self.protect([])

    def protect(self, folders: Sequence[str]) -> None:
        """Makes ``folders``, as the program knows them, read-only for it, where it runs in namespaces."""
        (self.root / "readonly").write_text("".join(f"{folder}\n" for folder in folders), encoding="ascii")

    def remove(self) -> None:
        remove_tree(self.root)

    def read_failure(self) -> str:
        """What the program wrote to ``/opt/ml/output/failure``; empty if nothing."""
        if not is_own(self.failure, self.ml):
            return ""
        try:
            with os.fdopen(open_file(self.failure), "rb") as file:
                return file.read(_MAX_FAILURE_BYTES).decode(errors="replace").strip()
        except OSError:
            return ""


def checkpoint_folder(folder: JobFolder, request: JsonObject) -> Path:
    return folder.local(request["CheckpointConfig"].get("LocalPath", DEFAULT_CHECKPOINTS).rstrip("/"))


def write_configuration(
    folder: JobFolder, request: JsonObject, hyperparameters: dict[str, str], resources: JsonObject
) -> None:
    """Writes ``/opt/ml/input/config``; ``resources`` is ``resourceconfig.json``."""
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
    files = {
        "hyperparameters.json": hyperparameters,
        "inputdataconfig.json": channels,
        "resourceconfig.json": resources,
    }
    for name, content in files.items():
        target = folder.ml / "input" / "config" / name
        target.write_text(json.dumps(content), encoding="utf-8")
