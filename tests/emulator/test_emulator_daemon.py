"""The emulator in the background: one, shared, replaced, ended; and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import Rig, eventually

from cloudtune.emulator import InterruptRule, daemon, daemon_status, ensure_running, running_daemon, stop_daemon
from cloudtune.emulator.__main__ import main
from cloudtune.errors import CloudtuneError, InvalidRequest, MissingExtra, SpecError, Unreachable


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path))
    yield tmp_path
    stop_daemon()


def test_one_is_shared_and_can_be_stopped(root: Path) -> None:
    assert daemon_status() is None
    assert running_daemon() is None
    found = []
    threads = [threading.Thread(target=lambda: found.append(ensure_running())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    handle = found[0]
    assert running_daemon() == handle
    status = daemon_status()
    assert status is not None
    assert status["pid"] == handle.pid != os.getpid()

    rig = Rig(handle.environment()["AWS_ENDPOINT_URL"], handle.role_arn)
    handle.add_interrupt_rule(InterruptRule("by-rule", after_s=0.2, times=2))
    code = """
    marks = ROOT + '/checkpoints/marks'
    runs = len(open(marks).read()) if os.path.exists(marks) else 0
    open(marks, 'a').write('x')
    while runs < 2: signal.pause()
    """
    name = rig.submit("by-rule-1", code, spot=True)
    with pytest.raises(InvalidRequest, match="There is no job"):
        handle.interrupt("nobody")
    eventually(lambda: rig.phases(name).count("Interrupted") == 2, "interrupted twice by one rule")
    job = handle.jobs()[0]
    assert (job["TrainingJobName"], job["EnableManagedSpotTraining"]) == (name, True)
    with pytest.raises(SpecError):
        handle.add_interrupt_rule(InterruptRule(after_s=-1))
    with pytest.raises(SpecError, match="bad_day"):
        handle.apply_scenario("bad_dya")
    handle.apply_scenario("bad_day", seed=4)

    assert stop_daemon() is True
    assert stop_daemon() is False
    assert daemon_status() is None
    assert not (root / ".emulator" / "daemon.json").exists()
    with pytest.raises(Unreachable):
        handle.health()


def test_it_ends_by_itself_when_idle_and_not_before(root: Path) -> None:
    handle = ensure_running(idle_s=5)
    rig = Rig(handle.endpoint_url, handle.role_arn)
    rig.submit("keeps-it-alive", "time.sleep(7)\nopen(ROOT + '/checkpoints/done', 'w').write('1')")
    record = root / ".emulator" / "daemon.json"
    eventually(lambda: not record.exists(), "it has ended")
    assert daemon_status() is None
    assert "job" not in (root / ".emulator" / "log.txt").read_text(encoding="utf-8").lower().replace("jobs", "")


def test_a_dead_or_foreign_record_is_no_emulator(root: Path) -> None:
    handle = ensure_running()
    record = root / ".emulator" / "daemon.json"
    os.kill(handle.pid, signal.SIGKILL)
    eventually(lambda: daemon_status() is None, "the killed one is noticed")
    for content in (
        "",
        "[]",
        "{",
        json.dumps({"schema": 1, "endpoint_url": "http://127.0.0.1:9", "pid": 1, "identity": ""}),
    ):
        record.write_text(content, encoding="utf-8")
        assert daemon_status() is None
    assert ensure_running().pid != handle.pid


def test_one_that_does_not_answer_is_not_doubled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = ensure_running()
    monkeypatch.setattr(daemon, "_CALL_TIMEOUT_S", 0.5)
    os.kill(handle.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match=f"process {handle.pid}.* has not answered"):
            ensure_running()
    finally:
        os.kill(handle.pid, signal.SIGCONT)
    monkeypatch.undo()
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(root))
    assert ensure_running() == handle


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "file"))
    with pytest.raises(SpecError, match="cannot be written to") as caught:
        ensure_running()
    assert "CLOUDTUNE_FOLDER" in caught.value.hint


def test_an_idle_one_of_another_version_is_replaced(root: Path) -> None:
    handle = ensure_running()
    record = root / ".emulator" / "daemon.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**content, "identity": "0.0.0 other"}), encoding="utf-8")
    assert ensure_running().pid != handle.pid


def test_a_start_that_fails_shows_the_log(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(root / "no-such-folder"))
    monkeypatch.setenv("PYTHONPATH", str(root))
    (root / "moto.py").write_text("raise SystemExit('moto is broken')", encoding="utf-8")
    with pytest.raises(CloudtuneError, match="moto is broken"):
        ensure_running()


def test_a_missing_moto_is_named() -> None:
    code = """
import sys
sys.modules["moto"] = None
from cloudtune.errors import MissingExtra
import cloudtune.emulator
for use in (lambda: cloudtune.emulator.SageMakerEmulator, lambda: cloudtune.emulator.ensure_running()):
    try:
        use()
    except MissingExtra as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("pip install 'cloudtune[emulator]'") == 2
    assert issubclass(MissingExtra, ImportError)


def test_the_command_serves_until_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloudtune.emulator", "--state", str(tmp_path), "--max_parallel_jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        if server.stdout is None:
            raise AssertionError("no output")
        lines = []
        while not lines or not lines[-1].startswith("# jobs"):
            lines.append(server.stdout.readline())
        exported = dict(
            line.removeprefix("export ").strip().split("=", 1) for line in lines if line.startswith("export")
        )
        rig = Rig(exported["AWS_ENDPOINT_URL"], "arn:aws:iam::123456789012:role/any")
        assert rig.run("from-the-shell", "")["TrainingJobStatus"] == "Completed"
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "arguments",
    [["--port", "70000"], ["--max_parallel_jobs", "0"], ["--time_scale", "nan"], ["--stop_grace_s", "-1"]],
)
def test_bad_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err


def test_a_taken_port_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = ensure_running().endpoint_url.rpartition(":")[2]
    assert main(["--port", port]) == 2
    assert "taken" in capsys.readouterr().err
    assert main(["--status"]) == 0
    assert "endpoint_url" in capsys.readouterr().out
    assert main(["--stop"]) == 0
    assert main(["--status"]) == 3
