"""A tuner in a job that starts a job for each trial: what is sent, and, on the emulator, what comes of it."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_rig import SCRIPTS, eventually

from cloudtune import StoppingCriterion, Tuner
from cloudtune.aws.code_archive import CodeArchive
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.backend import LocalBackend, SageMakerBackend
from cloudtune.config_space import uniform
from cloudtune.emulator import SageMakerEmulator
from cloudtune.errors import SpecError
from cloudtune.experiment import events as ev
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.loading import load_experiment
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri
from cloudtune.remote import RemoteLauncher, remote_launcher
from cloudtune.remote.remote_launcher import SMALL_INSTANCE_TYPE
from cloudtune.remote.tuner_package import as_code, build_tuner_archive
from cloudtune.remote.tuning_job import JobResources, TuningJob, tuning_job_spec
from cloudtune.sagemaker_backend.billing import TUNER_INSTANCE
from cloudtune.sagemaker_backend.own_instance import OwnInstance
from cloudtune.sagemaker_backend.trial_package import build_trial_archive
from cloudtune.stores.file import FileStore
from cloudtune.testing.journal_checks import check_journal

SCRIPT = SCRIPTS / "checkpoint_example" / "checkpoint_example.py"
TRIAL = TrainingJobSpec("", "", "", "", instance_type="ml.m5.large", volume_size_gb=1, max_run_s=600)
ROLE = "arn:aws:iam::123456789012:role/tuner"


def make_tuner(backend: Any, name: str = "jobs", epochs: int = 5, epoch_s: float = 0.02) -> Tuner:
    space = {"num_epochs": epochs, "multiplier": uniform(0.5, 1.5), "sleep_time": epoch_s}
    search = RandomSearch(space, metric="train_acc", mode="max", random_seed=7, resource_attr="epoch")
    return Tuner(
        backend,
        search,
        StoppingCriterion(max_num_trials_started=3, max_wallclock_time=300),
        n_workers=2,
        tuner_name=name,
        suffix_tuner_name=False,
    )


def files_of(archive: CodeArchive) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers() if m.isfile()}


def unpack(archive: CodeArchive, folder: Path) -> Path:
    for name, content in files_of(archive).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A script below the folder that travels, and a package beside that."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "train.py").write_text("pass\n")
    (folder / "data.txt").write_text("1\n")
    (folder / "requirements.txt").write_text("scikit-learn>=1.4\n")
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("")
    return folder


def test_all_that_trials_need_travels_with_the_tuner_and_from_there_to_them(project: Path, tmp_path: Path) -> None:
    """The jobs of trials get from the tuner's job what they would have got from the laptop."""
    backend = SageMakerBackend(
        TRIAL, entry_point="src/train.py", source_dir=project, dependencies=[project.parent / "helpers"]
    )
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks" / "requirements.txt").write_text("tqdm\n")
    from_laptop = build_trial_archive(backend.template)

    archive = build_tuner_archive(make_tuner(backend), [tmp_path / "callbacks"])
    files = files_of(archive)
    assert {"tuner/script/src/train.py", "tuner/script/data.txt", "helpers/__init__.py"} <= set(files)
    required = files["requirements.txt"].decode()
    assert "tqdm" in required and "scikit-learn" not in required, "trials install what the script requires"

    job = unpack(archive, tmp_path / "job")
    backend.move_code(job / "tuner" / "script", packages=job)
    assert backend.entrypoint_path() == job / "tuner" / "script" / "src" / "train.py"
    assert as_code(make_tuner(backend)).code_folders() == [job / "tuner" / "script", job / "helpers"]
    assert build_trial_archive(backend.template).digest == from_laptop.digest


def spec_of(trials_role_arn: str | None, **resources: Any) -> TrainingJobSpec:
    job = TuningJob(
        "jobs",
        "jobs",
        S3ExperimentPaths.of("bucket", "jobs"),
        S3Uri("bucket", "code"),
        ["run.py"],
        {},
        600.0,
        4,
        trials_role_arn=trials_role_arn,
    )
    return tuning_job_spec(job, JobResources("ml.m5.large", ROLE, "image", **resources), "us-east-1")


