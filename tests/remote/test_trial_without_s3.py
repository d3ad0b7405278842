"""What of a trial's job works without S3: all but the reports there, and the pruning of checkpoints by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trial_rig import TRAIN, TrialJob

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.paths import S3Uri
from cloudtune.remote.level_follower import LevelFollower


def test_a_boto3_that_is_broken_is_as_good_as_none(trial_job: TrialJob, tmp_path: Path) -> None:
    """As a pyOpenSSL that does not fit its cryptography breaks it."""
    hidden = tmp_path / "hidden"
    (hidden / "boto3").mkdir(parents=True)
    (hidden / "boto3" / "__init__.py").write_text("raise AttributeError('module lib has no attribute X509')\n")
    trial_job.environment["PYTHONPATH"] = f"{hidden}:{trial_job.environment['PYTHONPATH']}"
    trial_job.script(TRAIN)
    trial_job.hyperparameters(num_levels=2)
    code, output, errors = trial_job.run()
    assert code == 0, errors
    assert output.count(b"[tune-metric]") == 2
    assert errors.count("S3 cannot be used. module lib has no attribute X509") == 1


def test_other_hosts_do_not_wait_for_what_cannot_be_read(
    session: AwsSession, state: S3Uri, capfd: pytest.CaptureFixture[str]
) -> None:
    def break_down(**_: Any) -> None:
        raise AttributeError("module lib has no attribute X509")

    session.client("s3").meta.events.register("before-send.s3", break_down)
    follower = LevelFollower(S3Objects(session), state / "reports/0-0", "level", lambda level: None)
    follower.start()
    assert follower.begun.wait(60)
    assert "cannot be read; this is retried. module lib has no attribute X509" in capfd.readouterr().err
