"""Version 2 of the AWS CLI, where one is installed (it is not on PyPI): what version 1 lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from client_rig import Account, eventually

from cloudtune.emulator import SageMakerEmulator

GROUP = "/aws/sagemaker/TrainingJobs"


def version_2() -> str | None:
    """Path of the first AWS CLI 2 on PATH."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        program = shutil.which("aws", path=folder)
        if program is None:
            continue
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
        if told.stdout.startswith("aws-cli/2."):
            return program
    return None


@pytest.fixture(scope="module")
def program() -> str:
    found = version_2()
    if found is None:
        pytest.skip("no AWS CLI 2 is installed")
    return found


@pytest.fixture
def environment(aws: SageMakerEmulator, clean_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Without the endpoint, which is news to releases before 2.13: the proxy leads to the emulator."""
    found = {**clean_environment, **aws.environment(proxy=True), "HOME": str(tmp_path)}
    del found["AWS_ENDPOINT_URL"]
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        found.pop(name, None)
    return found


def run(program: str, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_logs_tail(program: str, environment: dict[str, str], account: Account) -> None:
    account.submit("cli2-tail", "echo one; echo two; sleep 0.2; echo three")
    eventually(lambda: account.status("cli2-tail") == "Completed", "the job ends")
    printed = run(program, environment, "logs", "tail", GROUP, "--log-stream-name-prefix", "cli2-tail/")
    lines = printed.splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two", "three"]
    assert all(" cli2-tail/algo-1-" in line for line in lines)


def test_logs_tail_follows(program: str, environment: dict[str, str], account: Account) -> None:
    account.submit("cli2-follow", "for i in $(seq 300); do echo line $i; sleep 0.1; done")
    account.reached("cli2-follow", "Training")
    eventually(lambda: account.printed("cli2-follow"), "the job prints")
    command = [program, "logs", "tail", GROUP, "--follow", "--log-stream-name-prefix", "cli2-follow/"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as tail:
        try:
            assert tail.stdout is not None
            numbers = [int(tail.stdout.readline().split()[-1]) for _ in range(40)]
        finally:
            tail.kill()
    account.sagemaker.stop_training_job(TrainingJobName="cli2-follow")
    assert numbers == list(range(1, 41))


def test_wait_and_describe(program: str, environment: dict[str, str], account: Account) -> None:
    account.submit("cli2-wait", "true")
    eventually(lambda: account.status("cli2-wait") == "Completed", "the job ends")
    named = ("--training-job-name", "cli2-wait")
    run(program, environment, "sagemaker", "wait", "training-job-completed-or-stopped", *named)
    query = ("--query", "TrainingJobStatus", "--output", "text")
    assert run(program, environment, "sagemaker", "describe-training-job", *named, *query).strip() == "Completed"
