"""The benchmarks run with tiny settings, and what they compute from facts is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_handovers(scripts: None) -> None:
    from measuring import Life, handovers

    lives = [Life(0.0, 1.0), Life(0.1, 3.0), Life(1.5, 2.0), Life(2.25, 9.0)]
    assert handovers(lives, 2) == [0.5, 0.25]
    assert handovers(lives, 4) == []


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.9, 4), (1.0, 4), (0.25, 1)])
def test_quantile(scripts: None, share: float, expected: int) -> None:
    from measuring import quantile

    assert quantile([4, 1, 3, 2], share) == expected


def test_a_value_of_another_checkpoint_is_noticed(scripts: None) -> None:
    from kill_tuner import wrong_values

    from cloudtune.experiment import events as ev

    started = ev.TrialStarted(0.0, 0.0, 0, 0, {"multiplier": 0.5})

    def reported(epoch: int, value: float) -> ev.Event:
        return ev.TrialReported(0.0, 0.0, 0, 0, epoch - 1, {"epoch": epoch, "train_acc": value}, "CONTINUE")

    assert wrong_values([started, reported(1, 0.5), reported(2, 0.75)]) == []
    assert len(wrong_values([started, reported(1, 0.5), reported(2, 0.5)])) == 1


def test_a_doubled_report_is_noticed(scripts: None) -> None:
    from spot_study import doubled

    from cloudtune.experiment import events as ev

    first, second = (ev.TrialReported(0.0, 0.0, 0, 0, seq, {}, "CONTINUE") for seq in (0, 1))
    assert doubled([first, second]) == []
    assert doubled([first, second, first]) == ["report (0, 0, 0) is recorded 2 times"]


@pytest.mark.parametrize("method", ["asha", "random"])
def test_played_journals_are_sound(scripts: None, method: str) -> None:
    from journal_cost import make_core, make_tuner, play

    from cloudtune.experiment import events as ev
    from cloudtune.testing.journal_checks import JournalChecker

    events = play(make_core(make_tuner(method)), 300)
    assert sum(isinstance(event, ev.TrialReported) for event in events) == 300
    checker = JournalChecker("epoch", "epochs")
    checker.feed(events)
    assert checker.problems == []
    resumed = make_core(make_tuner(method))
    for event in events:
        resumed.replay(event)


def test_worker_latency() -> None:
    arguments = ["--n_workers", "2", "--trials_per_worker", "2", "--seconds", "0.05"]
    assert "2: cloudtune" in run("worker_latency.py", *arguments)


def test_noop_trials() -> None:
    assert "cloudtune" in run("noop_trials.py", "--trials", "3", "--repetitions", "1", "--no_peers")


def test_import_times() -> None:
    assert "cloudtune.tuner.Tuner" in run("import_times.py", "--repetitions", "1")


def test_journal_cost() -> None:
    assert "10 times the reports" in run("journal_cost.py", "--reports", "20", "200", "--method", "random")


def test_kill_tuner() -> None:
    arguments = ["--kills", "2", "--method", "promotion", "--trials", "3", "--epoch_s", "0.01"]
    assert "promotion" in run("kill_tuner.py", *arguments)


def test_launch_cost() -> None:
    table = run("launch_cost.py", "--num_seeds", "1")
    assert "sagemaker.CreateTrainingJob" in table
    assert "Launching 6 jobs" in table


@pytest.mark.slow
def test_spot_study() -> None:
    arguments = ["--num_seeds", "1", "--benchmark", "train_height", "--method", "RS", "--interrupt_after", "3"]
    assert "1 spot jobs" in run("spot_study.py", *arguments)
