"""The folder of an emulator's state: whose it is, and what is never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.state import state_folder
from cloudtune.emulator.state.state_folder import StateFolder
from cloudtune.errors import Conflict, SpecError

HOLD = """
import sys, pathlib
from cloudtune.emulator.state.state_folder import StateFolder
folder = StateFolder(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def begun(root: Path, port: int = 0) -> StateFolder:
    folder = StateFolder(root)
    folder.begin(port, "no-such-mark", ServiceClock())
    return folder


def test_what_is_not_the_emulators_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for use in (
        lambda: SageMakerEmulator(state_dir=tmp_path).start(),
        lambda: state_folder.remove(tmp_path),
    ):
        with pytest.raises(SpecError, match=r"not empty.*thesis\.tex"):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "state.json").write_text("{}")
    for text in ("{}", "[]", "no json", '{"format": "other"}'):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(SpecError, match="none of the emulator's"):
            StateFolder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "thesis.tex"]
    with pytest.raises(SpecError, match="cannot be kept"):
        SageMakerEmulator(state_dir=tmp_path / "thesis.tex" / "below").start()


def test_another_schema_is_refused_and_can_be_removed(tmp_path: Path) -> None:
    root = tmp_path / "state"
    begun(root).close()
    marker = json.loads((root / "state.json").read_text())
    (root / "state.json").write_text(json.dumps({**marker, "schema": 99}))
    with pytest.raises(SpecError, match="schema 99") as caught:
        SageMakerEmulator(state_dir=root).start()
    assert "remove" in caught.value.hint
    state_folder.remove(root)
    assert not root.exists()
    state_folder.remove(root)  # nothing there: nothing to do


def test_a_second_emulator_is_refused_with_the_first_ones_number(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=f"process {holder.pid}"):
            SageMakerEmulator(state_dir=tmp_path).start()
        with pytest.raises(Conflict, match=f"process {holder.pid}"):
            state_folder.remove(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        StateFolder(tmp_path).close()


def test_the_folder_is_free_when_the_keeper_has_ended(tmp_path: Path) -> None:
    """A successor that is there at once waits for what the dead emulator's keeper cleans up."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        # The lock's number is that of a process that has gone: its keeper, the holder, lives.
        gone = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
        )
        (tmp_path / "lock").write_bytes(gone.stdout)
        waiting = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with waiting:
            assert waiting.stdout is not None and waiting.stdin is not None
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            assert waiting.stdout.readline() == "held\n"
            waiting.stdin.close()


def test_what_a_killed_start_has_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / ".state.json.0123.tmp").write_text('{"form')
    begun(tmp_path).close()
    assert state_folder.size_bytes(tmp_path) > 0


def test_left_processes_and_files_of_jobs_are_ended_and_removed(tmp_path: Path) -> None:
    mark = os.urandom(8).hex()
    folder = StateFolder(tmp_path)
    folder.begin(0, mark, ServiceClock())
    folder.close()
    attempt = tmp_path / "jobs" / "us-east-1" / "job-0"
    attempt.mkdir(parents=True)
    (attempt / "file").touch()
    environment = {**os.environ, "CLOUDTUNE_EMULATOR_MARK": f"{mark}:job:0"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment) as left:
        folder = StateFolder(tmp_path)
        folder.clean()
        assert left.wait(timeout=60) == -signal.SIGKILL
    assert not (tmp_path / "jobs").exists()
    folder.close()


def test_the_services_time_goes_on(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    first = ServiceClock(scale=100, start=5e9)
    assert folder.begin(0, "", first) is None
    real = json.loads((tmp_path / "state.json").read_text())["clock"]["real"]
    folder.close()

    (tmp_path / "ended").write_text(str(real + 3))  # as the keeper does
    folder, second = StateFolder(tmp_path), ServiceClock(scale=1)
    assert folder.begin(0, "", second) == pytest.approx(5e9 + 300)
    assert 5e9 + 300 <= second.now() < 5e9 + 100_000
    assert not (tmp_path / "ended").exists()  # it is the last emulator's
    folder.close()

    folder, third = StateFolder(tmp_path), ServiceClock(scale=1)
    now = second.now()
    assert folder.begin(0, "", third) is None
    assert third.now() >= now - 1
    folder.close()


def test_the_last_port_if_it_is_free(tmp_path: Path) -> None:
    with SageMakerEmulator(state_dir=tmp_path / "a") as aws:
        port = aws.port
    with SageMakerEmulator(state_dir=tmp_path / "a") as aws:
        assert aws.port == port
        folder = begun(tmp_path / "b", port)
        assert folder.free_port() == 0
        folder.close()
    folder = begun(tmp_path / "b", port)
    assert folder.free_port() == port
    folder.close()
    with SageMakerEmulator(port=0, state_dir=tmp_path / "c") as aws:
        other = aws.port
    with SageMakerEmulator(port=other, state_dir=tmp_path / "a") as aws:
        assert aws.port == other
