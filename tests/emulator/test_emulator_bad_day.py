"""A bad day: everything goes wrong now and then, and patient clients get through; cloudtune is one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from emulator_rig import BUCKET, TERMINAL, Rig, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.experiments import load_experiments
from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.launch_remote_local import launch_remote

ENTRY_POINT = Path(__file__).resolve().parents[2] / "entry_points" / "hpo_main.py"
TRAIN_HEIGHT_EPOCHS = 27


@pytest.fixture
def bad_day(monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=2, scenario="bad_day", seed=1, time_scale=10) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        yield aws


def patient(service: str) -> Any:
    return boto3.client(service, config=Config(retries={"mode": "standard", "max_attempts": 10}))


def whole(s3: Any, key: str) -> bytes:
    """The object; read again where the connection was cut within it, which boto3 leaves to its user."""
    for _ in range(10):
        try:
            return bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        except BotoCoreError:
            continue
    raise AssertionError(f"{key} was cut ten times")


def create(sagemaker: Any, request: dict[str, Any]) -> None:
    """Also where the first answer is lost, and the retry finds the name in use."""
    try:
        sagemaker.create_training_job(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUse":
            raise


def test_a_small_job_runs_to_its_end(bad_day: SageMakerEmulator) -> None:
    bad_day.apply_scenario("calm")
    rig = Rig(bad_day.endpoint_url, bad_day.role_arn)
    code = "import urllib.request\nopen(f'{ROOT}/model/weights', 'w').write('1 2 3')\nprint('trained')"
    requests = [rig.request(f"small-{number}", code, spot=number % 2 == 0) for number in range(6)]
    bad_day.apply_scenario("bad_day", seed=1)
    sagemaker, s3 = patient("sagemaker"), patient("s3")
    for request in requests:
        create(sagemaker, request)

    def ended(name: str) -> dict[str, Any] | None:
        found = sagemaker.describe_training_job(TrainingJobName=name)
        return dict(found) if found["TrainingJobStatus"] in TERMINAL else None

    for request in requests:
        found = eventually(lambda name=request["TrainingJobName"]: ended(name), request["TrainingJobName"], 120)
        assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
        assert whole(s3, found["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/"))
    assert len({entry["fault"] for entry in bad_day.audit.entries("fault")}) > 2


def test_a_study_of_cloudtune_has_every_report_once(bad_day: SageMakerEmulator) -> None:
    arguments = ["--benchmark", "train_height", "--max_wallclock_time", "6", "--experiment_tag", "bad"]
    chosen = {"ASHA": methods["ASHA"]}
    launched = launch_remote(ENTRY_POINT, chosen, real_benchmark_definitions, argv=[*arguments, "--spot", "--yes"])
    assert launched == 0
    bad_day.apply_scenario("calm")
    found = load_experiments("bad", download_if_not_found=False)
    assert len(found) == 1
    for experiment in found:
        assert experiment.ended and experiment.num_reports > 0, experiment.name
        levels = experiment.results[["trial_id", "epoch"]]
        assert not levels.duplicated().any()
        for _, reported in levels.groupby("trial_id"):
            assert list(reported["epoch"]) == list(range(1, len(reported) + 1))
            assert len(reported) <= TRAIN_HEIGHT_EPOCHS
    struck = Counter(entry["fault"] for entry in bad_day.audit.entries("fault"))
    assert len(struck) > 2, struck


def test_a_realistic_job_waits_for_its_instances() -> None:
    with SageMakerEmulator(max_parallel_jobs=1, scenario="realistic", time_scale=100) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        found = rig.run("realistic", "print('trained')")
        assert found["TrainingJobStatus"] == "Completed"
        assert (found["TrainingStartTime"] - found["CreationTime"]).total_seconds() >= 60
