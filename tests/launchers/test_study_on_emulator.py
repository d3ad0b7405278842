"""Whole studies, small ones, on an emulator that runs their jobs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from launcher_helpers import ENTRY_POINT

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.daemon import clear_state, running_daemon, stop_daemon
from cloudtune.experiments import ExperimentResult, load_experiments
from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.launch_remote_local import launch_remote

pytest_plugins = ["cloudtune.emulator.pytest_plugin"]

TWO = {name: methods[name] for name in ("RS", "ASHA")}
HEIGHT = ["--benchmark", "train_height", "--max_wallclock_time", "5"]
TRAIN_HEIGHT_EPOCHS = 27


def launch(*argv: str) -> int:
    return launch_remote(ENTRY_POINT, TWO, real_benchmark_definitions, argv=[*HEIGHT, *argv])


@pytest.fixture
def daemon(own_folder: Path) -> Iterator[Path]:
    """The emulator that the launcher starts by itself is ended; yields the folder of experiments."""
    yield own_folder
    stop_daemon()


def names_of(aws: SageMakerEmulator) -> list[str]:
    return sorted(job["TrainingJobName"] for job in aws.jobs())


def assert_every_report_once(experiments: list[ExperimentResult]) -> None:
    for experiment in experiments:
        assert experiment.ended and experiment.num_reports > 0, experiment.name
        levels = experiment.results[["trial_id", "epoch"]]
        assert not levels.duplicated().any()
        for _, reported in levels.groupby("trial_id"):
            assert list(reported["epoch"]) == list(range(1, len(reported) + 1))
            assert len(reported) <= TRAIN_HEIGHT_EPOCHS


def test_a_study_from_launch_to_picture(daemon: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("--experiment_tag", "demo", "--num_seeds", "2") == 0
    said = capsys.readouterr()
    assert "no AWS credentials found" in said.err and "aws configure" in said.err
    assert "4 jobs submitted." in said.err and "4 of 4 jobs done" in said.err
    assert "train_height: mean_loss" in said.out
    assert "RS" in said.out and "ASHA" in said.out
    picture = daemon / "demo" / "comparison.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and f"Picture: {picture}" in said.out
    found = load_experiments("demo", download_if_not_found=False)
    assert sorted((e.metadata["algorithm"], e.metadata["seed"]) for e in found) == [
        (method, seed) for method in ("ASHA", "RS") for seed in (0, 1)
    ]
    assert_every_report_once(found)

    assert launch("--experiment_tag", "demo", "--num_seeds", "2", "--method", "RS") == 0  # nothing left to do
    said = capsys.readouterr()
    assert "Already complete: 2 of 2 experiments." in said.err
    assert "ASHA" in said.out  # the study is compared as a whole
    emulator = running_daemon()
    assert emulator is not None and len(emulator.jobs()) == 4

    stop_daemon()  # what it keeps is found again, on the next day, say
    again = load_experiments("demo", local_path=daemon / "elsewhere")
    assert [e.num_reports for e in again] == [e.num_reports for e in found]

    clear_state()  # it forgets its jobs; results stay
    assert launch("--experiment_tag", "demo", "--num_seeds", "2") == 0
    said = capsys.readouterr()
    assert "Already complete: 4 of 4 experiments." in said.err and "submitted" not in said.err
    assert "RS" in said.out and "ASHA" in said.out


def test_jobs_that_lose_their_instances(daemon: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--method", "ASHA", "--spot", "--interrupt_after", "1"]
    assert launch("--experiment_tag", "spot", *arguments) == 0
    assert "1 of 1 jobs done" in capsys.readouterr().err
    emulator = running_daemon()
    assert emulator is not None
    for job in emulator.jobs():
        phases = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
        assert phases.count("Interrupted") == 1 and phases[-1] == "Completed"
    assert_every_report_once(load_experiments("spot", download_if_not_found=False))


def test_an_interrupted_launch_is_continued_without_doubling_jobs(
    sagemaker_emulator: SageMakerEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    quickly = ["--experiment_tag", "demo", "--no_wait", "--yes"]
    assert launch(*quickly, "--method", "ASHA") == 0  # as far as the first launch came
    assert names_of(sagemaker_emulator) == ["demo-train-height-ASHA-0"]
    with ThreadPoolExecutor(2) as pool:  # continued, twice at once
        assert list(pool.map(lambda _: launch(*quickly, "--num_seeds", "2"), range(2))) == [0, 0]
    expected = sorted(f"demo-train-height-{method}-{seed}" for method in TWO for seed in (0, 1))
    assert names_of(sagemaker_emulator) == expected
    capsys.readouterr()
    assert launch(*quickly, "--num_seeds", "2") == 0
    assert "4 jobs there already (" in capsys.readouterr().err
    assert names_of(sagemaker_emulator) == expected


def test_code_is_uploaded_once(sagemaker_emulator: SageMakerEmulator) -> None:
    from cloudtune.aws.objects import S3Objects
    from cloudtune.aws.session import AwsSession
    from cloudtune.paths import S3Uri

    session = AwsSession()
    for tag in ("one", "two"):
        assert launch("--experiment_tag", tag, "--no_wait", "--yes") == 0
    archives = list(S3Objects(session).list(S3Uri(session.default_bucket(), "cloudtune/_code")))
    assert len(archives) == 1


def test_a_study_keeps_its_settings(
    sagemaker_emulator: SageMakerEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = ["--experiment_tag", "demo", "--no_wait", "--yes", "--method", "RS"]
    assert launch(*launched) == 0
    capsys.readouterr()
    assert launch(*launched, "--n_workers", "1", "--num_seeds", "2") == 2
    said = capsys.readouterr().err
    assert "Study demo was launched with --n_workers 4 on train_height; this command says --n_workers 1." in said
    assert names_of(sagemaker_emulator) == ["demo-train-height-RS-0"]
    assert launch(*launched, "--max_failures", "9", "--max_run", "2000", "--spot", "--num_seeds", "2") == 0
    assert names_of(sagemaker_emulator) == ["demo-train-height-RS-0", "demo-train-height-RS-1"]


def test_only_new_jobs_are_asked_for(
    sagemaker_emulator: SageMakerEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """To pytest, standard input is no terminal: a question is an error."""
    launched = ["--experiment_tag", "paid", "--method", "RS"]
    assert launch(*launched, "--no_wait") == 2
    assert "Add --yes" in capsys.readouterr().err and names_of(sagemaker_emulator) == []
    assert launch(*launched, "--no_wait", "--yes") == 0
    assert "Study paid: 1 job on ml.m5.large" in capsys.readouterr().err
    assert launch(*launched) == 0  # to wait costs nothing
    assert "Study paid: 1 job of an earlier launch, none to be started." in capsys.readouterr().err
    assert launch(*launched, "--num_seeds", "3") == 2
    said = capsys.readouterr().err
    assert "Study paid: 2 jobs on" in said and "Besides, there are 1 of an earlier launch." in said
    assert names_of(sagemaker_emulator) == ["paid-train-height-RS-0"]
