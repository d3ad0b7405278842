"""What the tests of foreign clients share: jobs in a few words, and patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
from botocore.config import Config

T = TypeVar("T")
BUCKET = "rehearsals"


def eventually(probe: Callable[[], T], what: str, timeout_s: float = 120.0) -> T:
    """The first true result of ``probe``; fails after ``timeout_s``."""
    give_up = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < give_up, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)
    return found


def job_request(name: str, command: str, **changes: Any) -> dict[str, Any]:
    """A CreateTrainingJob request that runs ``command`` in a shell."""
    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/service-role/AnyRole",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["sh", "-c", command],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **changes,
    }


class Account:
    """boto3's clients with that environment's keys and address."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.s3 = self.client("s3")
        self.sagemaker = self.client("sagemaker")
        self.logs = self.client("logs")
        self.s3.create_bucket(Bucket=BUCKET)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self._environment["AWS_ENDPOINT_URL"],
            region_name=self._environment["AWS_REGION"],
            aws_access_key_id=self._environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(read_timeout=30),
        )

    def submit(self, name: str, command: str, **changes: Any) -> str:
        self.sagemaker.create_training_job(**job_request(name, command, **changes))
        return name

    def status(self, name: str) -> str:
        return str(self.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])

    def reached(self, name: str, phase: str) -> None:
        def probe() -> bool:
            found = self.sagemaker.describe_training_job(TrainingJobName=name)
            return phase in [item["Status"] for item in found["SecondaryStatusTransitions"]]

        eventually(probe, f"{name} reaches {phase}")

    def printed(self, name: str) -> list[str]:
        """What the job has printed so far, up to a page of each stream."""
        group = "/aws/sagemaker/TrainingJobs"
        try:
            found = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
        except self.logs.exceptions.ResourceNotFoundException:
            return []  # no job has printed yet
        streams = [stream["logStreamName"] for stream in found["logStreams"]]
        pages = [
            self.logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
            for stream in streams
        ]
        return [event["message"] for page in pages for event in page["events"]]
