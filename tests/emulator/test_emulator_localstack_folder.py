"""What ``localstack/`` says works."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import eventually

FOLDER = Path(__file__).parents[2] / "localstack"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Of a user who has started ``moto_server.sh`` and whose shell has a profile for AWS."""
    port = str(_free_port())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LOCALSTACK_PORT": port, "AWS_PROFILE": "somebody"}
    server = subprocess.Popen([str(FOLDER / "moto_server.sh"), port], env=environment, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/moto-api/"), "moto answers", timeout_s=120)
        yield environment
    finally:
        server.kill()
        server.wait()


def test_the_variables_point_to_the_server(environment: dict[str, str]) -> None:
    use = "import boto3; s3 = boto3.client('s3'); s3.create_bucket(Bucket='one'); print(s3.list_buckets())"
    script = f'. "{FOLDER}/env.sh" && exec python3 -c "{use}"'
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert "'one'" in done.stdout, done.stderr


def test_cloudtunes_stores_work_with_the_server(environment: dict[str, str], tmp_path: Path) -> None:
    command = [str(FOLDER / "run_tests.sh"), "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "base")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout and "skipped" not in done.stdout


def test_they_are_never_run_against_aws(tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(FOLDER / "test_on_server.py")]
    done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "Set AWS_ENDPOINT_URL" in done.stdout + done.stderr
