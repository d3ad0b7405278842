from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from operations_lab import FAR, Lab, story, until, write_journal

from cloudtune import cli
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore
from cloudtune.testing import processes
from cloudtune.testing.journal_checks import check_journal

Capture = pytest.CaptureFixture[str]
TUNER = Path(__file__).with_name("tune_here.py")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Trials go on to their ends once it exists."""
    return tmp_path / "gate"


@pytest.fixture
def tuner(own_folder: Path, gate: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs ``mine``, of which both trials have reported."""
    process = subprocess.Popen(
        [sys.executable, str(TUNER), "mine", str(gate)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: len({e.trial_id for e in journal(own_folder) if isinstance(e, ev.TrialReported)}) == 2)
        yield process
    finally:
        process.kill()
        process.wait()
        for pid in list(processes.naming(own_folder / "mine")):
            processes.kill(pid)


def journal(root: Path) -> list[ev.Event]:
    return FileStore(ExperimentPaths(root / "mine")).read()


def test_a_tuner_of_this_machine_is_stopped_and_goes_on(
    tuner: subprocess.Popen[bytes], own_folder: Path, gate: Path, capsys: Capture
) -> None:
    assert cli.main(["stop", "mine"]) == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert tuner.poll() is None
    assert cli.main(["stop", "mine", "--yes"]) == 0
    said = capsys.readouterr().out
    assert f"stopped tuner (process {tuner.pid} on this machine)" in said and "-> cloudtune resume mine" in said
    assert tuner.wait(60) == 128 + signal.SIGTERM
    assert list(processes.naming(own_folder / "mine")) == []
    assert cli.main(["stop", "mine"]) == 0  # nothing runs: nothing to ask
    assert "nothing runs" in capsys.readouterr().out

    gate.touch()
    assert cli.main(["resume", "mine"]) == 0
    events = journal(own_folder)
    assert isinstance(events[-1], ev.ExperimentEnded)
    assert check_journal(events, "epoch", "epochs") == []
    assert sum(event.kind == "session_started" for event in events) == 2
    assert cli.main(["resume", "mine"]) == 2
    assert "mine is over" in capsys.readouterr().err


def test_one_that_runs_is_not_resumed(tuner: subprocess.Popen[bytes], capsys: Capture) -> None:
    assert cli.main(["resume", "mine"]) == 4
    assert f"being tuned: process {tuner.pid} on this machine" in capsys.readouterr().err


def test_trials_that_a_dead_tuner_has_left(
    tuner: subprocess.Popen[bytes], own_folder: Path, capsys: Capture
) -> None:
    tuner.kill()
    tuner.wait()
    assert list(processes.naming(own_folder / "mine")) != []
    assert cli.main(["stop", "mine"]) == 0
    assert "2 processes of trials" in capsys.readouterr().out
    assert list(processes.naming(own_folder / "mine")) == []


def test_jobs_that_a_dead_tuner_has_left(lab: Lab, capsys: Capture) -> None:
    lab.experiment("lost")
    names = [lab.start_trial("lost", trial_id) for trial_id in range(3)]
    other = lab.start_trial("lost-too", 0)
    assert cli.main(["stop", "lost", "--yes"]) == 0
    assert [lab.state(name) for name in names] == ["Stopped"] * 3
    assert lab.state(other) == "InProgress"
    assert "lost: stopped 3 jobs." in capsys.readouterr().out
    assert cli.main(["stop", "lost"]) == 0
    assert "lost: nothing runs." in capsys.readouterr().out


def test_the_tuners_job_is_stopped_before_those_of_its_trials(lab: Lab, capsys: Capture) -> None:
    """It would replace them."""
    lab.experiment("both")
    # The trial begins when the tuner has ended, and is stopped at once: perhaps before it can hear of that.
    soon = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(15)"
    tuner, trial = lab.start_tuner("both"), lab.start_trial("both", 0, script=soon)
    begin = lab.now()
    assert cli.main(["stop", "both", "--yes"]) == 0
    stopped = [
        e for e in lab.aws.audit.entries("call") if e["number"] >= begin and e["operation"] == "StopTrainingJob"
    ]
    assert [entry["job"] for entry in stopped] == [tuner, trial]
    ends = {e["job"]: e["number"] for e in lab.aws.audit.entries("transition") if e["status"] == "Stopped"}
    assert ends[tuner] < stopped[1]["number"]
    assert "tuner (job both), 1 job" in capsys.readouterr().out


def test_a_tuner_out_of_reach_keeps_its_jobs(lab: Lab, capsys: Capture) -> None:
    lab.experiment("far", claim=FAR)
    job = lab.start_trial("far", 0)
    assert cli.main(["stop", "far", "--yes"]) == 4
    assert "kill 77" in capsys.readouterr().err
    assert lab.state(job) == "InProgress"


def test_the_next_job_is_like_the_last(lab: Lab, capsys: Capture) -> None:
    lab.experiment("remote", backend="LocalBackend")
    more = {"spot": True, "tags": {"team": "a", "cloudtune-experiment": "remote"}, "hyperparameters": {"lr": 0.1}}
    lab.start_tuner("remote", checkpoint_s3_uri=f"s3://{lab.bucket}/cloudtune/remote/checkpoints", **more)
    assert cli.main(["resume", "remote"]) == 4
    lab.jobs.stop("remote")
    lab.ended("remote")
    assert cli.main(["resume", "remote"]) == 0
    assert "goes on in job remote-r2" in capsys.readouterr().out
    before, after = (request_of(lab, name) for name in ("remote", "remote-r2"))
    assert before == after
    assert before["EnableManagedSpotTraining"] and before["HyperParameters"] == {"lr": "0.1"}
    tags = lab.session.client("sagemaker").list_tags(ResourceArn=lab.jobs.describe("remote-r2").arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == more["tags"]
    assert cli.main(["resume", "remote"]) == 4
    assert "being tuned: job remote-r2" in capsys.readouterr().err
    until(lambda: lab.jobs.log_tail("remote-r2", 1) == ["begun"])
    assert cli.main(["stop", "remote", "--yes"]) == 0
    assert cli.main(["resume", "remote"]) == 0
    assert lab.state("remote-r3") == "InProgress"


def request_of(lab: Lab, name: str) -> dict[str, object]:
    keys = (
        "AlgorithmSpecification RoleArn OutputDataConfig ResourceConfig StoppingCondition HyperParameters "
        "Environment CheckpointConfig EnableManagedSpotTraining"
    )
    described = lab.session.client("sagemaker").describe_training_job(TrainingJobName=name)
    return {key: json.loads(json.dumps(described.get(key), default=str)) for key in keys.split()}


def test_what_cannot_go_on_here(lab: Lab, own_folder: Path, capsys: Capture) -> None:
    lab.experiment("local", backend="LocalBackend")
    assert cli.main(["resume", "local"]) == 2
    assert "on another machine" in capsys.readouterr().err
    where = lab.experiment("jobs")
    lab.put(where.state / "tuner.dill", "not unpickled")
    assert cli.main(["resume", "jobs"]) == 2
    assert "--trust" in capsys.readouterr().err
    assert not (own_folder / "jobs" / "tuner.dill").exists()
    assert cli.main(["resume", "jobs", "--trust"]) == 1  # now it is looked at, and is none
    assert "no snapshot" in capsys.readouterr().err
    lab.experiment("over", story(ended=True))
    assert cli.main(["resume", "over", "--trust"]) == 2
    write_journal(ExperimentPaths(own_folder / "bare"), story(), backend="LocalBackend")
    assert cli.main(["resume", "bare"]) == 3
    assert "Run the command again" in capsys.readouterr().err
