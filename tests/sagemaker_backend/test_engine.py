"""The backend against a cloud in which only that happens what a test wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_cloud import HandCloud, script, spec
from hand_desk import CAPACITY, TYPE, Desk

from cloudtune import StoppingCriterion
from cloudtune.backend import SageMakerBackend
from cloudtune.config_space import choice, randint
from cloudtune.errors import (
    AccessDenied,
    AwsError,
    InvalidRequest,
    QuotaExceeded,
    ServiceFailed,
    Throttled,
    Unreachable,
)
from cloudtune.experiment.ports import (
    AttemptEnded,
    CostSeen,
    ReportSeen,
)
from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.trial import Outcome, Trial


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def desk(cloud: HandCloud, tmp_path: Path) -> Desk:
    desk = Desk(cloud, tmp_path)
    desk.open()
    return desk


def test_a_trial_from_start_to_end(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    assert cloud.job("0-0").spec.environment["CLOUDTUNE_REPORTS_URI"].endswith("/tuner/reports/0-0")
    cloud.becomes("0-0", "InProgress", "Training")
    cloud.reports("0-0", 1, 2)
    desk.passes(5)
    assert desk.epochs() == [1, 2] and not desk.ends()
    cloud.reports("0-0", 3)
    cloud.ends("0-0", 3)
    cloud.becomes("0-0", "Completed", billable_s=60)
    news = desk.passes(5)
    # The cost comes before the end: whoever records the end has recorded the cost.
    assert [type(fact) for fact in news] == [ReportSeen, CostSeen, AttemptEnded]
    assert isinstance(news[1], CostSeen) and news[1].billed_s == 60 and news[1].final
    assert desk.ends()[0].outcome is Outcome.completed


def test_which_trials_wait_for_their_machines(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 1
    desk = Desk(cloud, tmp_path)
    desk.open()
    for trial_id in (0, 1):
        desk.start(trial_id)
    desk.passes(5)
    assert desk.backend.waiting() == {0, 1}  # for an instance, and for the quota
    cloud.becomes("0-0", "InProgress", "Training")
    desk.passes(5)
    assert desk.backend.waiting() == {1}
    cloud.becomes("0-0", "InProgress", "Restarting")  # elsewhere, after a spot interruption
    desk.passes(5)
    assert desk.backend.waiting() == {0, 1}
    desk.backend.close()
    assert desk.backend.waiting() == set()


def test_reports_that_come_with_the_end_are_not_hidden_by_a_stop(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "InProgress", "Training")
    cloud.reports("0-0", 1)
    desk.passes(3)
    desk.backend.stop(0, 0)
    desk.backend.stop(0, 0)
    desk.passes(3)
    assert cloud.job("0-0").stop_asked == 1
    cloud.reports("0-0", 2, 3)
    cloud.ends("0-0", 3, exit_code=143)
    cloud.becomes("0-0", "Stopped")
    desk.passes(5)
    assert desk.epochs() == [1, 2, 3]
    assert desk.ends()[0].outcome is Outcome.stopped


def test_an_answer_that_was_lost_creates_no_second_job(desk: Desk, cloud: HandCloud) -> None:
    cloud.lost_answers["create"] = [ServiceFailed("no answer")]
    desk.start(0)
    desk.passes(20)
    assert list(cloud.held) == ["0-0-tuner"]
    cloud.reports("0-0", 1)
    cloud.ends("0-0", 1)
    cloud.becomes("0-0", "Completed")
    desk.passes(10)
    assert desk.ends()[0].outcome is Outcome.completed


@pytest.mark.parametrize("error", [Throttled("slow down"), Unreachable("no network"), ServiceFailed("500")])
@pytest.mark.parametrize("call", ["create", "describe", "changed", "report_objects", "read_report", "stop"])
def test_what_may_pass_is_waited_out(desk: Desk, cloud: HandCloud, call: str, error: AwsError) -> None:
    cloud.errors[call] = [error] * 4
    desk.start(0)
    desk.passes(60)
    cloud.becomes("0-0", "InProgress", "Training")
    cloud.reports("0-0", 1)
    desk.passes(60)
    desk.backend.stop(0, 0)
    desk.passes(60)
    cloud.ends("0-0", 1, exit_code=143)
    cloud.becomes("0-0", "Stopped")
    desk.passes(60)
    assert not cloud.errors[call]
    assert desk.epochs() == [1] and desk.ends()[0].outcome is Outcome.stopped


def test_the_next_tuner_adopts_and_goes_on_reading(desk: Desk, cloud: HandCloud, tmp_path: Path) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "InProgress", "Training")
    cloud.reports("0-0", 1, 2)
    desk.passes(5)
    later = Desk(cloud, tmp_path, dict(desk.seen))
    later.open().adopt(Trial(0, {"lr": 0.1}, 0, cloud.clock.now()))
    cloud.reports("0-0", 3)
    cloud.ends("0-0", 3)
    cloud.becomes("0-0", "Completed")
    later.passes(10)
    assert later.epochs() == [3] and later.ends()[0].outcome is Outcome.completed
    assert len(cloud.held) == 1


def test_a_job_of_another_configuration_is_stopped_and_passed_over(cloud: HandCloud, tmp_path: Path) -> None:
    first = Desk(cloud, tmp_path)
    first.open()
    first.start(0, config={"lr": 0.5})
    first.passes(1)
    cloud.reports("0-0", 1)
    second = Desk(cloud, tmp_path)
    second.open()
    second.start(0, config={"lr": 0.25})
    second.passes(5)
    assert cloud.job("0-0").stop_asked == 1
    cloud.becomes("0-0", "Stopped")
    second.passes(5)
    assert cloud.job("0-0r1").spec.hyperparameters["lr"] == 0.25
    cloud.reports("0-0r1", 1)
    cloud.ends("0-0r1", 1)
    cloud.becomes("0-0r1", "Completed")
    second.passes(5)
    assert second.epochs() == [1] and second.ends()[0].outcome is Outcome.completed
    second.backend.retire(0, 0)
    second.passes(30)
    assert [label for label, _, _ in cloud.objects] == ["0-0"]


def test_a_job_of_an_earlier_experiment_of_that_name_is_passed_over(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "Completed")
    cloud.clock.sleep(3600)
    later = Desk(cloud, desk.folder)
    later.open()
    later.start(0)
    later.passes(2)
    assert "0-0r1-tuner" in cloud.held


def test_a_job_that_was_over_before_the_trial_began_is_passed_over(desk: Desk, cloud: HandCloud) -> None:
    """The experiment was removed and begun anew, perhaps with a script that was mended."""
    desk.start(0)
    desk.passes(1)
    cloud.reports("0-0", 1)
    cloud.ends("0-0", 1)
    cloud.becomes("0-0", "Completed")
    desk.passes(30)
    assert desk.ends()
    later = Desk(cloud, desk.folder)
    later.open()
    later.start(0)
    later.passes(30)
    assert "0-0r1-tuner" in cloud.held and not later.ends() and not later.epochs()


def test_no_instance_of_the_type_leads_to_the_next_type(cloud: HandCloud, tmp_path: Path) -> None:
    desk = Desk(cloud, tmp_path)
    desk.open(fallback_instance_types=["ml.c5.xlarge"])
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "Failed", reason=CAPACITY)
    desk.passes(10)
    assert not desk.ends()
    assert cloud.job("0-0r1").spec.instance_type == "ml.c5.xlarge"


def test_the_quota_is_kept_without_asking_when_it_is_known(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 2
    desk = Desk(cloud, tmp_path)
    desk.open()
    for trial_id in range(4):
        desk.start(trial_id)
    desk.passes(60)
    assert list(cloud.held) == ["0-0-tuner", "1-0-tuner"] and cloud.calls["create"] == 2
    cloud.ends("0-0", 0)
    cloud.becomes("0-0", "Completed")
    desk.passes(120)
    assert len(cloud.held) == 3


def test_the_quota_is_learnt_from_a_refusal(desk: Desk, cloud: HandCloud) -> None:
    text = (
        f"The account-level service limit '{TYPE} for training job usage' is 1 Instances, with current "
        "utilization of 1 Instances and a request delta of 1 Instances."
    )
    cloud.errors["create"] = [QuotaExceeded(text)] * 3
    desk.start(0)
    desk.passes(600)
    assert "0-0-tuner" in cloud.held and not desk.ends()


def test_a_quota_of_zero_ends_the_session(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 0
    desk = Desk(cloud, tmp_path)
    desk.open()
    desk.start(0)
    with pytest.raises(QuotaExceeded, match="quota"):
        desk.passes(1)


def test_what_is_not_allowed_at_all_ends_the_session(desk: Desk, cloud: HandCloud) -> None:
    cloud.errors["create"] = [AccessDenied("sagemaker:CreateTrainingJob is not allowed")]
    desk.start(0)
    with pytest.raises(AccessDenied):
        desk.passes(1)


def test_credentials_that_expire_later_are_waited_for(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(5)
    expired = [AccessDenied("ExpiredToken") for _ in range(5)]
    cloud.errors = {"create": expired[:3], "report_objects": list(expired), "changed": list(expired)}
    desk.start(1)
    desk.passes(300)
    assert "1-0-tuner" in cloud.held and not any(cloud.errors.values())


def test_a_trial_that_the_service_refuses_fails_alone(desk: Desk, cloud: HandCloud) -> None:
    cloud.errors["create"] = [InvalidRequest("hyperparameter too long")]
    desk.start(0)
    desk.start(1)
    desk.passes(5)
    assert [end.outcome for end in desk.ends()] == [Outcome.failed]
    assert "too long" in desk.ends()[0].reason and "1-0-tuner" in cloud.held


def test_a_job_that_may_not_write_to_s3_is_read_from_its_log(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "InProgress", "Training")
    cloud.job("0-0").log += [(0, "hello"), (0, '[tune-metric]: {"epoch": 1, "loss": 1.0}')]
    desk.passes(120)
    assert desk.epochs() == [1]
    cloud.job("0-0").log.append((0, '[tune-metric]: {"epoch": 2, "loss": 0.5}'))
    cloud.becomes("0-0", "Completed")
    desk.passes(300)
    assert desk.epochs() == [1, 2] and desk.ends()[0].outcome is Outcome.completed


def test_a_stream_that_was_torn_is_completed_from_the_log(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "InProgress", "Training")
    cloud.reports("0-0", 1, 2, 3)
    cloud.ends("0-0", 3)
    cloud.objects["0-0", 0, 0] = cloud.objects["0-0", 0, 0][:-150]
    cloud.job("0-0").log += [(0, f'[tune-metric]: {{"epoch": {epoch}, "loss": 1.0}}') for epoch in (1, 2, 3)]
    cloud.becomes("0-0", "Completed")
    desk.passes(300)
    assert desk.epochs() == [1, 2, 3] and desk.ends()[0].outcome is Outcome.completed


def test_jobs_that_no_tuner_knows_are_stopped(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.start(7)
    desk.passes(1)
    later = Desk(cloud, desk.folder)
    later.open()
    later.start(0)
    later.passes(200)
    assert cloud.job("7-0").stop_asked == 1 and cloud.job("0-0").stop_asked == 0


def test_a_listing_that_lags_is_no_end(desk: Desk, cloud: HandCloud) -> None:
    cloud.hidden.add("0-0-tuner")
    desk.start(0)
    desk.passes(600)
    assert not desk.ends()
    cloud.ends("0-0", 0)
    cloud.becomes("0-0", "Completed")
    desk.passes(300)
    assert desk.ends()[0].outcome is Outcome.completed


def test_a_stop_before_the_job_exists_creates_none(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 1
    desk = Desk(cloud, tmp_path)
    desk.open()
    desk.start(0)
    desk.start(1)
    desk.passes(5)
    desk.backend.stop(1, 0)
    desk.passes(10)
    assert [end.outcome for end in desk.ends()] == [Outcome.stopped]
    assert list(cloud.held) == ["0-0-tuner"]


def test_a_clone_begins_with_the_checkpoint_of_its_source(desk: Desk, cloud: HandCloud) -> None:
    cloud.checkpoints[0] = "of trial 0"
    cloud.errors["create"] = [Throttled("slow down")]
    desk.start(1, checkpoint_trial_id=0)
    desk.passes(10)
    assert cloud.checkpoints[1] == "of trial 0" and cloud.calls["copy_checkpoint"] == 1
    assert "1-0-tuner" in cloud.held


def test_checkpoints_that_come_back_are_deleted_again(desk: Desk, cloud: HandCloud) -> None:
    cloud.checkpoints[0] = "a"
    desk.backend.delete_checkpoint(0)
    desk.passes(1)
    assert 0 not in cloud.checkpoints
    cloud.checkpoints[0] = "uploaded once more by the dying job"
    desk.passes(40)
    assert 0 not in cloud.checkpoints


def test_closing_sends_what_was_asked_and_lets_warm_instances_go(cloud: HandCloud, tmp_path: Path) -> None:
    desk = Desk(cloud, tmp_path)
    desk.open(keep_alive_s=600)
    desk.start(0)
    desk.passes(1)
    cloud.ends("0-0", 0)
    cloud.becomes("0-0", "Completed", warm_pool_status="Available")
    desk.passes(5)
    assert desk.ends()
    desk.backend.close()
    assert cloud.released == ["0-0-tuner"]


def test_calls_do_not_grow_with_the_number_of_running_trials(tmp_path: Path) -> None:
    """One listing of reports, one of jobs, and a look at one single job now and then."""

    def calls(count: int) -> dict[str, int]:
        cloud = HandCloud()
        desk = Desk(cloud, tmp_path)
        desk.open()
        for trial_id in range(count):
            desk.start(trial_id)
        desk.passes(300)
        for trial_id in range(count):
            cloud.becomes(f"{trial_id}-0", "InProgress", "Training")
        desk.passes(300)
        cloud.calls.clear()
        desk.passes(100)
        return dict(cloud.calls)

    few, many = calls(4), calls(200)
    assert sum(many.values()) <= sum(few.values()) + 100 / 2
    assert many["changed"] == few["changed"] and many["report_objects"] == few["report_objects"]


def test_the_highest_cost_is_that_of_the_dearest_instances_that_a_trial_may_get(
    cloud: HandCloud, tmp_path: Path
) -> None:
    backend = SageMakerBackend(
        spec(instance_type=TYPE),
        entry_point=script(tmp_path),
        fallback_instance_types=["ml.c5.xlarge"],
        cloud=cloud,
    )
    stop = StoppingCriterion(max_wallclock_time=3600)
    tuned = {"st_instance_type": choice(["ml.m5.xlarge", "ml.m5.4xlarge"]), "st_instance_count": randint(1, 3)}
    assert "2 workers with 1 x ml.c5.xlarge" in str(backend.highest_cost(2, stop, {"lr": 0.1}))
    assert "2 workers with 3 x ml.m5.4xlarge" in str(backend.highest_cost(2, stop, tuned))


def test_a_job_that_was_stopped_before_its_script_began_is_over_at_once(desk: Desk, cloud: HandCloud) -> None:
    """Other jobs have written to S3: this one could have, too, and had nothing to say."""
    desk.start(0)
    desk.start(1)
    desk.passes(1)
    for label in ("0-0", "1-0"):
        cloud.becomes(label, "InProgress", "Training")
    cloud.reports("0-0", 1)
    desk.passes(5)
    desk.backend.stop(1, 0)
    desk.passes(3)
    cloud.becomes("1-0", "Stopped")
    desk.passes(6)
    assert [(end.trial_id, end.outcome) for end in desk.ends()] == [(1, Outcome.stopped)]
    assert cloud.calls["log_page"] == 0
