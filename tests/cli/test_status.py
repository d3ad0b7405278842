from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import pytest
from operations_lab import FAR, METADATA, T0, Lab, story, until, write_journal

from cloudtune import cli
from cloudtune.experiment import events as ev
from cloudtune.experiment_record import write_metadata
from cloudtune.experiments.operations.account import Access
from cloudtune.experiments.operations.status import experiment_status
from cloudtune.experiments.operations.subject import find_subject
from cloudtune.experiments.operations.tuner_life import Life
from cloudtune.paths import ExperimentPaths
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.remote.polite_claim import PoliteClaim
from cloudtune.stores.file import FileStore

Capture = pytest.CaptureFixture[str]


def status_of(name: str, tag: str | None = None):  # type: ignore[no-untyped-def]
    return experiment_status(find_subject(name, tag, Access()))


def test_an_experiment_of_this_machine_asks_no_cloud(own_folder: Path, capsys: Capture) -> None:
    """There are no credentials and no emulator here: it would have to start one."""
    write_journal(ExperimentPaths(own_folder / "mine"), story(), backend="LocalBackend")
    assert cli.main(["status", "mine"]) == 9
    said = capsys.readouterr().out
    assert re.search(r"^trials: +2: 2 InProgress$", said, re.MULTILINE)
    assert re.search(r"^best: +loss 9 \(trial 1\)$", said, re.MULTILINE)
    assert "Nobody tunes it" in said and "-> cloudtune resume mine" in said
    store = FileStore(ExperimentPaths(own_folder / "mine"))
    store.open(f"{socket.gethostname()}:{os.getpid()}")
    assert cli.main(["status", "mine"]) == 0
    assert re.search(r"^tuner: +process \d+ on this machine$", capsys.readouterr().out, re.MULTILINE)
    store.close()


def test_one_that_is_over(own_folder: Path, capsys: Capture) -> None:
    write_journal(ExperimentPaths(own_folder / "mine"), story(ended=True), backend="LocalBackend")
    assert cli.main(["status", "mine", "--watch"]) == 0  # there is nothing to wait for
    assert "all trials have ended" in capsys.readouterr().out
    write_journal(
        ExperimentPaths(own_folder / "bad"), story(ended=True, error="no memory"), backend="LocalBackend"
    )
    assert cli.main(["status", "bad"]) == 9


def test_jobs_that_nobody_watches(lab: Lab, capsys: Capture) -> None:
    lab.experiment("lost")
    names = [lab.start_trial("lost", 0), lab.start_trial("lost", 1, 2)]
    lab.start_trial("lost-too", 7)  # another experiment's
    begin = lab.now()
    assert cli.main(["status", "lost"]) == 9
    calls = lab.calls(begin)
    assert (calls["ListTrainingJobs"], calls["DescribeTrainingJob"]) == (1, 0)
    said = capsys.readouterr().out
    rows = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines() if "-lost" in line]
    assert [row[:4] for row in rows] == [["0", "0", names[0], "InProgress"], ["1", "2", names[1], "InProgress"]]
    assert "2 jobs run and are paid for, and no tuner watches.\n  -> cloudtune stop lost" in said
    assert "-> cloudtune resume lost\n" in said
    assert "lost-too" not in said
    assert cli.main(["status", "lost", "--json"]) == 9
    document = json.loads(capsys.readouterr().out)
    assert document["life"] == "dead"
    assert [job["job"] for job in document["jobs"]] == names
    assert document["trials"] == {"InProgress": 2}


