"""A trial's job on the emulator, from its specification to the stream that it leaves in S3."""

from __future__ import annotations

import json
from pathlib import Path

from remote_rig import eventually
from trial_rig import TRAIN, metrics, records

from cloudtune.aws.code_archive import build_archive, upload_code
from cloudtune.aws.job_status import JobState
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.clock import WallClock
from cloudtune.emulator import SageMakerEmulator
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import S3ExperimentPaths
from cloudtune.remote import job_layout as layout
from cloudtune.remote import trial_layout as trial
from cloudtune.remote.tuning_job import package_folder

NUM_LEVELS = 20


def test_an_interrupted_spot_job_has_every_level_once(aws: SageMakerEmulator, tmp_path: Path) -> None:
    """Without notice; what was reported after the last synced checkpoint is made again."""
    session = AwsSession()
    objects, jobs = S3Objects(session), TrainingJobs(session, WallClock())
    bucket = session.default_bucket()
    where = S3ExperimentPaths.of(bucket, "spot-trial")
    begin = f"import os, signal\nis_first = not os.path.exists({str(tmp_path / 'again')!r})\n"
    script = begin + TRAIN + f"    if is_first and level == {NUM_LEVELS // 2}: signal.pause()\n"
    archive = build_archive(
        [(package_folder(), "cloudtune"), (script.encode(), f"{trial.SCRIPT_FOLDER}/train.py")]
    )
    reports = where.reports / "0-0"
    spec = TrainingJobSpec(
        name="0-0-spot-trial",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/any:1",
        role_arn=aws.role_arn,
        output_s3_uri=str(where.root / "output"),
        entrypoint=trial.ENTRYPOINT,
        hyperparameters={"num_levels": NUM_LEVELS},
        environment={
            layout.ENV_COMMAND: json.dumps(["train.py"]),
            trial.ENV_REPORTS_URI: str(reports),
            trial.ENV_RESOURCE_ATTR: "level",
            trial.ENV_SEEN_LEVEL: "0",
            "GATE": "/no/gates",
        },
        instance_type="ml.c5.xlarge",
        volume_size_gb=1,
        max_run_s=600,
        spot=True,
        checkpoint_s3_uri=str(where.checkpoints / "0"),
        channels={layout.CODE_CHANNEL: str(upload_code(objects, bucket, archive))},
    )
    jobs.create(spec)
    eventually(lambda: len(metrics(records(objects, reports))) == NUM_LEVELS // 2)
    (tmp_path / "again").touch()
    aws.interrupt(spec.name)
    status = eventually(lambda: (found := jobs.describe(spec.name)).state.is_final and found)
    assert status.state is JobState.completed, (status, jobs.log_tail(spec.name, 50))
    found = records(objects, reports)
    assert [report["level"] for report in metrics(found)] == list(range(1, NUM_LEVELS + 1))
    assert [record["run"] for record in found if record["kind"] == "hello"] == [0, 1]
    assert (found[-1]["kind"], found[-1]["count"], found[-1]["exit_code"]) == ("end", NUM_LEVELS, 0)
