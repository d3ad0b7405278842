"""What the tests of the SDKs share: the account as its owner sees it, and a user's training script."""

from __future__ import annotations

import importlib
import io
import json
import os
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest

from cloudtune.emulator import SageMakerEmulator

T = TypeVar("T")
LOG_GROUP = "/aws/sagemaker/TrainingJobs"

#: Trains for some epochs, from its checkpoint on, and is deaf to nothing that reaches it.
SCRIPT = """
import argparse, json, os, signal, sys, time
from pathlib import Path

def ended(*_):
    print("the script got SIGTERM", flush=True)
    sys.exit(1)

signal.signal(signal.SIGTERM, ended)
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--label", default="")
parser.add_argument("--seconds", type=float, default=0.05)
parser.add_argument("--wait-after", type=int, help="the first attempt waits there for its interruption")
parser.add_argument("--checkpoints", default="/opt/ml/checkpoints")
args = parser.parse_args()
checkpoint = Path(args.checkpoints, "epoch.txt")
begin = int(checkpoint.read_text()) if checkpoint.is_file() else 0
print(f"begins after epoch {begin} with lr {args.lr!r} and label {args.label!r}", flush=True)
for epoch in range(begin + 1, args.epochs + 1):
    time.sleep(args.seconds)
    if checkpoint.parent.is_dir():
        part = checkpoint.with_suffix(".part")
        part.write_text(str(epoch))
        part.replace(checkpoint)
    print(f"epoch={epoch} loss={1 / epoch};", flush=True)
    while begin == 0 and epoch == args.wait_after:
        time.sleep(1)
if args.lr < 0:
    raise ValueError("a negative learning rate")
found = {"label": args.label, "hps": json.loads(os.environ["SM_HPS"]), "channels": {}}
for name in json.loads(os.environ["SM_CHANNELS"]):
    if name in ("code", "sm_drivers"):
        continue
    folder = Path(os.environ[f"SM_CHANNEL_{name.upper()}"])
    found["channels"][name] = {path.name: path.read_text() for path in folder.iterdir()}
try:
    import tiny_dependency
    found["dependency"] = tiny_dependency.VALUE
except ImportError:
    found["dependency"] = None
Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps(found))
"""


def eventually(probe: Callable[[], T], what: str, timeout_s: float = 90.0) -> T:
    """The first true result of ``probe``; fails after ``timeout_s``."""
    give_up = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < give_up, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)
    return found


def sdk_module(name: str, environment: str) -> Any:
    """That module of an SDK. Skips the test where it is missing, fails in the environment that is made for it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CLOUDTUNE_SDK") == environment:
            raise
        pytest.skip(f"{name} is not installed here")


def write_source(folder: Path, requirements: str | None = None) -> Path:
    """A user's source folder: the script, and requirements if there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(SCRIPT)
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
    return folder


def write_wheel(folder: Path) -> Path:
    """A package that no registry has."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_dependency-1.0-py3-none-any.whl"
    info = "tiny_dependency-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_dependency.py", "VALUE = 'installed for this job'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-dependency\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Account:
    """The account's owner, with boto3 alone."""

    def __init__(self, aws: SageMakerEmulator) -> None:
        self.aws = aws
        session = boto3.Session()  # the default one keeps the environment of its first use
        self.s3 = session.client("s3")
        self.sagemaker = session.client("sagemaker")
        self.logs = session.client("logs")

    def describe(self, job_name: str) -> dict[str, Any]:
        return dict(self.sagemaker.describe_training_job(TrainingJobName=job_name))

    def phases(self, job_name: str) -> list[str]:
        return [item["Status"] for item in self.describe(job_name)["SecondaryStatusTransitions"]]

    def ended(self, job_name: str) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            found = self.describe(job_name)
            return found if found["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return eventually(probe, f"{job_name} ends")

    def streams(self, job_name: str) -> list[str]:
        try:
            found = self.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job_name}/")
        except self.logs.exceptions.ResourceNotFoundException:
            return []  # no job of this account has printed yet
        return [stream["logStreamName"] for stream in found["logStreams"]]

    def printed(self, job_name: str) -> str:
        """All that the job has printed so far."""
        lines = []
        for stream in self.streams(job_name):
            page = self.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)
            lines += [event["message"] for event in page["events"]]
        return "\n".join(lines)

    def wait_printed(self, job_name: str, text: str) -> None:
        eventually(
            lambda: self.streams(job_name) and text in self.printed(job_name), f"{job_name} prints {text!r}"
        )

    def epoch_stored(self, uri: str) -> int:
        """What the script's checkpoint below ``uri`` says; 0 if there is none."""
        try:
            return int(self.get(f"{uri}/epoch.txt"))
        except self.s3.exceptions.NoSuchKey:
            return 0

    def get(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def model(self, uri: str) -> dict[str, Any]:
        """What the script wrote to the model's folder."""
        with tarfile.open(fileobj=io.BytesIO(self.get(uri))) as archive:
            file = archive.extractfile("model.json")
            assert file is not None
            return dict(json.load(file))
