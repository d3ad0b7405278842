"""What ``localstack/`` says works."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

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


def test_moto_server_and_its_environment() -> None:
    port = str(_free_port())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LOCALSTACK_PORT": port, "AWS_PROFILE": "somebody"}
    server = subprocess.Popen([str(FOLDER / "moto_server.sh"), port], env=environment, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/moto-api/"), "moto answers")
        use = "import boto3; s3 = boto3.client('s3'); s3.create_bucket(Bucket='one'); print(s3.list_buckets())"
        script = f'. "{FOLDER}/env.sh" && exec python3 -c "{use}"'
        done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
        assert "'one'" in done.stdout, done.stderr
    finally:
        server.kill()
        server.wait()