def test_where_a_tuner_lives(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.experiment("busy", claim=FAR)
    found = status_of("busy")
    assert (found.life, found.tuner) == (Life.elsewhere, "process 77 on me@far.away")
    assert found.problems == []
    monkeypatch.setattr("cloudtune.experiments.operations.tuner_life.SILENCE_S", 0.0)
    found = status_of("busy")
    assert found.life is Life.dead
    assert [problem.command for problem in found.problems] == ["cloudtune resume busy --takeover"]
    job = lab.start_tuner("busy")
    found = status_of("busy")
    assert found.life is Life.job
    assert found.tuner.startswith(f"job {job} (") and found.tuner.endswith("on ml.m5.large")
    lab.jobs.stop(job)
    lab.ended(job)
    [problem] = status_of("busy").problems
    assert (
        problem.text.startswith("The tuner's job busy is Stopped") and problem.command == "cloudtune resume busy"
    )


def test_a_job_that_has_written_nothing_yet(lab: Lab, capsys: Capture) -> None:
    lab.start_tuner("launched")
    assert cli.main(["status"]) == 0
    said = capsys.readouterr().out
    assert "just launched, or not cloudtune's): launched." in said and "Nothing runs" not in said
    assert cli.main(["status", "launched"]) == 0
    assert "job launched (" in capsys.readouterr().out
    assert cli.main(["status", "lunched"]) == 3
    assert "launched" in capsys.readouterr().err


def test_what_runs(lab: Lab, own_folder: Path, capsys: Capture) -> None:
    assert cli.main(["status"]) == 0
    assert "Nothing runs" in capsys.readouterr().out
    lab.experiment("study-asha-0", tag="study")
    lab.experiment("quiet", tag="study")
    lab.start_tuner("study-asha-0")
    lab.start("somebody-elses")
    write_journal(ExperimentPaths(own_folder / "here"), story(), backend="LocalBackend")
    store = FileStore(ExperimentPaths(own_folder / "here"))
    store.open(f"{socket.gethostname()}:{os.getpid()}")
    assert cli.main(["status"]) == 0
    unknown, _, *lines = capsys.readouterr().out.splitlines()
    assert unknown.startswith("1 job of the account") and unknown.endswith(": somebody-elses.")
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) == {"here", "study-asha-0"}
    assert "job study-asha-0" in rows["study-asha-0"] and "loss 9" in rows["study-asha-0"]
    store.close()
    lab.experiment("orphaned")
    lab.start_trial("orphaned", 0)
    assert cli.main(["status", "--json"]) == 9
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["orphaned"]["jobs"] == ["0-0-orphaned"] and found["orphaned"]["tuner"] == ""
    assert cli.main(["status", "--tag", "study"]) == 9
    assert "quiet" in capsys.readouterr().out


@pytest.mark.parametrize("width", [30, 60, 100])
def test_terminals_of_any_width(
    own_folder: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_journal(ExperimentPaths(own_folder / "mine"), story(), backend="LocalBackend", tag="x")
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["status", "--tag", "x"]) == 9
    assert cli.main(["status", "mine"]) == 9
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "\x1b" not in said
    table = said[: said.index("\n\n")].splitlines()
    assert table[0].startswith("experiment") and all(len(line) <= width for line in table)


def test_looking_leaves_the_journal_of_a_tuner_that_mirrors_it_alone(
    lab: Lab, own_folder: Path, capsys: Capture
) -> None:
    """What it has here is the original, however much S3 is behind."""
    paths, where = ExperimentPaths(own_folder / "mirrored"), lab.where("mirrored")
    write_metadata(paths, METADATA)
    store = MirroredStore(paths, lab.objects, where.state, claim=PoliteClaim)
    store.open(f"{socket.gethostname()}:{os.getpid()}")
    first, *rest = story()
    store.append([first])
    until(lambda: store.durable() == 1)
    before = paths.segment(0).stat().st_ino
    store.append(rest)
    for command in (["status", "mirrored"], ["show", "mirrored"]):
        assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "2 InProgress" in said and "on this machine" in said
    assert paths.segment(0).stat().st_ino == before
    store.append([ev.TimePassed(T0 + 9, 9.0)])
    store.close()
    assert status_of("mirrored").life is Life.dead
    assert status_of("mirrored").problems[0].command == "cloudtune resume mirrored"
