"""The emulator in the background keeps what was rehearsed, until somebody removes it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import Rig, eventually

from cloudtune.emulator import daemon, ensure_running, running_daemon, stop_daemon
from cloudtune.emulator.__main__ import main
from cloudtune.errors import SpecError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path))
    yield tmp_path
    stop_daemon()


def test_it_is_all_there_the_next_day(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handle = ensure_running(idle_s=5.0)
    rig = Rig(handle.endpoint_url, handle.role_arn)
    assert rig.run("rehearsed", "print('well')")["TrainingJobStatus"] == "Completed"
    rig.put("results", b"r" * 100_000)
    record = root / ".emulator" / "daemon.json"
    eventually(lambda: not record.exists(), "its idle end")  # who asked it would keep it alive
    handle = ensure_running(idle_s=1.0)  # also while the last one is still about to end
    assert handle.endpoint_url == rig.endpoint_url
    eventually(lambda: not record.exists(), "its idle end")

    assert main(["--status"]) == 3
    shown = capsys.readouterr().out
    assert "No emulator runs" in shown and f"MB in {root / '.emulator' / 'state'}" in shown

    handle = ensure_running()
    assert handle.endpoint_url == rig.endpoint_url
    assert rig.get("results") == b"r" * 100_000
    assert rig.all_logs("rehearsed") == ["well"]
    os.kill(handle.pid, signal.SIGKILL)
    eventually(lambda: running_daemon() is None, "it is dead")
    ensure_running()
    assert rig.describe("rehearsed")["TrainingJobStatus"] == "Completed"
    assert main(["--status"]) == 0
    assert "kept: 0." in capsys.readouterr().out

    assert main(["--clear"]) == 0
    assert running_daemon() is None and not daemon.state_path().exists()
    assert main(["--status"]) == 3
    assert "MB in" not in capsys.readouterr().out
    handle = ensure_running()
    assert Rig(handle.endpoint_url, handle.role_arn).keys("") == []


def test_what_is_none_of_its_own_is_not_removed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = daemon.state_path() / "thesis.tex"
    precious.parent.mkdir(parents=True)
    precious.touch()
    assert main(["--clear"]) == SpecError.exit_code
    assert "not empty" in capsys.readouterr().err
    assert precious.exists()
