"""What a study's view says."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.experiments import ExperimentResult
from cloudtune.experiments.launchers.launch_plan import PlannedExperiment
from cloudtune.experiments.launchers.study_progress import Stage, StudyProgress, stage_of, study_progress
from cloudtune.experiments.launchers.study_view import _Log, duration, render, summary

PLANNED = [PlannedExperiment(f"s-{m}-{seed}", m, seed) for seed in range(2) for m in ("RS", "ASHA")]


def status(name: str, state: JobState, phase: str, reason: str = "") -> JobStatus:
    ended = 30.0 if state.is_final else None
    return JobStatus(name, f"arn:{name}", state, phase, reason, created=0.0, started=20.0, ended=ended)


def result(
    name: str, values: list[float], seconds: float, mode: str = "max", ended: bool = True
) -> ExperimentResult:
    frame = pd.DataFrame({"trial_id": range(len(values)), "accuracy": values, "st_tuner_time": seconds})
    metadata = {"metric_names": ["accuracy"], "metric_mode": mode}
    return ExperimentResult(name, frame, metadata, None, Path(name), None, ended)


def progress(mode: str = "max") -> StudyProgress:
    statuses = {
        "s-RS-0": status("s-RS-0", JobState.completed, "Completed"),
        "s-ASHA-0": status("s-ASHA-0", JobState.running, "Training"),
        "s-RS-1": status("s-RS-1", JobState.failed, "Failed", "AlgorithmError: no more disk\nand more"),
    }
    results = {
        "s-RS-0": result("s-RS-0", [0.5, 0.9], 10, mode),
        "s-ASHA-0": result("s-ASHA-0", [0.8], 4, mode, False),
    }
    return study_progress(PLANNED, statuses, results, limit_s=15)


def text_of(view: object, width: int = 90) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("state", "phase", "has_results", "expected"),
    [
        (JobState.running, "Starting", False, Stage.waiting),
        (JobState.running, "Interrupted", True, Stage.waiting),
        (JobState.running, "Training", False, Stage.training),
        (JobState.running, "", True, Stage.training),
        (JobState.running, "", False, Stage.waiting),
        (JobState.completed, "Completed", True, Stage.completed),
        (JobState.stopped, "Stopped", True, Stage.failed),
        (JobState.failed, "Failed", True, Stage.failed),
    ],
)
def test_stages(state: JobState, phase: str, has_results: bool, expected: Stage) -> None:
    assert stage_of(status("a", state, phase), has_results) is expected


def test_counts_and_best() -> None:
    found = progress()
    assert found.stages == {Stage.completed: 1, Stage.training: 1, Stage.failed: 1, Stage.waiting: 1}
    assert found.num_done == 2 and found.num_reports == 3
    best = found.best()
    assert best is not None and (best.label, best.best) == ("RS seed 0", 0.9)
    assert [(m.method, m.num_jobs, m.best) for m in found.methods()] == [("RS", 2, 0.9), ("ASHA", 2, 0.8)]
    lowest = progress("min").best()
    assert lowest is not None and lowest.best == 0.5


def test_the_time_to_go_uses_what_jobs_have_taken() -> None:
    # One job took 10 s; one trains for 4 s now, one waits; one at a time.
    assert progress().remaining_s() == pytest.approx(6 + 10)
    assert study_progress(PLANNED, {}, {}, 15).remaining_s() is None


def test_the_line_of_a_log() -> None:
    line = summary(progress())
    assert line.startswith("2 of 4 jobs done (1 FAILED), 1 training, 1 waiting, 3 reports; about 0:16 to go")
    assert line.endswith("best accuracy 0.9 (RS seed 0)") and len(line) < 140


def test_a_log_tells_each_end_once_and_little_else() -> None:
    lines: list[str] = []
    log = _Log(lines.append, "the emulator runs 1 at a time")
    empty = study_progress(PLANNED, {}, {}, 15)
    log.show(empty, 0.0)
    assert lines == [
        "[0:00] 0 of 4 jobs done, 4 waiting, 0 reports",
        "[0:00] Waiting: the emulator runs 1 at a time (4 not listed yet)",
    ]
    lines.clear()
    for second in (2.0, 4.0, 6.0):
        log.show(progress(), second)
    assert lines == [
        "[0:02] RS seed 0 completed: accuracy 0.9 (2 trials, 2 reports)",
        "[0:02] RS seed 1 FAILED: AlgorithmError: no more disk",
    ]
    log.show(progress(), 31.0)
    assert len(lines) == 3 and lines[-1].startswith("[0:31] 2 of 4 jobs done")


def test_what_had_completed_before_is_no_news() -> None:
    lines: list[str] = []
    _Log(lines.append, "").show(progress(), 0.0)
    assert "completed" not in lines[0] and "RS seed 1 FAILED" in lines[0]


@pytest.mark.parametrize("width", [60, 90, 200])
def test_the_view_in_a_terminal(width: int) -> None:
    text = text_of(render("study-1121-0820-3f", progress(), 75.0, "the emulator runs 1 at a time"), width)
    assert "1:15, about 0:16 to go" in text and "0:04 / 0:15" in text
    assert "RS seed 1 FAILED" in text and "1 waiting: the emulator runs 1 at a time" in text
    assert max(map(len, text.splitlines())) <= width and len(text.splitlines()) < 20


def test_a_study_of_many_jobs_fits_a_screen() -> None:
    many = [PlannedExperiment(f"s-{m}-{seed}", m, seed) for seed in range(30) for m in ("RS", "ASHA", "BO")]
    statuses = {e.name: status(e.name, JobState.running, "Training") for e in many}
    text = text_of(render("s", study_progress(many, statuses, {}, 15), 1.0, "why"))
    assert len(text.splitlines()) < 28 and "and 78 more" in text


def test_reports_that_are_no_numbers() -> None:
    results = {"s-RS-0": result("s-RS-0", [float("nan")], 3)}
    assert study_progress(PLANNED, {}, results, 15).best() is None


def test_durations() -> None:
    assert [duration(s) for s in (-1, 0, 59.4, 61, 3723)] == ["0:00", "0:00", "0:59", "1:01", "1:02:03"]


def test_interruptions_are_told_when_they_happen() -> None:
    lines: list[str] = []
    log = _Log(lines.append, "")
    before = progress()
    log.show(before, 0.0)
    del lines[:]
    after = progress()
    moved = [
        dataclasses.replace(e, num_interruptions=int(e.experiment.name == "s-ASHA-0")) for e in after.experiments
    ]
    after = dataclasses.replace(after, experiments=moved)
    log.show(after, 2.0)
    log.show(after, 3.0)
    assert lines == ["[0:02] ASHA seed 0 was interrupted and continues, with 1 trials and 1 reports"]
    assert "interrupted and continued 1 times" in text_of(render("s", after, 3.0, ""))
    later: list[str] = []
    _Log(later.append, "").show(after, 0.0)  # by the same command, begun again: no news
    assert not [line for line in later if "interrupted" in line]


@pytest.mark.parametrize("width", [40, 50, 73, 74, 200])
def test_no_number_of_the_view_is_cut(width: int) -> None:
    text = text_of(render("s", progress(), 12.0, "why", width), width)
    table = text[: text.index("waiting: why")]
    assert "…" not in table and "0.9" in table and "0:04 / 0:15" in table
    assert ("reports" in table) == (width >= 74)
