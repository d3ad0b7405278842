"""Emulators in processes of their own, and what Linux knows of processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 600
BUCKET = "benchmark"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Emulator:
    """A running one.

    Args:
        url: Where it serves.
        pid: Its process.
        ready_s: Seconds from the command to the line that says that it serves.
    """

    url: str
    pid: int
    ready_s: float

    def client(self, service: str) -> Any:
        """A boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"max_attempts": 0}),
        )


@contextlib.contextmanager
def emulator(*options: str) -> Iterator[Emulator]:
    """``python -m cloudtune.emulator`` with ``options``; ended afterwards."""
    command = [sys.executable, "-m", "cloudtune.emulator", *options]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        line = next((line for line in process.stdout or () if "AWS_ENDPOINT_URL=" in line), None)
        if line is None:
            raise SystemExit(f"{' '.join(command)} does not start.")
        yield Emulator(line.partition("=")[2].strip(), process.pid, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(timeout=TIMEOUT_S)


def job_request(name: str, role_arn: str, *command: str) -> dict[str, Any]:
    """A CreateTrainingJob request that runs ``command``, without inputs."""
    return {
        "TrainingJobName": name,
        "RoleArn": role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(command),
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def descendants(pid: int) -> list[int]:
    """All processes that ``pid`` has started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text(encoding="ascii").split():
                found += [int(child), *descendants(int(child))]
    return found


def command_of(pid: int) -> str:
    """Name of the program; empty where the process has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """Of the process, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_mib(pid: int, kind: str) -> float:
    """``Rss``, or ``Pss``: what several processes share is divided among them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/{pid}/smaps_rollup has no {kind}.")


def num_threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
