"""Instances that are kept warm: used again, paid for while they wait, and let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hand_cloud import HandCloud
from hand_desk import TYPE, Desk

from cloudtune.errors import ServiceFailed, Throttled
from cloudtune.experiment.ports import CostSeen, Fact
from cloudtune.instance_info import price_per_hour
from cloudtune.sagemaker_backend.ports import Usage


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def desk(cloud: HandCloud, tmp_path: Path) -> Desk:
    desk = Desk(cloud, tmp_path)
    desk.open(keep_alive_s=600)
    return desk


def runs_and_ends(desk: Desk, label: str, warm_pool: str = "Available") -> None:
    desk.passes(2)
    desk.cloud.becomes(label, "InProgress", "Training")
    desk.cloud.ends(label, 0)
    desk.passes(3)
    desk.cloud.becomes(label, "Completed", billable_s=60, warm_pool_status=warm_pool)


def pool_costs(facts: Sequence[Fact], job: str = "0-0-tuner") -> list[CostSeen]:
    return [fact for fact in facts if isinstance(fact, CostSeen) and fact.source == f"warm pool of {job}"]


def becomes_of_pool(cloud: HandCloud, label: str, status: str, seconds: int) -> None:
    """The service says so from now on."""
    job = cloud.job(label)
    job.status = replace(
        job.status, warm_pool_status=status, retained_billable_s=seconds, last_modified=cloud.clock.now()
    )


def test_what_it_costs_to_keep_instances_is_told_as_it_grows_and_for_good(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    runs_and_ends(desk, "0-0")
    desk.passes(200)
    told = pool_costs(desk.facts)
    assert len(told) >= 5 and not any(cost.final for cost in told)
    assert told[0].billed_s < told[-1].billed_s
    desk.start(1)
    desk.passes(1)
    becomes_of_pool(cloud, "0-0", "Reused", 201)
    news = pool_costs(desk.passes(120))
    assert [(cost.final, cost.billed_s, cost.trial_id) for cost in news] == [(True, 201.0, None)]
    assert news[0].usd == pytest.approx(201 / 3600 * (price_per_hour(TYPE) or 0.0))
    assert pool_costs(desk.passes(900)) == []


def test_a_pool_that_nobody_uses_is_told_when_it_has_ended(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    runs_and_ends(desk, "0-0")
    desk.passes(590)
    becomes_of_pool(cloud, "0-0", "Terminated", 600)
    told = pool_costs(desk.passes(200))
    assert [cost.billed_s for cost in told if cost.final] == [600.0]
    describes = cloud.calls["describe"]
    desk.passes(900)
    assert cloud.calls["describe"] == describes


def test_no_pool_costs_nothing(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    runs_and_ends(desk, "0-0", warm_pool="")
    desk.passes(300)
    assert pool_costs(desk.facts) == []
    desk.backend.close()
    assert cloud.released == []


def test_pools_of_an_earlier_session_are_used_counted_and_released(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    runs_and_ends(desk, "0-0")
    cloud.limits[TYPE, Usage.on_demand] = 1
    later = Desk(cloud, desk.folder)
    later.open(keep_alive_s=600)
    later.passes(100)
    assert pool_costs(later.facts)
    later.start(1)  # on the instance that is kept: the quota has no other
    later.passes(2)
    assert "1-0-tuner" in cloud.held
    becomes_of_pool(cloud, "0-0", "Reused", 100)
    cloud.ends("1-0", 0)
    cloud.becomes("1-0", "Completed", billable_s=60, warm_pool_status="Available")
    later.passes(20)
    later.backend.close()
    assert cloud.released == ["1-0-tuner"]


def test_what_became_of_pools_while_no_tuner_was_there_is_told_once(desk: Desk, cloud: HandCloud) -> None:
    for trial_id in range(3):
        desk.start(trial_id)
        runs_and_ends(desk, f"{trial_id}-0")
    desk.passes(60)
    cloud.clock.sleep(5000)  # the tuner is dead
    for trial_id, seconds in enumerate((600, 70, 80)):
        becomes_of_pool(cloud, f"{trial_id}-0", "Terminated", seconds)
    later = Desk(cloud, desk.folder)
    later.open(unsettled=["warm pool of 0-0-tuner", "warm pool of 1-0-tuner", "0-0-other"], keep_alive_s=600)
    describes = cloud.calls["describe"]
    later.passes(100)
    for job, seconds in (("0-0-tuner", 600.0), ("1-0-tuner", 70.0)):
        assert [(cost.final, cost.billed_s) for cost in pool_costs(later.facts, job)] == [(True, seconds)]
    assert pool_costs(later.facts, "2-0-tuner") == [], "its cost is known"
    assert cloud.calls["describe"] == describes + 2
    later.backend.close()
    assert cloud.released == []


def test_one_pool_that_cannot_be_released_holds_no_other(desk: Desk, cloud: HandCloud) -> None:
    for trial_id in range(3):
        desk.start(trial_id)
        desk.passes(2)
    for trial_id in range(3):
        runs_and_ends(desk, f"{trial_id}-0")
    desk.passes(5)
    cloud.broken["release_warm_pool", "1-0-tuner"] = ServiceFailed("500")
    desk.backend.close()
    assert cloud.released == ["0-0-tuner", "2-0-tuner"]


def test_pools_are_let_go_although_the_service_is_slow_to_listen(desk: Desk, cloud: HandCloud) -> None:
    """Each that is forgotten is paid for until its time is over."""
    for trial_id in range(6):
        desk.start(trial_id)
    for trial_id in range(6):
        runs_and_ends(desk, f"{trial_id}-0")
    desk.passes(5)
    cloud.errors["release_warm_pool"] = [Throttled("Rate exceeded") for _ in range(5)]
    desk.backend.close()
    assert sorted(cloud.released) == [f"{trial_id}-0-tuner" for trial_id in range(6)]


def test_a_pool_that_is_taken_counts_no_more_whatever_describe_says(cloud: HandCloud, tmp_path: Path) -> None:
    cloud.limits[TYPE, Usage.on_demand] = 3
    desk = Desk(cloud, tmp_path)
    desk.open(keep_alive_s=600)
    desk.start(0)
    runs_and_ends(desk, "0-0")
    desk.passes(5)
    cloud.stale["0-0-tuner"] = cloud.job("0-0").status  # it goes on saying that it is available
    desk.start(1)  # on the instance that is kept
    desk.passes(5)
    desk.start(2, config={"lr": 0.1, "st_instance_count": 2})
    desk.passes(5)
    assert "2-0-tuner" in cloud.held


def test_what_describe_says_of_earlier_times_ends_no_pool(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(2)
    running = replace(cloud.job("0-0").status, warm_pool_status="InUse")
    runs_and_ends(desk, "0-0")
    cloud.stale["0-0-tuner"] = running
    later = Desk(cloud, desk.folder)
    later.open(keep_alive_s=600)
    later.passes(5)
    cloud.stale.clear()
    later.passes(60)
    later.backend.close()
    assert cloud.released == ["0-0-tuner"]


def test_many_jobs_that_have_left_instances_leave_nothing_behind(desk: Desk, cloud: HandCloud) -> None:
    for trial_id in range(30):
        desk.start(trial_id)
        runs_and_ends(desk, f"{trial_id}-0")
        if trial_id:
            becomes_of_pool(cloud, f"{trial_id - 1}-0", "Reused", 5)
        desk.passes(30)
    told = [
        cost for cost in desk.facts if isinstance(cost, CostSeen) and cost.source.startswith("warm") and cost.final
    ]
    assert len(told) == len({cost.source for cost in told}) == 29
    desk.backend.close()
    assert cloud.released == ["29-0-tuner"]


def test_instances_that_wait_are_let_go_although_other_jobs_go_on(desk: Desk, cloud: HandCloud) -> None:
    """A session that is interrupted waits for no job to end, and nobody knows when the next one begins."""
    desk.start(1)
    desk.passes(2)
    desk.start(0)
    runs_and_ends(desk, "0-0")
    desk.passes(5)
    desk.backend.close()
    assert cloud.released == ["0-0-tuner"]
