"""The script of RemoteLauncher's job, run as the job runs it, but for the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from remote_rig import SCRIPTS

from cloudtune import StoppingCriterion, Tuner
from cloudtune.aws.session import AwsSession
from cloudtune.backend import LocalBackend
from cloudtune.config_space import uniform
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.paths import S3Uri
from cloudtune.remote import run_tuner
from cloudtune.remote.tuning_metrics import TuningMetrics
from cloudtune.snapshot import write_snapshot
from cloudtune.tuner_callback import TunerCallback

SCRIPT = SCRIPTS / "train_height" / "train_height.py"


class Job:
    def __init__(self, root: Path, s3_url: str, state: S3Uri) -> None:
        self.snapshot = root / "cloudtune/code/tuner/tuner.dill"
        script = root / "cloudtune/code/tuner/script/train.py"
        script.parent.mkdir(parents=True)
        script.write_bytes(SCRIPT.read_bytes())
        self._environment = {
            **os.environ,
            "CLOUDTUNE_ML_ROOT": str(root),
            "CLOUDTUNE_STATE_URI": str(state),
            "CLOUDTUNE_TUNER_NAME": "in-job",
            "AWS_ENDPOINT_URL": s3_url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, run_tuner.__file__, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def job(tmp_path: Path, s3_url: str, session: AwsSession, state: S3Uri) -> Job:
    return Job(tmp_path / "ml", s3_url, state)


def make_tuner(**options: Any) -> Tuner:
    space = {"steps": 3, "sleep_time": 0.01, "width": uniform(0, 20), "height": uniform(-100, 100)}
    search = RandomSearch(space, metric="mean_loss", random_seed=1)
    return Tuner(
        LocalBackend("/somewhere/else/train.py"), search, StoppingCriterion(max_num_trials_started=3), 2, **options
    )


def test_it_runs_the_tuner_with_the_script_of_the_archive(job: Job) -> None:
    write_snapshot(job.snapshot, make_tuner(), 0)
    done = job.run("--publish_tuning_metrics", "true")
    assert done.returncode == 0, done.stderr
    best = [json.loads(line.split(": ", 1)[1]) for line in done.stdout.splitlines() if "best_metric_value" in line]
    values = [line["best_metric_value"] for line in best]
    assert values == sorted(values, reverse=True), "each beats the one before"
    assert set(best[0]) == {
        "best_metric_value",
        "best_trial_id",
        "best_hp_steps",
        "best_hp_sleep_time",
        "best_hp_width",
        "best_hp_height",
        "st_worker_iter",
    }
    again = job.run("--publish_tuning_metrics", "false", "--no_tuner_logging", "true")
    assert again.returncode == 0, "it has ended: nothing is run"
    assert "best_metric_value" not in again.stdout
    assert again.stderr == ""


def test_another_python_is_named_with_its_remedy(job: Job) -> None:
    write_snapshot(job.snapshot, make_tuner(), 0)
    head, payload = job.snapshot.read_bytes().split(b"\n", 1)
    job.snapshot.write_bytes(json.dumps({**json.loads(head), "python": "3.7.1"}).encode() + b"\n" + payload)
    done = job.run()
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "Python 3.7.1" in done.stderr
    assert "image_uri" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_tuner_is_refused(job: Job) -> None:
    write_snapshot(job.snapshot, make_tuner(), 0)
    job.snapshot.write_bytes(job.snapshot.read_bytes()[:-7])
    done = job.run()
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_something_else_than_a_tuner_is_refused(job: Job) -> None:
    write_snapshot(job.snapshot, TunerCallback(), 0)
    done = job.run()
    assert done.returncode == 1
    assert "no Tuner" in done.stderr


def test_only_improvements_are_published(capfd: pytest.CaptureFixture[str]) -> None:
    space = {"x": uniform(0, 1)}
    search = RandomSearch(space, metric="acc", mode="max", random_seed=1, resource_attr="epoch")
    tuner = Tuner(LocalBackend(SCRIPT), search, StoppingCriterion(max_num_trials_started=1), 1)
    metrics = TuningMetrics()
    metrics.on_tuning_start(tuner)
    from cloudtune.optimizer.scheduler import SchedulerDecision
    from cloudtune.trial import Status, Trial

    trial = Trial(4, {"x": 0.25, "name": "text"}, 0)
    for epoch, value in enumerate([0.5, 0.5, float("nan"), 0.4, "text", 0.75], 1):
        result = {"acc": value, "epoch": epoch}
        metrics.on_trial_result(trial, Status.in_progress, result, SchedulerDecision.CONTINUE)
    lines = [json.loads(line.split(": ", 1)[1]) for line in capfd.readouterr().out.splitlines()]
    assert [(line["best_metric_value"], line["best_resource_value"]) for line in lines] == [(0.5, 1), (0.75, 6)]
    assert all(line["best_trial_id"] == 4 and line["best_hp_x"] == 0.25 for line in lines)
    assert "best_hp_name" not in lines[0]
