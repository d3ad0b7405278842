"""A real tuner with real trials, killed by SIGKILL; and what run_with_kills would not let pass."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from cloudtune.constants import ENV_FOLDER
from cloudtune.testing import kill_tuner
from cloudtune.testing.kill_tuner import KillOptions, KillReport, run_with_kills

TUNER = Path(__file__).with_name("kill_me_tune.py")


def kill(root: Path, method: str, kills: int, seed: int, machine: float = 0.0) -> KillReport:
    return run_with_kills(
        [sys.executable, str(TUNER), method, "6", "0.01"],
        {**os.environ, ENV_FOLDER: str(root)},
        kills,
        seed,
        root / "killed",
        KillOptions(max_resource_attr="epochs", machine=machine, events_per_life=10.0),
    )


@pytest.mark.parametrize(("method", "machine"), [("random", 0.0), ("promotion", 0.0), ("stopping", 0.7)])
def test_killed_tuner_loses_nothing(tmp_path: Path, method: str, machine: float) -> None:
    report = kill(tmp_path, method, kills=4, seed=len(method), machine=machine)
    assert report.kills >= 1 and report.num_events > 20


@pytest.mark.slow
@pytest.mark.parametrize("machine", [0.0, 0.3])
@pytest.mark.parametrize("method", ["random", "stopping", "promotion"])
def test_killed_at_fifty_moments(tmp_path: Path, method: str, machine: float) -> None:
    kills = seed = 0
    while kills < 50:
        kills += kill(tmp_path / str(seed), method, kills=50, seed=seed, machine=machine).kills
        seed += 1


JOURNAL = """
import subprocess, sys
from pathlib import Path
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore

def reported(seq, epoch):
    return ev.TrialReported(0.0, 0.0, 0, 0, seq, {"epoch": epoch, "loss": 0.0}, "CONTINUE")

store = FileStore(ExperimentPaths(Path(sys.argv[1])))
store.open("fake")
started, ended = ev.TrialStarted(0.0, 0.0, 0, 0, {"epochs": 2}), ev.TrialEnded(0.0, 0.0, 0, 0, "completed")
end = ev.ExperimentEnded(0.0, 0.0, "done")
"""


@pytest.mark.parametrize(
    ("journal", "problem"),
    [
        ("[started, reported(0, 1), reported(1, 2), reported(1, 2), ended, end]", "recorded already"),
        ("[started, reported(0, 1), reported(2, 3), ended, end]", "the level before was 1"),
        ("[started, reported(0, 1), ended, end]", "level 1 of 2"),
        ("[started, reported(0, 1), reported(1, 2), end]", "has no end"),
        ("[started, reported(0, 1)]", "does not end"),
    ],
)
def test_flaws_are_noticed(tmp_path: Path, journal: str, problem: str) -> None:
    script = tmp_path / "fake_tuner.py"
    script.write_text(f"{JOURNAL}\nstore.append({journal})\n")
    with pytest.raises(AssertionError, match=problem):
        fake(tmp_path, script)


def test_a_process_that_is_left_over_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_tuner, "_SETTLE_S", 0.1)
    script = tmp_path / "fake_tuner.py"
    script.write_text(
        JOURNAL
        + textwrap.dedent("""
        store.append([started, reported(0, 1), reported(1, 2), ended, end])
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        Path(sys.argv[2]).write_text(str(child.pid))
        """)
    )
    try:
        with pytest.raises(AssertionError, match="is left over: sleep 1000"):
            fake(tmp_path, script)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_tuner_that_fails_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "fake_tuner.py"
    script.write_text("raise SystemExit('no such metric')")
    with pytest.raises(AssertionError, match=r"exit code 1:\nno such metric"):
        fake(tmp_path, script)


def test_a_tuner_that_is_stuck_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "fake_tuner.py"
    script.write_text("import signal; signal.pause()")
    with pytest.raises(AssertionError, match="nothing recorded for"):
        fake(tmp_path, script, silence_s=0.5)


def fake(tmp_path: Path, script: Path, silence_s: float = 30.0) -> KillReport:
    command = [sys.executable, str(script), str(tmp_path / "fake"), str(tmp_path / "pid")]
    options = KillOptions(max_resource_attr="epochs", silence_s=silence_s)
    return run_with_kills(command, os.environ, 0, 0, tmp_path / "fake", options)