def test_the_platform_does_not_touch_the_checkpoints_of_other_jobs() -> None:
    """It would restore, upload and delete below the prefix that the trials' jobs share."""
    assert spec_of(None).checkpoint_s3_uri == "s3://bucket/cloudtune/jobs/checkpoints"
    request = create_training_job_request(spec_of("arn:aws:iam::123456789012:role/trials"))
    validate_request(request)
    assert "CheckpointConfig" not in request
    assert request["Environment"]["AWS_ROLE"] == "arn:aws:iam::123456789012:role/trials"


def test_the_tuner_knows_what_its_own_instance_costs() -> None:
    alone = spec_of(ROLE, spot=True).environment
    assert "CLOUDTUNE_PRICE_PER_HOUR" not in json.dumps(alone), "no trial shares it"
    assert OwnInstance.of_job(alone, "us-east-1") is None, "before the supervisor has begun"
    since = {"CLOUDTUNE_TUNER_SINCE": "1000.0"}
    spot, full = (
        OwnInstance.of_job({**spec_of(ROLE, spot=spot).environment, **since}, "us-east-1")
        for spot in (True, False)
    )
    assert spot is not None and full is not None
    cost = full.cost(4600.0)
    assert (cost.billed_s, cost.final, cost.trial_id) == (3600.0, False, None)
    assert 0 < spot.cost(4600.0).usd < cost.usd
    assert cost.source.startswith(TUNER_INSTANCE)
    later = OwnInstance(full.rate, 2000.0).cost(4600.0)
    assert later.source != cost.source, "two instances, both paid for"


def test_what_does_not_go_together_is_refused() -> None:
    tuner = make_tuner(SageMakerBackend(TRIAL, entry_point=SCRIPT, s3_path="s3://bucket/mine"))
    with pytest.raises(SpecError, match="jobs of their own"):
        RemoteLauncher(tuner, checkpoint_s3_uri="s3://bucket/checkpoints")
    assert RemoteLauncher(tuner).instance_type == SMALL_INSTANCE_TYPE
    assert RemoteLauncher(make_tuner(LocalBackend(SCRIPT))).instance_type == "ml.c5.4xlarge"


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    """Room for a tuner and two trials; the environment points to it."""
    monkeypatch.setattr(remote_launcher, "_LOOK_AT_EMULATOR_S", 0.2)
    with SageMakerEmulator(max_parallel_jobs=3) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        yield aws


def journal(experiment: ExperimentResult) -> list[ev.Event]:
    return FileStore(ExperimentPaths(experiment.path)).read()


def test_a_tuner_that_loses_its_instance_comes_back_to_its_trials(
    roomy: SageMakerEmulator, tmp_path: Path
) -> None:
    """Trials train on meanwhile: nothing is lost, nothing told twice, and no job is made twice."""
    epochs = 100
    tuner = make_tuner(SageMakerBackend(TRIAL, entry_point=SCRIPT), epochs=epochs, epoch_s=0.05)
    errors: list[BaseException] = []

    def launch() -> None:
        try:
            RemoteLauncher(tuner, use_spot_instances=True, max_run=600, volume_size=1).run()
        except BaseException as error:  # noqa: BLE001  shown by the test
            errors.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    training = {"0-0-jobs", "1-0-jobs"}
    eventually(lambda: errors or load_quietly(tmp_path) >= 10)
    assert errors == []
    roomy.interrupt("jobs")
    thread.join(250)
    assert not thread.is_alive()
    assert errors == []

    found = load_experiment("jobs", local_path=tmp_path / "empty")
    events = journal(found)
    assert found.ended
    assert check_journal(events, "epoch", "num_epochs") == []
    assert found.num_reports == 3 * epochs
    assert sum(event.kind == "session_started" for event in events) == 2
    assert [event.outcome for event in events if isinstance(event, ev.TrialEnded)] == ["completed"] * 3
    names = [job["TrainingJobName"] for job in roomy.jobs()]
    assert sorted(names) == ["0-0-jobs", "1-0-jobs", "2-0-jobs", "jobs"]
    assert training <= set(names)


def load_quietly(tmp_path: Path) -> int:
    from cloudtune.errors import NotFound

    try:
        return load_experiment("jobs", local_path=tmp_path / "watch").num_reports
    except NotFound:
        return 0
