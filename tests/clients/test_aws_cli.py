"""The AWS CLI, version 1, unmodified. (It has no ``logs tail``: see test_aws_cli_v2.)"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_rig import BUCKET, Account, eventually, job_request

from cloudtune.emulator import SageMakerEmulator

pytestmark = pytest.mark.skipif(importlib.util.find_spec("awscli") is None, reason="the package awscli is missing")
GROUP = "/aws/sagemaker/TrainingJobs"


class Cli:
    """A person's shell."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "awscli", *arguments],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def text(self, *arguments: str) -> str:
        """What it prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "--output", "json"))

    def refused(self, *arguments: str) -> str:
        """What it complains of; it must fail."""
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def cli(aws: SageMakerEmulator, clean_environment: dict[str, str], tmp_path: Path) -> Cli:
    return Cli({**clean_environment, **aws.environment(), "HOME": str(tmp_path)}, tmp_path)


def test_life_of_a_job(cli: Cli, account: Account, tmp_path: Path) -> None:
    request = job_request("cli-first", "echo first; echo second; sleep 0.3")
    (tmp_path / "request.json").write_text(json.dumps(request))
    arn = cli.json("sagemaker", "create-training-job", "--cli-input-json", "file://request.json")["TrainingJobArn"]
    assert arn.endswith(":training-job/cli-first")
    eventually(
        lambda: account.status("cli-first") == "Completed", "the job ends"
    )  # the CLI asks every two minutes
    cli.text("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "cli-first")
    described = cli.json("sagemaker", "describe-training-job", "--training-job-name", "cli-first")
    assert described["TrainingJobArn"] == arn
    assert [item["Status"] for item in described["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    stream = cli.text(
        "logs", "describe-log-streams", "--log-group-name", GROUP, "--log-stream-name-prefix", "cli-first/",
        "--query", "logStreams[].logStreamName", "--output", "text",
    ).strip()  # fmt: skip
    assert stream.startswith("cli-first/algo-1-")
    events = cli.json("logs", "get-log-events", "--log-group-name", GROUP, "--log-stream-name", stream)["events"]
    assert [event["message"] for event in events] == ["first", "second"]


def test_stop_and_search(cli: Cli, account: Account) -> None:
    account.submit("cli-endless", "exec sleep 600", Tags=[{"Key": "owner", "Value": "me too"}])
    account.reached("cli-endless", "Training")
    assert cli.text("sagemaker", "stop-training-job", "--training-job-name", "cli-endless") == ""
    eventually(lambda: account.status("cli-endless") == "Stopped", "the job is stopped")
    cli.text("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "cli-endless")
    expression = {
        "Filters": [
            {"Name": "Tags.owner", "Operator": "Equals", "Value": "me too"},
            {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "Stopped"},
        ]
    }
    found = cli.json(
        "sagemaker", "search", "--resource", "TrainingJob", "--search-expression", json.dumps(expression)
    )["Results"]
    assert [result["TrainingJob"]["TrainingJobName"] for result in found] == ["cli-endless"]
    refusal = cli.refused("sagemaker", "stop-training-job", "--training-job-name", "cli-endless")
    assert "ValidationException" in refusal and "is in status Stopped" in refusal


def test_list_with_filters_and_pages(cli: Cli, account: Account) -> None:
    for number in range(12):
        account.submit(f"cli-list-{number:02}", "exit 1" if number == 5 else "true")
    for number in range(12):
        eventually(
            lambda name=f"cli-list-{number:02}": account.status(name) in ("Completed", "Failed"), "all jobs end"
        )
    listing = ("sagemaker", "list-training-jobs", "--name-contains", "cli-list-")
    names = "TrainingJobSummaries[].TrainingJobName"
    everything = cli.json(*listing, "--query", names)  # the CLI turns the pages of ten
    assert sorted(everything) == [f"cli-list-{number:02}" for number in range(12)]
    assert cli.json(*listing, "--status-equals", "Failed", "--query", names) == ["cli-list-05"]
    ordered = ("--sort-by", "Name", "--sort-order", "Descending", "--max-items", "2")
    first = cli.json(*listing, *ordered)
    assert [job["TrainingJobName"] for job in first["TrainingJobSummaries"]] == ["cli-list-11", "cli-list-10"]
    second = cli.json(*listing, *ordered, "--starting-token", first["NextToken"])
    assert [job["TrainingJobName"] for job in second["TrainingJobSummaries"]] == ["cli-list-09", "cli-list-08"]
    assert cli.json(*listing, "--creation-time-after", "2100-01-01", "--query", names) == []


def test_failures_are_exit_codes(cli: Cli, account: Account) -> None:
    account.submit("cli-fails", "echo not today > /opt/ml/output/failure; exit 7")
    eventually(lambda: account.status("cli-fails") == "Failed", "the job fails")
    waiting = ("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name")
    assert "terminal failure state" in cli.refused(*waiting, "cli-fails")
    assert "ValidationException" in cli.refused(*waiting, "cli-never-created")
    reason = cli.text(
        "sagemaker", "describe-training-job", "--training-job-name", "cli-fails",
        "--query", "FailureReason", "--output", "text",
    )  # fmt: skip
    assert reason.strip() == "AlgorithmError: not today, exit code: 7"
    bad = json.dumps(job_request("bad_name", "true"))
    assert "failed to satisfy constraint" in cli.refused(
        "sagemaker", "create-training-job", "--cli-input-json", bad
    )


def test_s3(cli: Cli, account: Account, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b+ü.txt").write_text("one")
    (folder / "sub" / "empty").touch()
    big = bytes(range(256)) * (10 << 12)  # 10 MiB: sent in parts
    (folder / "big").write_bytes(big)
    for path in (folder / "a b+ü.txt", folder / "sub" / "empty", folder / "big"):
        os.utime(path, (1e9, 1e9))  # S3 tells whole seconds: what is younger than its copy is sent again
    url = f"s3://{BUCKET}/cli"
    assert cli.text("s3", "sync", "data", f"{url}/data").count("upload:") == 3
    assert cli.text("s3", "sync", "data", f"{url}/data") == ""
    assert account.s3.get_object(Bucket=BUCKET, Key="cli/data/a b+ü.txt")["Body"].read() == b"one"
    (folder / "sub" / "empty").unlink()
    assert "delete:" in cli.text("s3", "sync", "--delete", "data", f"{url}/data")
    cli.text("s3", "cp", "--quiet", f"{url}/data/big", "copy")
    assert (tmp_path / "copy").read_bytes() == big
    cli.text("s3", "cp", "--quiet", "--recursive", f"{url}/data", "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["a b+ü.txt", "big"]
    assert "a b+ü.txt" in cli.text("s3", "ls", f"{url}/data/")
    assert "404" in cli.refused("s3", "cp", f"{url}/nothing", "nothing")
