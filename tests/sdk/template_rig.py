"""What the tests of templates from SDK objects share: a user's code and data, its job, and a whole experiment."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from sdk_rig import Account

from cloudtune import StoppingCriterion, Tuner
from cloudtune.aws.code_archive import upload_code
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.backend import SageMakerBackend
from cloudtune.config_space import uniform
from cloudtune.experiments import load_experiment
from cloudtune.optimizer.baselines import ASHA
from cloudtune.paths import S3ExperimentPaths
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.template_completion import complete
from cloudtune.sagemaker_backend.trial_job_spec import TrialPlace, trial_job
from cloudtune.sagemaker_backend.trial_package import build_trial_archive
from cloudtune.trial import Trial

#: Knows its own arguments and no others; reads its data where SageMaker says, and its constant from a package.
SCRIPT = """
import argparse, os
from pathlib import Path
from cloudtune import Reporter
from cloudtune.checkpointing import (
    add_checkpointing_to_argparse, checkpoint_model_at_rung_level, resume_from_checkpointed_model,
)
from constant import OFFSET

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, required=True)
parser.add_argument("--label", required=True)
parser.add_argument("--epochs", type=int, required=True)
add_checkpointing_to_argparse(parser)
config = vars(parser.parse_args())
numbers = [float(text) for text in Path(os.environ["SM_CHANNEL_NUMBERS"], "numbers.csv").read_text().split(",")]
report = Reporter()
begin = resume_from_checkpointed_model(config, lambda folder: int(Path(folder, "epoch").read_text()))
save = lambda folder, level: Path(folder, "epoch").write_text(str(level))
for epoch in range(begin + 1, config["epochs"] + 1):
    checkpoint_model_at_rung_level(config, save, epoch)
    report(epoch=epoch, val_loss=-1.0, loss=config["x"] * sum(numbers) + OFFSET, label=config["label"])
Path(os.environ["SM_MODEL_DIR"], "model.json").write_text("{}")
"""
LABEL = 'it\'s a "q" $HOME'
OFFSET = 1e-05
NUMBERS = itertools.count()


def write_code(folder: Path) -> Path:
    """The script's folder."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "train.py").write_text(SCRIPT)
    return folder / "code"


def write_package(folder: Path) -> Path:
    """What the script imports."""
    (folder / "constant").mkdir(parents=True)
    (folder / "constant" / "__init__.py").write_text(f"OFFSET = {OFFSET!r}\n")
    return folder / "constant"


def write_data(account: Account) -> str:
    """S3 folder of the numbers 1, 2, 3."""
    bucket = AwsSession().default_bucket()
    account.s3.put_object(Bucket=bucket, Key="data/numbers.csv", Body=b"1,2,3")
    return f"s3://{bucket}/data/"


def run_as_job(account: Account, template: TrialTemplate) -> dict[str, Any]:
    """What becomes of the job of one trial, whose loss is 3.00001."""
    session = AwsSession()
    name = f"alone-{next(NUMBERS)}"
    where = S3ExperimentPaths.of(session.default_bucket(), name)
    code = upload_code(S3Objects(session), where.root.bucket, build_trial_archive(template))
    place = TrialPlace(name, where, code, session.region, (1, 3), "epoch")
    job = trial_job(complete(template, session), place, Trial(0, {"x": 0.5, "epochs": 2}), 0, 0)
    request = create_training_job_request(job)
    validate_request(request)
    account.sagemaker.create_training_job(**request)
    ended = account.ended(job.name)
    assert ended["TrainingJobStatus"] == "Completed", account.printed(job.name)
    return ended


def tune(backend: SageMakerBackend) -> Tuner:
    """An experiment of three trials, promoted from epoch 1 to 2."""
    scheduler = ASHA(
        {"x": uniform(0, 1), "epochs": 2},
        metric="loss",
        resource_attr="epoch",
        max_resource_attr="epochs",
        type="promotion",
        reduction_factor=2,
        random_seed=3,
    )
    tuner = Tuner(
        backend, scheduler, StoppingCriterion(max_num_trials_started=3), n_workers=2, tuner_name="of-an-sdk"
    )
    tuner.run()
    results = load_experiment(tuner.name).results
    assert results["epoch"].max() == 2
    assert not results.duplicated(["trial_id", "epoch"]).any()
    for _, row in results.iterrows():
        assert row["loss"] == row["config_x"] * 6 + OFFSET
        assert row["label"] == LABEL
    return tuner
