from __future__ import annotations

from pathlib import Path

import pytest
from operations_lab import Lab, story, until, write_journal

from cloudtune import cli
from cloudtune.clock import WallClock
from cloudtune.experiments.loading import load_experiment
from cloudtune.experiments.operations.logs import FileSource, follow, last_lines
from cloudtune.paths import ExperimentPaths

Capture = pytest.CaptureFixture[str]


def test_output_of_a_process_here(own_folder: Path, capsys: Capture) -> None:
    paths = ExperimentPaths(own_folder / "mine")
    write_journal(paths, story(), backend="LocalBackend")
    paths.trial(1).dir.mkdir()
    paths.trial(1).stdout.write_text("one\ntwo\nthree\n")
    assert cli.main(["logs", "mine", "--trial", "1", "--tail", "2"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    paths.trial(1).stderr.write_text("oh\n")
    assert cli.main(["logs", "mine", "--trial", "1", "--tail", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[1::2] == ["two", f"== trial 1: {paths.trial(1).stderr}"]
    for arguments, said in (
        (["--trial", "0"], "has printed nothing"),
        (["--trial", "7"], "no trial 7.*0 to 1"),
        ([], "was tuned by no job"),
    ):
        assert cli.main(["logs", "mine", *arguments]) == 3
        assert said.split(".*")[0] in capsys.readouterr().err


def test_a_file_is_followed_line_by_line(tmp_path: Path) -> None:
    path, said, script = tmp_path / "std.out", list[str](), iter(["c\nhal", "f\nlast", None])
    path.write_text("a\nb\n")

    def runs() -> bool:
        added = next(script, None)
        if added is not None:
            with path.open("a") as file:
                file.write(added)
        return added is not None

    class NoWait(WallClock):
        def sleep(self, seconds: float) -> None:
            """The file grows when it is looked at."""

    follow(FileSource("x", path, runs), 1, said.append, NoWait())
    assert said == ["c", "half", "last"]


def test_logs_of_jobs_over_all_attempts(lab: Lab, capsys: Capture) -> None:
    lab.experiment("jobs")
    for attempt in (0, 1):
        script = f"print('attempt', {attempt}, 'of it'); print('bye')"
        lab.ended(lab.start_trial("jobs", 3, attempt, script))
    tuner = lab.start_tuner("jobs", script="print('I tune')")
    lab.ended(tuner)
    assert cli.main(["logs", "jobs", "--trial", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "== trial 3, attempt 0: job 3-0-jobs",
        "attempt 0 of it",
        "bye",
        "== trial 3, attempt 1: job 3-1-jobs",
        "attempt 1 of it",
        "bye",
    ]
    assert cli.main(["logs", "jobs", "--trial", "3", "--tail", "3"]) == 0
    assert capsys.readouterr().out.count("bye") == 2
    assert cli.main(["logs", "jobs", "--trial", "3", "--follow"]) == 0
    assert capsys.readouterr().out == "attempt 1 of it\nbye\n"
    assert cli.main(["logs", "jobs"]) == 0
    assert capsys.readouterr().out == "I tune\n"


def test_output_that_a_tuner_in_a_job_has_uploaded(lab: Lab, capsys: Capture) -> None:
    where = lab.experiment("remote", backend="LocalBackend")
    for name in ("std.out", "std.out.2", "std.out.10"):
        lab.put(where.logs / "0" / name, f"{name}\n")
    assert cli.main(["logs", "remote", "--trial", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[1::2] == ["std.out", "std.out.2", "std.out.10"]
    assert cli.main(["logs", "remote", "--trial", "1"]) == 3
    assert "store_logs_localbackend" in capsys.readouterr().err


def test_lines_are_counted_from_the_end_of_all() -> None:
    class Fixed:
        def __init__(self, title: str, lines: list[str]) -> None:
            self.title, self.lines = title, lines

        def tail(self, lines: int) -> list[str]:
            return self.lines[-lines:]

        def news(self) -> list[str]:
            return self.lines

        def is_over(self) -> bool:
            return True

    sources = [Fixed("a", ["1", "2"]), Fixed("b", []), Fixed("c", ["3", "4"])]
    assert last_lines(sources, 3) == [("a", ["2"]), ("c", ["3", "4"])]
    assert last_lines(sources, 2) == [("c", ["3", "4"])]
    assert last_lines(sources, 0) == []


def test_collect(lab: Lab, own_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    where = lab.experiment("tuned", story(3, ended=True), tag="study")
    lab.put(where.state / "tuner.dill", "never unpickled")
    lab.put(where.logs / "0/std.out", "hello")
    for trial_id in range(3):
        lab.put(where.checkpoints / f"{trial_id}/epoch-1/model.bin", f"weights {trial_id}")
    lab.put(where.checkpoints / "2/../../../evil", "out")
    assert cli.main(["collect", "tuned", "--checkpoints", "best"]) == 0
    folder = own_folder / "study" / "tuned"
    assert (folder / "2/checkpoints/epoch-1/model.bin").read_text() == "weights 2"
    assert not (folder / "1/checkpoints").exists()
    assert (folder / "0/std.out").read_text() == "hello"
    assert (folder / "tuner.dill").exists()
    assert list(own_folder.rglob("evil")) == []
    capsys.readouterr()
    assert cli.main(["collect", "tuned", "--checkpoints", "best"]) == 0
    assert "0 files fetched" in capsys.readouterr().out
    assert cli.main(["collect", "--tag", "study", "--to", str(tmp_path / "to"), "--checkpoints", "all"]) == 0
    assert len(list((tmp_path / "to" / "tuned").rglob("model.bin"))) == 3
    assert load_experiment("tuned", local_path=tmp_path / "to", download_if_not_found=False).ended
    for which, code in (("7", 3), ("beste", 2)):
        assert cli.main(["collect", "tuned", "--checkpoints", which]) == code
    assert cli.main(["collect", "tunes"]) == 3
    assert "tuned" in capsys.readouterr().err


def test_collect_what_was_tuned_here(own_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    paths = ExperimentPaths(own_folder / "mine")
    write_journal(paths, story(), backend="LocalBackend")
    (paths.trial(1).checkpoints / "epoch-1").mkdir(parents=True)
    assert cli.main(["collect", "mine", "--checkpoints", "best"]) == 0
    assert f"trial 1: {paths.trial(1).checkpoints}" in capsys.readouterr().out
    assert cli.main(["collect", "mine", "--to", str(tmp_path)]) == 2


def test_a_growing_log_of_a_job_is_followed(lab: Lab, tmp_path: Path) -> None:
    """What it prints while it is followed is told, and the end is noticed."""
    from cloudtune.experiments.operations.account import Account
    from cloudtune.experiments.operations.logs import JobSource

    lab.experiment("jobs")
    gate = tmp_path / "gate"
    script = (
        f"import os, time; print('first', flush=True); "
        f"[time.sleep(0.02) for _ in iter(lambda: os.path.exists({str(gate)!r}), True)]; print('second')"
    )
    job = lab.start_trial("jobs", 0, script=script)
    until(lambda: lab.jobs.log_tail(job, 1) == ["first"])
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        gate.touch()

    follow(JobSource("x", job, Account(lab.session, WallClock())), 10, say, WallClock())
    assert said == ["first", "second"]
