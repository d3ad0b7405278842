"""The proxy of an emulator in another process: started by hand, or kept in the background."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtune import emulator

ASK_STS = """
import boto3
print(boto3.client("sts", endpoint_url="https://sts.eu-west-1.amazonaws.com").get_caller_identity()["Account"])
"""


@pytest.fixture
def exports(clean_environment: dict[str, str]) -> Iterator[str]:
    """What ``python -m cloudtune.emulator --proxy`` tells its user to put into the shell."""
    command = [sys.executable, "-m", "cloudtune.emulator", "--proxy"]
    server = subprocess.Popen(
        command, env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with server:
        try:
            yield printed_exports(server)
        finally:
            server.send_signal(signal.SIGINT)


def printed_exports(server: subprocess.Popen[str]) -> str:
    """All lines up to the last export."""
    assert server.stdout is not None
    lines: list[str] = []
    for line in server.stdout:
        if lines and not line.startswith("export "):
            return "".join(lines)
        if line.startswith("export "):
            lines.append(line)
    raise AssertionError("the emulator has ended")


def test_what_the_command_prints_is_enough(
    exports: str, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "ask.py").write_text(ASK_STS)
    done = subprocess.run(
        ["sh", "-c", f"{exports}\nexec {sys.executable} ask.py"],
        env=clean_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "123456789012"), done.stderr


def test_the_one_in_the_background(clean_environment: dict[str, str]) -> None:
    handle = emulator.ensure_running(idle_s=120)
    try:
        assert "HTTPS_PROXY" not in handle.environment()
        done = subprocess.run(
            [sys.executable, "-c", ASK_STS],
            env={**clean_environment, **handle.environment(proxy=True)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "123456789012"), done.stderr
    finally:
        handle.stop()
