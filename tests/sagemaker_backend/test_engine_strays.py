"""Jobs that run and that no tuner knows of are stopped, and what they have cost is told all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hand_cloud import HandCloud
from hand_desk import TYPE, Desk

from cloudtune.errors import ServiceFailed
from cloudtune.experiment.ports import CostSeen
from cloudtune.instance_info import price_per_hour


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def later(cloud: HandCloud, tmp_path: Path) -> Desk:
    """Of a session that does not know trials 6 and 7, which run; it has trial 0."""
    earlier = Desk(cloud, tmp_path)
    earlier.open()
    for trial_id in (6, 7):
        earlier.start(trial_id)
    earlier.passes(2)
    later = Desk(cloud, tmp_path)
    later.open()
    later.start(0)
    later.passes(90)
    assert cloud.job("6-0").stop_asked and cloud.job("7-0").stop_asked
    return later


def costs(desk: Desk) -> list[CostSeen]:
    return [fact for fact in desk.facts if isinstance(fact, CostSeen) and fact.trial_id in (6, 7)]


def test_what_strays_have_cost_is_told_when_they_have_ended(cloud: HandCloud, later: Desk) -> None:
    assert costs(later) == []
    cloud.errors["describe"] = [ServiceFailed("500")]
    cloud.becomes("6-0", "Stopped", billable_s=100)
    cloud.becomes("7-0", "Stopped")  # it had not begun
    later.passes(120)
    price = price_per_hour(TYPE)
    assert price is not None
    assert sorted((cost.source, cost.billed_s, cost.final) for cost in costs(later)) == [
        ("6-0-tuner", 100.0, True),
        ("7-0-tuner", 0.0, True),
    ]
    assert sum(cost.usd for cost in costs(later)) == pytest.approx(100 / 3600 * price)
    describes = cloud.calls["describe"]
    later.passes(100)
    assert cloud.calls["describe"] == describes, "nothing more is to be known of them"


def test_strays_that_are_gone_are_forgotten(cloud: HandCloud, later: Desk) -> None:
    for trial_id in (6, 7):
        del cloud.held[f"{trial_id}-0-tuner"]
    later.passes(100)
    describes = cloud.calls["describe"]
    later.passes(100)
    assert costs(later) == [] and cloud.calls["describe"] == describes
