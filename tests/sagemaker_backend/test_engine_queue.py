"""Trials that wait for their jobs: none keeps another one waiting, and each is told its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_cloud import HandCloud
from hand_desk import CAPACITY, TYPE, Desk

from cloudtune.clock import VirtualClock
from cloudtune.errors import AccessDenied, InvalidRequest, QuotaExceeded, ResourceNotFound, ServiceFailed
from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.trial import Outcome, Trial

OTHER_TYPE = "ml.g5.xlarge"


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def desk(cloud: HandCloud, tmp_path: Path) -> Desk:
    desk = Desk(cloud, tmp_path)
    desk.open()
    return desk


def test_trials_that_wait_for_a_type_let_those_of_other_types_pass(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits = {(OTHER_TYPE, Usage.on_demand): 1, (TYPE, Usage.on_demand): 8}
    desk = Desk(cloud, tmp_path)
    desk.open()
    for trial_id in range(3):
        desk.start(trial_id, config={"st_instance_type": OTHER_TYPE})
    desk.start(3)
    desk.passes(5)
    assert list(cloud.held) == ["0-0-tuner", "3-0-tuner"]
    cloud.ends("0-0", 0)
    cloud.becomes("0-0", "Completed")
    desk.passes(120)
    assert "1-0-tuner" in cloud.held and "2-0-tuner" not in cloud.held


def test_a_large_trial_is_not_overtaken_by_small_ones_of_its_type(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 2
    desk = Desk(cloud, tmp_path)
    desk.open()
    desk.start(0)
    desk.passes(2)
    desk.start(1, config={"st_instance_count": 2})
    desk.start(2)
    desk.passes(60)
    assert list(cloud.held) == ["0-0-tuner"]


def test_a_trial_whose_job_cannot_be_created_keeps_no_other_waiting(desk: Desk, cloud: HandCloud) -> None:
    cloud.broken["create", "0-0-tuner"] = ServiceFailed("500, for whatever reason")
    desk.start(0)
    desk.start(1)
    desk.passes(5)
    assert list(cloud.held) == ["1-0-tuner"]
    desk.passes(600)
    desk.start(2)
    desk.passes(5)
    assert "2-0-tuner" in cloud.held
    assert cloud.calls["create"] < 30
    del cloud.broken["create", "0-0-tuner"]
    desk.passes(70)
    assert "0-0-tuner" in cloud.held


def test_a_wait_for_quota_is_no_busy_one_for_a_trial_that_has_failed_before(tmp_path: Path) -> None:
    class CountingClock(VirtualClock):
        pauses = 0

        def sleep(self, seconds: float) -> None:
            self.pauses += 1
            super().sleep(seconds)

    clock = CountingClock()
    cloud = HandCloud(clock)
    cloud.limits[TYPE, Usage.on_demand] = 1
    cloud.errors["create"] = [ServiceFailed("500"), ServiceFailed("500")]
    desk = Desk(cloud, tmp_path)
    desk.open()
    desk.start(0)
    desk.start(1)
    desk.passes(10)
    assert list(cloud.held) == ["0-0-tuner"]
    before = clock.pauses
    desk.passes(60)
    assert clock.pauses - before < 100


def test_an_outage_is_not_answered_by_a_call_for_each_trial(desk: Desk, cloud: HandCloud) -> None:
    cloud.errors["create"] = [ServiceFailed("500") for _ in range(10_000)]
    for trial_id in range(100):
        desk.start(trial_id)
    desk.passes(600)
    assert cloud.calls["create"] < 50
    cloud.errors.clear()
    desk.passes(120)
    assert len(cloud.held) == 100


def test_one_trial_alone_that_is_not_allowed_fails_in_the_end(desk: Desk, cloud: HandCloud) -> None:
    denied = AccessDenied("not with this instance type", code="AccessDeniedException")
    cloud.broken["create", "1-0-tuner"] = denied
    desk.start(0)
    desk.passes(5)
    desk.start(1)
    for trial_id in range(2, 8):
        desk.passes(60)
        desk.start(trial_id)
    desk.passes(60)
    assert len(cloud.held) == 7
    assert [(end.trial_id, end.outcome) for end in desk.ends()] == [(1, Outcome.failed)]
    assert "instance type" in desk.ends()[0].reason


def test_the_last_trial_that_is_not_allowed_is_not_waited_for_for_ever(desk: Desk, cloud: HandCloud) -> None:
    cloud.broken["create", "1-0-tuner"] = AccessDenied("no", code="AccessDeniedException")
    desk.start(0)
    desk.start(1)
    desk.passes(3 * 3600)
    assert [(end.trial_id, end.outcome) for end in desk.ends()] == [(1, Outcome.failed)]


def test_a_job_that_refers_to_what_does_not_exist_fails(desk: Desk, cloud: HandCloud) -> None:
    cloud.errors["create"] = [ResourceNotFound("no such subnet")]
    desk.start(0)
    desk.passes(5)
    assert [end.outcome for end in desk.ends()] == [Outcome.failed]


def test_a_trial_that_waits_behind_another_one_can_be_stopped(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 1
    desk = Desk(cloud, tmp_path)
    desk.open()
    for trial_id in range(3):
        desk.start(trial_id)
    desk.passes(5)
    desk.backend.stop(2, 0)
    desk.passes(5)
    assert [(end.trial_id, end.outcome) for end in desk.ends()] == [(2, Outcome.stopped)]


def test_a_stop_finds_the_job_whose_creation_was_not_answered(desk: Desk, cloud: HandCloud) -> None:
    """Also if Describe does not know of it at first."""
    cloud.lost_answers["create"] = [ServiceFailed("no answer")]
    cloud.broken["describe", "0-0-tuner"] = ResourceNotFound("not yet")
    desk.start(0)
    desk.passes(0.5)
    desk.backend.stop(0, 0)
    desk.passes(5)
    del cloud.broken["describe", "0-0-tuner"]
    desk.passes(30)
    assert cloud.job("0-0").stop_asked == 1
    cloud.becomes("0-0", "Stopped")
    desk.passes(10)
    assert [end.outcome for end in desk.ends()] == [Outcome.stopped]


def test_a_stop_whose_job_was_never_created_is_told_all_the_same(desk: Desk, cloud: HandCloud) -> None:
    cloud.errors["create"] = [ServiceFailed("no answer, and no effect")]
    desk.start(0)
    desk.passes(0.5)
    desk.backend.stop(0, 0)
    desk.passes(60)
    assert [end.outcome for end in desk.ends()] == [Outcome.stopped] and not cloud.held


def test_a_job_that_appears_after_its_trial_has_ended_is_stopped(desk: Desk, cloud: HandCloud) -> None:
    cloud.errors["create"] = [InvalidRequest("refused, as far as can be seen from here")]
    desk.start(0)
    desk.start(1)
    desk.passes(5)
    assert [end.trial_id for end in desk.ends()] == [0]
    cloud.create(cloud.job("1-0").spec.__class__(**{**vars(cloud.job("1-0").spec), "name": "0-0-tuner"}))
    desk.passes(200)
    assert cloud.job("0-0").stop_asked == 1 and cloud.job("1-0").stop_asked == 0


def test_a_name_that_is_in_use_by_what_cannot_be_seen_is_not_asked_for_all_the_time(
    desk: Desk, cloud: HandCloud
) -> None:
    cloud.lost_answers["create"] = [ServiceFailed("no answer")]
    cloud.broken["describe", "0-0-tuner"] = ResourceNotFound("not yet")
    desk.start(0)
    desk.passes(120)
    assert cloud.calls["create"] < 12 and not desk.ends()
    cloud.broken.clear()
    desk.passes(70)
    cloud.ends("0-0", 0)
    cloud.becomes("0-0", "Completed")
    desk.passes(20)
    assert [end.outcome for end in desk.ends()] == [Outcome.completed]


def test_somebody_else_stops_a_job_whose_creation_was_not_answered(desk: Desk, cloud: HandCloud) -> None:
    cloud.lost_answers["create"] = [ServiceFailed("no answer")]
    desk.start(0)
    desk.passes(10)
    cloud.becomes("0-0", "Stopped")
    desk.passes(10)
    assert [end.by_other for end in desk.ends()] == [True]


def test_a_clone_that_was_interrupted_before_it_began_still_gets_its_checkpoint(
    desk: Desk, cloud: HandCloud
) -> None:
    cloud.checkpoints[0] = "of trial 0"
    desk.start(1, attempt=1, checkpoint_trial_id=0)
    desk.start(2, attempt=1, checkpoint_trial_id=0, num_reports=4)
    desk.passes(5)
    assert cloud.checkpoints == {0: "of trial 0", 1: "of trial 0"}


def test_what_is_passed_over_ends_before_the_trial_begins_without_its_checkpoints(
    cloud: HandCloud, tmp_path: Path
) -> None:
    """Both jobs keep checkpoints in the same place."""
    first = Desk(cloud, tmp_path)
    first.open()
    first.start(0, config={"lr": 0.5})
    first.passes(1)
    cloud.checkpoints[0] = "of another configuration"
    second = Desk(cloud, tmp_path)
    second.open()
    second.start(0, config={"lr": 0.25})
    second.passes(30)
    assert cloud.job("0-0").stop_asked and list(cloud.held) == ["0-0-tuner"]
    cloud.becomes("0-0", "Stopped")
    second.passes(70)
    assert "0-0r1-tuner" in cloud.held and not cloud.checkpoints
    cloud.checkpoints[0] = "of this one"
    third = Desk(cloud, tmp_path)
    third.open()
    third.start(0, config={"lr": 0.25})
    third.passes(30)
    assert cloud.checkpoints[0] == "of this one"
    assert list(cloud.held) == ["0-0-tuner", "0-0r1-tuner"]


def test_a_quota_that_is_lowered_to_nothing_is_waited_out(desk: Desk, cloud: HandCloud) -> None:
    """What runs is worth more than an early end."""
    desk.start(0)
    desk.passes(5)
    text = f"The account-level service limit '{TYPE} for training job usage' is {{}} Instances, with current "
    text += "utilization of 0 Instances and a request delta of 1 Instances."
    cloud.errors["create"] = [QuotaExceeded(text.format(0))]
    desk.start(1)
    desk.passes(60)
    assert not desk.ends()


def test_many_running_jobs_are_adopted_at_once(desk: Desk, cloud: HandCloud) -> None:
    for trial_id in range(100):
        desk.start(trial_id)
    desk.passes(120)
    for trial_id in range(100):
        cloud.becomes(f"{trial_id}-0", "InProgress", "Training")
        cloud.reports(f"{trial_id}-0", 1)
    later = Desk(cloud, desk.folder)
    backend = later.open()
    for trial_id in range(100):
        backend.adopt(Trial(trial_id, {"lr": 0.1}, 0, cloud.clock.now()))
        later.seen.update(dict.fromkeys(desk.seen, 0))
    cloud.calls.clear()
    later.passes(3)
    assert len(later.epochs()) == 100
    assert cloud.calls["describe"] < 20


def test_a_job_in_the_listing_is_adopted_whatever_the_quota_says(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 1
    desk = Desk(cloud, tmp_path)
    desk.open()
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "Failed", reason=CAPACITY)
    desk.passes(120)
    assert "0-0r1-tuner" in cloud.held
    later = Desk(cloud, tmp_path)
    later.open()
    later.start(0)
    later.passes(1)
    cloud.becomes("0-0r1", "InProgress", "Training")
    cloud.reports("0-0r1", 1)
    later.passes(20)
    assert later.epochs() == [1]
    later.passes(200)
    assert cloud.job("0-0r1").stop_asked == 0


def test_many_jobs_without_reports_are_adopted_at_the_pace_of_the_service(desk: Desk, cloud: HandCloud) -> None:
    for trial_id in range(100):
        desk.start(trial_id)
    desk.passes(60)
    later = Desk(cloud, desk.folder)
    later.open()
    for trial_id in range(100):
        later.start(trial_id)
    cloud.calls.clear()
    later.passes(10)
    assert cloud.calls["describe"] <= 10 + 4 * 10 and cloud.calls["create"] == 0
    later.passes(60)
    for trial_id in range(100):
        cloud.reports(f"{trial_id}-0", 1)
    later.passes(5)
    assert len(later.epochs()) == 100
