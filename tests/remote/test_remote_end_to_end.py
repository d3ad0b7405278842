"""RemoteLauncher on the emulator: jobs that really run, are interrupted, stopped, and fail."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from remote_rig import SCRIPTS, eventually

from cloudtune import StoppingCriterion, Tuner
from cloudtune.aws.job_status import JobState
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.backend import LocalBackend
from cloudtune.clock import WallClock
from cloudtune.config_space import uniform
from cloudtune.emulator import SageMakerEmulator
from cloudtune.errors import AccessDenied, JobFailed, ResourceNotFound, SpecError
from cloudtune.experiment import events as ev
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.loading import load_experiment
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths
from cloudtune.remote import RemoteLauncher, remote_launcher
from cloudtune.stores.file import FileStore
from cloudtune.testing.journal_checks import check_journal

SCRIPT = SCRIPTS / "checkpoint_example" / "checkpoint_example.py"
#: The emulator prices nothing: the cheapest that can be named.
OPTIONS: dict[str, Any] = {"instance_type": "ml.c5.xlarge", "volume_size": 1}


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_launcher, "_LOOK_AT_EMULATOR_S", 0.2)


def make_tuner(name: str, num_trials: int, epochs: int = 6, epoch_s: float = 0.02, **options: Any) -> Tuner:
    space = {"num_epochs": epochs, "multiplier": uniform(0.5, 1.5), "sleep_time": epoch_s}
    search = RandomSearch(space, metric="train_acc", mode="max", random_seed=7, resource_attr="epoch")
    criterion = options.pop("stop_criterion", None) or StoppingCriterion(max_num_trials_started=num_trials)
    return Tuner(
        LocalBackend(options.pop("script", SCRIPT), grace_period_s=1.0),
        search,
        criterion,
        n_workers=2,
        tuner_name=name,
        suffix_tuner_name=False,
        **options,
    )


def journal(experiment: ExperimentResult) -> list[ev.Event]:
    return FileStore(ExperimentPaths(experiment.path)).read()


def jobs() -> TrainingJobs:
    return TrainingJobs(AwsSession(), WallClock())


def count_in_s3(name: str, kind: bytes) -> int:
    objects, where = S3Objects(AwsSession()), S3ExperimentPaths.of(AwsSession().default_bucket(), name)
    return sum(objects.get(item.uri).count(kind) for item in objects.list(where.state / "journal"))


def reports_in_s3(name: str) -> int:
    return count_in_s3(name, b"trial_reported")


def test_a_tuner_is_shipped_run_and_loaded(
    aws: SageMakerEmulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = 4
    finished = closure(wanted)
    tuner = make_tuner("shipped", 1, stop_criterion=finished, metadata={"benchmark": "example"})
    RemoteLauncher(tuner, store_logs_localbackend=True, **OPTIONS).run()

    found = load_experiment("shipped", local_path=tmp_path / "empty")
    assert found.ended
    assert found.metadata["benchmark"] == "example"
    assert found.status is not None
    assert found.status.num_trials_finished >= wanted
    assert check_journal(journal(found), "epoch") == []
    assert load_experiment("shipped", load_tuner=True).tuner.best_config()[0] == found.best_config()["trial_id"]
    said = capfd.readouterr().err
    assert "Job shipped submitted." in said
    assert "reports, best train_acc" in said
    assert "load_experiment('shipped')" in said
    described = aws.jobs()[-1]
    assert described["TrainingJobName"] == "shipped"
    metrics = {item["MetricName"]: item["Value"] for item in described.get("FinalMetricDataList", [])}
    assert metrics["best_metric_value"] == pytest.approx(found.best_config()["train_acc"])
    assert metrics["best_trial_id"] == found.best_config()["trial_id"]
    log = "\n".join(jobs().log_tail("shipped", 1000))
    assert '"best_hp_multiplier":' in log
    objects, where = S3Objects(AwsSession()), S3ExperimentPaths.of(AwsSession().default_bucket(), "shipped")
    assert b"[tune-metric]" in objects.get(where.logs / "0/std.out")


def closure(wanted: int) -> Any:
    """A closure: it is not importable in the job, and travels by value."""
    return lambda status: status.num_trials_finished >= wanted


def test_an_interruption_loses_and_doubles_nothing(aws: SageMakerEmulator, tmp_path: Path) -> None:
    """The instance is taken away without notice; a person looks at the results all the while."""
    epochs = 160  # long enough that the second interruption does not come too late on a busy machine
    tuner = make_tuner("interrupted", 4, epochs=epochs, epoch_s=0.05)
    errors: list[BaseException] = []

    def launch() -> None:
        try:
            RemoteLauncher(tuner, use_spot_instances=True, max_run=600, **OPTIONS).run()
        except BaseException as error:  # noqa: BLE001  shown by the test
            errors.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    seen = 0
    for session in (1, 2):
        # An interruption of a job that is still coming back would hit no session.
        eventually(lambda least=session: count_in_s3("interrupted", b"session_started") >= least)
        eventually(lambda least=seen + 20: reports_in_s3("interrupted") >= least)
        aws.interrupt("interrupted")
        seen = load_experiment("interrupted", local_path=tmp_path / "watch").num_reports
        assert seen >= 20
    thread.join(250)
    assert not thread.is_alive()
    assert errors == []

    found = load_experiment("interrupted", local_path=tmp_path / "empty")
    events = journal(found)
    assert check_journal(events, "epoch", "num_epochs") == []
    assert found.num_reports == 4 * epochs
    assert sum(event.kind == "session_started" for event in events) == 3
    outcomes = [event.outcome for event in events if isinstance(event, ev.TrialEnded)]
    assert outcomes.count("completed") == 4
    assert 2 <= outcomes.count("interrupted") <= 4
    values = found.results.set_index(["trial_id", "epoch"])["train_acc"]
    for trial_id, config in ((e.trial_id, e.config) for e in events if isinstance(e, ev.TrialStarted)):
        value = 0.0
        for epoch in range(1, epochs + 1):
            value = (value + 1) * config["multiplier"]
            assert values[trial_id, epoch] == pytest.approx(value), "a trial went on from the wrong checkpoint"


def test_stopping_saves_everything_and_the_next_job_continues(aws: SageMakerEmulator, tmp_path: Path) -> None:
    epochs = 120  # long enough that no trial is done when the stop arrives on a busy machine

    def launch(wait: bool) -> None:
        RemoteLauncher(make_tuner("stopped", 2, epochs=epochs, epoch_s=0.05), **OPTIONS).run(wait=wait)

    launch(wait=False)
    eventually(lambda: reports_in_s3("stopped") >= 5)
    jobs().stop("stopped")
    with pytest.raises(JobFailed, match=r"stopped is Stopped"):
        follow("stopped")
    found = load_experiment("stopped", local_path=tmp_path / "empty")
    assert not found.ended
    events = journal(found)
    last = [event for event in events if isinstance(event, ev.TrialEnded)]
    assert [event.outcome for event in last] == ["interrupted", "interrupted"]
    assert events[-1] in last, "nothing is recorded after the trials have ended"
    assert found.status is not None
    assert found.status.num_trials_running == 0

    launch(wait=True)
    assert jobs().describe("stopped-r2").state is JobState.completed
    found = load_experiment("stopped", local_path=tmp_path / "empty")
    assert check_journal(journal(found), "epoch", "num_epochs") == []
    assert found.num_reports == 2 * epochs
    launch(wait=True)  # it has been done: the job is adopted, nothing runs again
    assert load_experiment("stopped", local_path=tmp_path / "third").num_reports == 2 * epochs


def follow(name: str) -> None:
    """Adopts the job and waits for it, as the same command does."""
    status = eventually(lambda: (found := jobs().describe(name)).state.is_final and found)
    raise JobFailed(f"{status.name} is {status.state}")


def test_a_failure_comes_back_with_reason_and_log(
    aws: SageMakerEmulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "code" / "broken.py"
    script.parent.mkdir()
    script.write_text("raise RuntimeError('the data is missing')\n")
    tuner = make_tuner("failing", 3, script=script, max_failures=0)
    with pytest.raises(JobFailed, match=r"(?s)failing is Failed.*the data is missing") as caught:
        RemoteLauncher(tuner, **OPTIONS).run()
    assert "max_failures" in str(caught.value)
    assert "error: failing: " in jobs().describe("failing").failure_reason
    again = make_tuner("failing", 3, script=script, max_failures=0)
    with pytest.raises(SpecError, match=r"failing is over: .*failed"):
        RemoteLauncher(again, **OPTIONS).run()
    with pytest.raises(ResourceNotFound):
        jobs().describe("failing-r2")  # nothing is paid for hearing it again


def test_what_ends_the_waiting_does_not_end_the_job(
    aws: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Credentials of a laptop expire while the job goes on."""

    def expired(*_: object) -> None:
        raise AccessDenied("Cannot describe training job: ExpiredToken", "Log in again.")

    monkeypatch.setattr(remote_launcher, "follow_job", expired)
    with pytest.raises(AccessDenied, match="ExpiredToken"):
        RemoteLauncher(make_tuner("overnight", 1), **OPTIONS).run()
    assert "The job overnight goes on; results so far: load_experiment('overnight')" in capfd.readouterr().err
    eventually(lambda: jobs().describe("overnight").state is JobState.completed)


