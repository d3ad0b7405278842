"""What a container runs first, with ``/opt/ml`` elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from remote_rig import eventually

from cloudtune.remote.job_layout import ENTRYPOINT


class Container:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "bin"
        for folder in (self.programs, root / "output", root / "input/data/cloudtune"):
            folder.mkdir(parents=True)
        for name in ("mkdir", "tar", "gzip", "tee"):
            self.programs.joinpath(name).symlink_to(str(shutil.which(name)))
        self.archive = root / "input/data/cloudtune/code.tar.gz"
        self.program("python3", 'echo "$@"')

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        command = [part.replace("/opt/ml", str(self.root)) for part in ENTRYPOINT]
        environment = {**os.environ, "PATH": str(self.programs)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    @property
    def failure(self) -> str:
        path = self.root / "output/failure"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def container(tmp_path: Path) -> Container:
    container = Container(tmp_path / "ml")
    with tarfile.open(container.archive, "w:gz") as tar:
        tar.add(__file__, "cloudtune/remote/supervisor.py")
    return container


def test_the_supervisor_takes_the_place_of_the_shell(container: Container) -> None:
    container.program("python3", 'echo "$$ $1"')
    process = container.start()
    output, errors = process.communicate(timeout=60)
    code = container.root / "cloudtune/code/cloudtune/remote/supervisor.py"
    assert output == f"{process.pid} {code}\n", errors
    assert code.is_file()
    assert process.returncode == 0
    assert container.failure == ""


def test_an_archive_that_cannot_be_unpacked_is_the_reason(container: Container) -> None:
    container.archive.write_bytes(container.archive.read_bytes()[:-40])
    assert container.start().wait(timeout=60) == 1
    assert container.failure.startswith("The code archive cannot be unpacked; is the volume large enough")
    assert "gzip" in container.failure, "with what tar says"


def test_an_image_without_python_is_the_reason(container: Container) -> None:
    container.programs.joinpath("python3").unlink()
    process = container.start()
    assert "no python3" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "image_uri" in container.failure


def test_sigterm_while_unpacking_ends_the_job(container: Container) -> None:
    container.program("tar", f'echo > "{container.root}/begun"; read -r line < "{container.root}/gate"')
    os.mkfifo(container.root / "gate")
    process = container.start()
    eventually((container.root / "begun").exists)
    process.terminate()
    with (container.root / "gate").open("w") as gate:
        gate.write("go on\n")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert output == "", "nothing was begun"


def test_the_service_takes_it() -> None:
    assert len(ENTRYPOINT) <= 100
    assert all(0 < len(part) <= 256 for part in ENTRYPOINT)
