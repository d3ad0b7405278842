"""A machine is lost right after reports, while S3 is behind: they are made again, not skipped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from held_back_tune import EPOCHS, TRIALS
from remote_rig import SCRIPTS, eventually, processes_of

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.stores.file import FileStore
from cloudtune.testing.journal_checks import check_journal

#: Writes through cloudtune's helpers, which prune; the shipped example writes its own files, and keeps them.
WITH_HELPERS = """
    import argparse, json, os, sys, time
    from pathlib import Path
    from cloudtune import Reporter
    from cloudtune.checkpointing import checkpoint_model_at_rung_level, resume_from_checkpointed_model

    if os.environ["CLOUDTUNE_ATTEMPT"] != "0" and not Path(os.environ["CLOUDTUNE_SEEN_LEVEL_FILE"]).exists():
        sys.exit("Nobody has said what is recorded: all checkpoints would be taken for unsafe.")
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", type=int)
    parser.add_argument("--multiplier", type=float)
    parser.add_argument("--sleep_time", type=float)
    parser.add_argument("--st_checkpoint_dir")
    config = vars(parser.parse_args())
    value = 0.0

    def load(folder):
        global value
        epoch, value = json.loads((Path(folder) / "state.json").read_text())
        return epoch

    def save(folder, epoch):
        (Path(folder) / "state.json").write_text(json.dumps([epoch, value]))

    report = Reporter()
    for epoch in range(resume_from_checkpointed_model(config, load) + 1, config["num_epochs"] + 1):
        time.sleep(config["sleep_time"])
        value = (value + 1) * config["multiplier"]
        checkpoint_model_at_rung_level(config, save, epoch)
        report(train_acc=value, epoch=epoch)
"""


@pytest.fixture(params=["helpers", "own files"])
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "own files":
        return SCRIPTS / "checkpoint_example" / "checkpoint_example.py"
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(WITH_HELPERS))
    return path


def journal(machine: Path) -> list[ev.Event]:
    return FileStore(ExperimentPaths(machine / "held")).read()


def levels(events: list[ev.Event]) -> dict[int, int]:
    """The highest level of each trial."""
    reports = [event for event in events if isinstance(event, ev.TrialReported)]
    return {report.trial_id: report.metrics["epoch"] for report in reports}


def test_reports_that_were_lost_are_made_again(
    script: Path, tmp_path: Path, session: AwsSession, state: S3Uri, s3_url: str
) -> None:
    checkpoints = tmp_path / "checkpoints"  # what the platform brings back, newer than the journal
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }

    def tune(machine: Path, num_puts: int) -> subprocess.Popen[bytes]:
        words = [script, machine, checkpoints, state, num_puts]
        command = [sys.executable, str(Path(__file__).with_name("held_back_tune.py")), *map(str, words)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    machines = [tmp_path / f"machine-{number}" for number in range(3)]
    lost = 0
    for machine in machines[:2]:
        process = tune(machine, num_puts=3)
        try:
            enough = len(journal_in_s3(S3Objects(session), state, tmp_path / "look")) + 25
            eventually(lambda m=machine, n=enough: len(journal(m)) >= n, "reports run ahead of S3")
        finally:
            process.kill()
            for pid in processes_of(machine):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(timeout=60)
        eventually(lambda m=machine: not processes_of(m))
        here, there = journal(machine), journal_in_s3(S3Objects(session), state, tmp_path / "look")
        assert there == here[: len(there)], "S3 has a beginning of what was recorded"
        behind = {trial_id for trial_id, level in levels(here).items() if level > levels(there).get(trial_id, 0)}
        lost += len(behind)
        shutil.rmtree(machine)
    assert lost > 0

    last = tune(machines[2], num_puts=10**6)
    assert last.wait(timeout=250) == 0
    events = journal(machines[2])
    assert check_journal(events, "epoch", "num_epochs") == []
    assert not [e for e in events if isinstance(e, ev.TrialEnded) and e.outcome == "failed"]
    reports = [event for event in events if isinstance(event, ev.TrialReported)]
    assert len(reports) == TRIALS * EPOCHS
    multipliers = {e.trial_id: e.config["multiplier"] for e in events if isinstance(e, ev.TrialStarted)}
    values = dict.fromkeys(multipliers, 0.0)
    for report in reports:
        values[report.trial_id] = (values[report.trial_id] + 1) * multipliers[report.trial_id]
        assert report.metrics["train_acc"] == pytest.approx(values[report.trial_id])
    assert journal_in_s3(S3Objects(session), state, tmp_path / "look") == events
    resumed = [e for e in events if isinstance(e, ev.TrialReported) and e.attempt > 0]
    assert any(e.metrics["epoch"] - e.seq - 1 > 0 for e in resumed), "no attempt went on from a checkpoint"


def journal_in_s3(objects: S3Objects, state: S3Uri, folder: Path) -> list[ev.Event]:
    shutil.rmtree(folder, ignore_errors=True)
    objects.download_missing(state, folder / "held", include=lambda name: name.startswith("journal/"))
    return journal(folder)
