"""What is heard of jobs: every report and every end, whatever cannot be read for one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_cloud import HandCloud
from hand_desk import Desk

from cloudtune.errors import AccessDenied, ResourceNotFound, ServiceFailed
from cloudtune.experiment.ports import CostSeen
from cloudtune.trial import Outcome


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def desk(cloud: HandCloud, tmp_path: Path) -> Desk:
    desk = Desk(cloud, tmp_path)
    desk.open()
    return desk


def begin(desk: Desk, count: int) -> None:
    for trial_id in range(count):
        desk.start(trial_id)
    desk.passes(max(2, count / 2))
    for trial_id in range(count):
        desk.cloud.becomes(f"{trial_id}-0", "InProgress", "Training")
    desk.passes(3)


def end(desk: Desk, label: str, *epochs: int) -> None:
    desk.cloud.reports(label, *epochs)
    desk.cloud.ends(label, len(epochs))
    desk.cloud.becomes(label, "Completed")


def line(epoch: int) -> tuple[int, str]:
    return 0, f'[tune-metric]: {{"epoch": {epoch}, "loss": 1.0}}'


def test_details_that_cannot_be_read_of_one_job_keep_no_other_waiting(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 3)
    cloud.broken["describe", "0-0-tuner"] = ServiceFailed("500")
    for label in ("0-0", "1-0"):
        end(desk, label, 1)
    desk.passes(5)
    assert [found.trial_id for found in desk.ends()] == [1]
    desk.passes(600)
    end(desk, "2-0", 1)
    desk.passes(5)
    assert [found.trial_id for found in desk.ends()] == [1, 2]
    cloud.broken.clear()
    desk.passes(70)
    assert [found.trial_id for found in desk.ends()] == [1, 2, 0]


def test_a_description_that_is_behind_the_listing_is_waited_for_without_hurry(
    desk: Desk, cloud: HandCloud
) -> None:
    begin(desk, 30)
    for trial_id in range(20):
        cloud.stale[f"{trial_id}-0-tuner"] = cloud.job(f"{trial_id}-0").status
    for trial_id in range(30):
        end(desk, f"{trial_id}-0", 1)
    cloud.calls.clear()
    desk.passes(30)
    assert len(desk.ends()) == 10
    assert cloud.calls["describe"] <= 10 + 20 * 5
    cloud.stale.clear()
    desk.passes(70)
    assert len(desk.ends()) == 30


def test_a_job_whose_script_has_ended_is_looked_at_if_no_listing_tells_its_end(
    desk: Desk, cloud: HandCloud
) -> None:
    begin(desk, 1)
    cloud.hidden.add("0-0-tuner")
    end(desk, "0-0", 1)
    desk.passes(60)
    assert [found.outcome for found in desk.ends()] == [Outcome.completed]


def test_jobs_of_which_nothing_is_heard_are_looked_at_one_at_a_time(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 100)
    cloud.hidden.update(cloud.held)
    desk.passes(200)
    cloud.calls.clear()
    desk.passes(100)
    assert 40 <= cloud.calls["describe"] <= 51  # at the pace of listings


def test_a_log_that_may_not_be_read_is_not_waited_for_for_ever(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 2)
    cloud.broken["log_page", "0-0-tuner"] = AccessDenied("logs:GetLogEvents")
    for trial_id in range(2):
        cloud.job(f"{trial_id}-0").log.append(line(1))
        cloud.becomes(f"{trial_id}-0", "Failed", reason="AlgorithmError: exit code 1")
    desk.passes(60)
    assert [found.trial_id for found in desk.ends()] == [1]
    desk.passes(120)
    assert [found.trial_id for found in desk.ends()] == [1, 0]
    assert desk.epochs() == [1]


def test_a_log_that_cannot_be_read_now_is_waited_for_for_an_hour(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 1)
    cloud.broken["log_page", "0-0-tuner"] = ServiceFailed("500")
    cloud.job("0-0").log.append(line(1))
    cloud.becomes("0-0", "Failed", reason="AlgorithmError: exit code 1")
    desk.passes(1800)
    assert not desk.ends()
    cloud.broken.clear()
    desk.passes(120)
    assert desk.epochs() == [1] and len(desk.ends()) == 1


def test_an_object_that_is_not_there_yet_is_read_again(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 1)
    cloud.errors["read_report"] = [ResourceNotFound("NoSuchKey")]
    end(desk, "0-0", 1, 2)
    desk.passes(10)
    assert desk.epochs() == [1, 2] and len(desk.ends()) == 1


def test_an_object_that_cannot_be_read_delays_no_reports_of_others(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 2)
    cloud.broken["read_report", "0-0"] = AccessDenied("kms:Decrypt")
    cloud.reports("0-0", 1)
    cloud.job("0-0").log += [line(1), line(2)]
    for epoch in range(1, 40):  # trial 0's come from its log meanwhile
        cloud.reports("1-0", epoch)
        desk.passes(2)
        assert epoch in desk.epochs()[-3:]
    end(desk, "0-0", 2)
    desk.passes(600)
    assert [found.trial_id for found in desk.ends()] == [0]
    assert len(desk.epochs()) == 39 + 2


def test_a_job_that_could_not_write_its_last_words_is_completed_from_its_log(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 1)
    cloud.reports("0-0", 1)
    cloud.job("0-0").log += [line(1), line(2), line(3)]
    cloud.becomes("0-0", "Completed")
    desk.passes(60)
    assert desk.epochs() == [1, 2, 3] and len(desk.ends()) == 1


def test_a_run_torn_that_a_later_run_has_repeated_needs_no_log(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 1)
    cloud.reports("0-0", 1, 2)
    cloud.objects["0-0", 0, 0] = cloud.objects["0-0", 0, 0][:-9]
    desk.passes(3)
    cloud.reports("0-0", 2, 3, run=1)
    cloud.ends("0-0", 3, run=1)
    cloud.becomes("0-0", "Completed")
    desk.passes(5)
    assert desk.epochs() == [1, 2, 3] and len(desk.ends()) == 1
    assert cloud.calls["log_page"] == 0


def test_a_job_that_was_deleted_ends_and_its_trial_goes_on(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, 2)
    cloud.reports("0-0", 1)
    del cloud.held["0-0-tuner"]
    desk.passes(900)
    assert [(found.trial_id, found.outcome) for found in desk.ends()] == [(0, Outcome.interrupted)]
    assert desk.epochs() == [1]
    assert "gone" in desk.ends()[0].reason
    costs = [fact for fact in desk.facts if isinstance(fact, CostSeen) and fact.trial_id == 0]
    assert costs[-1].final and costs[-1].usd > 0  # nobody will ever tell more of it