def test_the_main_script_of_a_user(aws: SageMakerEmulator, tmp_path: Path) -> None:
    """Classes of ``__main__``, a helper beside the training script, a dependency, relative files."""
    code = tmp_path / "user"
    (code / "more").mkdir(parents=True)
    (code / "more" / "extra.py").write_text("VALUE = 5\n")
    (code / "width.txt").write_text("2.5")
    (code / "train.py").write_text(
        textwrap.dedent(
            """
            from more.extra import VALUE
            from cloudtune import Reporter
            report = Reporter()
            for step in range(1, 4):
                report(loss=VALUE * float(open("width.txt").read()) / step, step=step)
            """
        )
    )
    (tmp_path / "helpers.py").write_text("LIMIT = 2\n")
    (code / "launch.py").write_text(
        textwrap.dedent(
            """
            import sys
            sys.path.insert(0, "..")
            import helpers
            from cloudtune import StoppingCriterion, Tuner
            from cloudtune.backend import LocalBackend
            from cloudtune.config_space import uniform
            from cloudtune.optimizer.baselines import RandomSearch
            from cloudtune.remote import RemoteLauncher
            from cloudtune.tuner_callback import TunerCallback

            class Loud(TunerCallback):
                def on_trial_complete(self, trial, result):
                    print(f"LOUD {trial.trial_id} {helpers.LIMIT}", flush=True)

            tuner = Tuner(
                LocalBackend("train.py"), RandomSearch({"x": uniform(0, 1)}, metric="loss", random_seed=1),
                StoppingCriterion(max_num_trials_started=helpers.LIMIT), n_workers=2,
                callbacks=[Loud()], tuner_name="user-main", suffix_tuner_name=False,
            )
            RemoteLauncher(tuner, instance_type="ml.c5.xlarge", dependencies=["../helpers.py"]).run()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "launch.py"], cwd=code, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    log = "\n".join(jobs().log_tail("user-main", 1000))
    assert {"LOUD 0 2", "LOUD 1 2"} <= set(log.splitlines())
    assert load_experiment("user-main").best_config()["loss"] == pytest.approx(12.5 / 3)


def test_other_places_in_s3(aws: SageMakerEmulator, capfd: pytest.CaptureFixture[str]) -> None:
    bucket = AwsSession().default_bucket()
    tuner = make_tuner("elsewhere", 1)
    RemoteLauncher(tuner, s3_path=f"s3://{bucket}/team/vision", no_tuner_logging=True, **OPTIONS).run()
    objects = S3Objects(AwsSession())
    listed = [item.uri.key for item in objects.list(S3ExperimentPaths.of(bucket, "elsewhere", None).root)]
    assert listed == []
    where = f"s3://{bucket}/team/vision/elsewhere/state"
    assert f"aws s3 sync {where}" in capfd.readouterr().err
    uri = S3ExperimentPaths.of(bucket, "elsewhere", "vision", base="team").metadata
    assert objects.exists(uri)
    assert not any(" INFO " in line for line in jobs().log_tail("elsewhere", 100))
