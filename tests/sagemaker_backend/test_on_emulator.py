"""Trials as jobs that really run: promotion, cost as billed, a tuner that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_rig import journal, make_tuner

from cloudtune.clock import WallClock
from cloudtune.emulator import SageMakerEmulator
from cloudtune.experiment import events as ev
from cloudtune.experiments import load_experiment
from cloudtune.paths import ExperimentPaths, experiments_root
from cloudtune.stores import FileStore
from cloudtune.testing.journal_checks import check_journal

_PATIENCE_S = 250.0


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=3) as aws:
        yield aws


@pytest.fixture
def aws(emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> SageMakerEmulator:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    return emulator


def levels_of(events: list[ev.Event]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, ev.TrialReported):
            found.setdefault(event.trial_id, []).append(event.metrics["epoch"])
    return found


def test_trials_are_promoted_and_each_level_is_recorded_once(aws: SageMakerEmulator, tmp_path: Path) -> None:
    tuner = make_tuner(tmp_path, "promoted", trials=4)
    tuner.run()
    events = journal(tuner)
    assert check_journal(events, "epoch", "epochs") == []
    levels = levels_of(events)
    assert all(found == list(range(1, len(found) + 1)) for found in levels.values())
    assert max(map(len, levels.values())) == 9  # the best of them came to the top rung
    starts = {event.trial_id: event for event in events if isinstance(event, ev.TrialStarted)}
    for event in events:
        if isinstance(event, ev.TrialReported):
            x = starts[event.trial_id].config["x"]
            expected = 0.0
            for _ in range(event.metrics["epoch"]):
                expected = 0.5 * expected + x
            assert event.metrics["loss"] == expected  # resumed where it was, not begun anew
    _costs_are_what_is_billed(aws, events)
    result = load_experiment("promoted")
    assert result.ended and len(result.results) == sum(map(len, levels.values()))


def _costs_are_what_is_billed(aws: SageMakerEmulator, events: list[ev.Event]) -> None:
    """To the second, by job."""
    billed: Counter[str] = Counter()
    for entry in aws.audit.entries("billed"):
        if entry["job"].endswith("-promoted"):
            billed[entry["job"]] += entry["billable_seconds"]
    measured = {event.source: event for event in events if isinstance(event, ev.CostMeasured) and event.final}
    jobs = {f"{e.trial_id}-{e.attempt}-promoted" for e in events if isinstance(e, ev.TrialStarted)}
    assert set(measured) == set(billed) == jobs
    assert {job: event.billed_s for job, event in measured.items()} == {job: round(s) for job, s in billed.items()}


def test_a_tuner_that_is_killed_is_continued_and_its_jobs_are_adopted(
    aws: SageMakerEmulator, tmp_path: Path
) -> None:
    command = [sys.executable, str(Path(__file__).with_name("tune_jobs.py")), str(tmp_path), "killed", "0.5"]
    clock, deadline = WallClock(), WallClock().now() + _PATIENCE_S
    store = FileStore(ExperimentPaths(experiments_root() / "killed"))
    with subprocess.Popen(command) as process:
        while not levels_of(store.read()):
            assert process.poll() is None and clock.now() < deadline
            clock.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(command, timeout=_PATIENCE_S, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events = store.read()
    assert check_journal(events, "epoch", "epochs") == []
    assert isinstance(events[-1], ev.ExperimentEnded)
    jobs = {job["TrainingJobName"] for job in aws.jobs() if job["TrainingJobName"].endswith("-killed")}
    # A job for each attempt, and no other.
    assert jobs == {f"{e.trial_id}-{e.attempt}-killed" for e in events if isinstance(e, ev.TrialStarted)}
    states = {job["TrainingJobStatus"] for job in aws.jobs() if job["TrainingJobName"].endswith("-killed")}
    assert states <= {"Completed", "Stopped"}


def test_a_second_tuner_is_refused_with_the_name_of_the_first(aws: SageMakerEmulator, tmp_path: Path) -> None:
    """On another machine: with a folder of its own, so that no lock of the disk is in the way."""
    # The first one goes on for long enough that the second one finds it.
    command = [sys.executable, str(Path(__file__).with_name("tune_jobs.py")), str(tmp_path), "taken", "3"]
    clock, deadline = WallClock(), WallClock().now() + _PATIENCE_S
    store = FileStore(ExperimentPaths(experiments_root() / "taken"))
    with subprocess.Popen(command) as process:
        try:
            while not levels_of(store.read()):
                assert process.poll() is None and clock.now() < deadline
                clock.sleep(0.05)
            elsewhere = {**os.environ, "CLOUDTUNE_FOLDER": str(tmp_path / "elsewhere")}
            second = subprocess.run(
                command, env=elsewhere, timeout=_PATIENCE_S, check=False, capture_output=True, text=True
            )
            assert process.wait(_PATIENCE_S) == 0
        finally:
            process.kill()
    assert second.returncode != 0
    assert "Conflict" in second.stderr and f":{process.pid}" in second.stderr
    assert check_journal(store.read(), "epoch", "epochs") == []
