"""What the tests of the emulator share: a user's clients, and jobs in a few words."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

T = TypeVar("T")
BUCKET = "rehearsals"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
TERMINAL = ("Completed", "Failed", "Stopped")


def eventually(probe: Callable[[], T], what: str = "", timeout_s: float = 120.0) -> T:
    """The first true result of ``probe``; fails after ``timeout_s``."""
    give_up = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout_s} s: {what or probe}")
        time.sleep(0.02)


class Rig:
    """A user of the emulator at ``endpoint_url``."""

    def __init__(self, endpoint_url: str, role_arn: str) -> None:
        self.endpoint_url = endpoint_url
        self.role_arn = role_arn
        self.s3 = self.client("s3")
        self.sagemaker = self.client("sagemaker")
        self.logs = self.client("logs")
        try:
            self.s3.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"max_attempts": 0}, read_timeout=30),
        )

    def request(self, name: str, code: str = "", *, spot: bool = False, **changes: Any) -> dict[str, Any]:
        """A CreateTrainingJob request that runs ``code`` with Python; members in ``changes`` replace or,
        as None, remove others. ``ROOT`` in ``code`` is where ``/opt/ml`` is."""
        prologue = "import os, sys, json, time, signal\nROOT = os.environ.get('CLOUDTUNE_ML_ROOT', '/opt/ml')\n"
        self.put(f"code/{name}/train.py", prologue + textwrap.dedent(code))
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": self.role_arn,
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/train.py"],
            },
            "InputDataConfig": [channel("code", f"s3://{BUCKET}/code/{name}/")],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
            "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints/{name}"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        }
        if spot:
            request["EnableManagedSpotTraining"] = True
            request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 1200
        request |= changes
        return {key: value for key, value in request.items() if value is not None}

    def submit(self, name: str, code: str, **options: Any) -> str:
        self.sagemaker.create_training_job(**self.request(name, code, **options))
        return name

    def run(self, name: str, code: str, **options: Any) -> dict[str, Any]:
        """Submits and waits; the final description."""
        return self.ended(self.submit(name, code, **options))

    def describe(self, name: str) -> dict[str, Any]:
        return dict(self.sagemaker.describe_training_job(TrainingJobName=name))

    def phases(self, name: str) -> list[str]:
        return [item["Status"] for item in self.describe(name)["SecondaryStatusTransitions"]]

    def ended(self, name: str, timeout_s: float = 120.0) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            found = self.describe(name)
            return found if found["TrainingJobStatus"] in TERMINAL else None

        return eventually(probe, f"{name} ends", timeout_s)

    def reached(self, name: str, phase: str, times: int = 1) -> None:
        eventually(lambda: self.phases(name).count(phase) >= times, f"{name} is {phase}")

    def put(self, key: str, body: str | bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body if isinstance(body, bytes) else body.encode())

    def tell(self, name: str) -> None:
        """Lets jobs go on beyond :func:`until_told`."""
        self.put(f"told/{name}", "")

    def get(self, key: str) -> bytes | None:
        """Content of an object, None if there is none."""
        try:
            return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])]

    def printed(self, key: str) -> str:
        """Waits for an object and returns its text."""
        return (eventually(lambda: self.get(key), key) or b"").decode()

    def streams(self, name: str) -> list[str]:
        found = self.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")
        return sorted(item["logStreamName"] for item in found["logStreams"])

    def log(self, stream: str) -> list[str]:
        """All lines of a stream, paged as the service wants it."""
        lines: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self.logs.get_log_events(
                logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True, **token
            )
            lines += [event["message"] for event in page["events"]]
            if token.get("nextToken") == page["nextForwardToken"]:
                return lines
            token = {"nextToken": page["nextForwardToken"]}

    def all_logs(self, name: str) -> list[str]:
        return [line for stream in self.streams(name) for line in self.log(stream)]


def until_told(name: str) -> str:
    """Code of a job that goes on when there is an object ``told/{name}``: see :meth:`Rig.tell`."""
    return f"""
import boto3, botocore
s3 = boto3.client('s3')
while True:
    try:
        s3.head_object(Bucket={BUCKET!r}, Key='told/{name}')
        break
    except botocore.exceptions.ClientError:
        time.sleep(0.05)
"""


def channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def error_of(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    """Code and message of the error that ``call`` must raise."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError("the call was accepted")
