"""What tuning can cost at most."""

from __future__ import annotations

from typing import Any

import pytest

from cloudtune.aws.cost import SPOT_SHARE, highest_cost, highest_cost_of_trials
from cloudtune.clock import WallClock
from cloudtune.instance_prices import LookedUp, keep
from cloudtune.job_spec import TrainingJobSpec

HOUR = 3600.0
PRICE = 0.115


def spec(**changes: Any) -> TrainingJobSpec:
    return TrainingJobSpec("job", "image", "role", "s3://bucket/output", **{"instance_count": 2, **changes})


def test_all_workers_are_busy_until_the_time_is_over_and_they_have_stopped() -> None:
    cost = highest_cost_of_trials(spec(), 4, HOUR)
    busy = 8 * PRICE
    assert busy < cost.usd < busy * 1.1
    assert "4 workers with 2 x ml.m5.large for 3,600 s" in str(cost)
    warm = highest_cost_of_trials(spec(keep_alive_s=600), 4, HOUR)
    assert warm.usd - cost.usd == pytest.approx(busy / 6)


def test_the_lower_limit_counts() -> None:
    by_time = highest_cost_of_trials(spec(), 4, HOUR)
    assert highest_cost_of_trials(spec(), 4, HOUR, 100.0) == by_time
    by_cost = highest_cost_of_trials(spec(), 4, HOUR, 0.5)
    assert 0.5 < by_cost.usd < 0.7 < by_time.usd
    assert "max_cost=$0.50" in str(by_cost)
    # What spot jobs have cost while they run is a guess: the limit may be overrun by so much.
    assert highest_cost_of_trials(spec(spot=True), 4, None, 1.0).usd > 1.0 / SPOT_SHARE


def test_trials_that_overlap_or_are_left_to_finish_cost_more() -> None:
    alone = highest_cost_of_trials(spec(max_run_s=7200), 4, HOUR)
    both = highest_cost_of_trials(spec(max_run_s=7200), 4, HOUR, overlap=True)
    assert both.usd == pytest.approx(2 * alone.usd)
    assert "4 workers with 2 x ml.m5.large (twice, while trials are stopping) for 3,600 s" in str(both)
    drained = highest_cost_of_trials(spec(max_run_s=7200), 4, HOUR, drain=True)
    assert drained.usd == pytest.approx(3 * 8 * PRICE)
    assert str(drained).endswith("until they have finished")
    limited = highest_cost_of_trials(spec(max_run_s=7200), 4, None, 1.0, drain=True)
    assert limited.usd > 1.0 + 2 * 8 * PRICE


def test_without_a_limit_it_says_what_an_hour_costs() -> None:
    cost = highest_cost_of_trials(spec(), 4)
    assert str(cost).startswith("without limit: 4 workers with 2 x ml.m5.large cost $0.92 an hour")


def test_the_tuners_instance_and_dearer_types() -> None:
    alone = highest_cost_of_trials(spec(), 1, HOUR)
    both = highest_cost_of_trials(spec(), 1, HOUR, None, ("ml.m5.xlarge", 2 * HOUR))
    assert both.usd - alone.usd == pytest.approx(2 * 0.23)
    assert "ml.m5.xlarge for the tuner" in str(both)
    dearer = highest_cost_of_trials(spec(), 1, HOUR, other_types=["ml.m5.xlarge", "ml.m4.large"])
    assert dearer.usd == pytest.approx(2 * alone.usd)


def test_prices_are_those_of_the_jobs_region() -> None:
    keep("eu-west-1", LookedUp("2026-11-02", WallClock().now(), {"ml.m5.large": 3 * PRICE}))
    here, there = (
        [highest_cost([spec()], name), highest_cost_of_trials(spec(), 4, HOUR, region=name)]
        for name in ("us-east-1", "eu-west-1")
    )
    assert [cost.usd for cost in there] == pytest.approx([3 * cost.usd for cost in here])


def test_unknown_prices_are_named() -> None:
    cost = highest_cost_of_trials(spec(instance_type="ml.z9.huge"), 4, HOUR, 5.0)
    assert str(cost) == "less than $0.01, and an unknown amount for ml.z9.huge (price not known)"
    some = highest_cost_of_trials(spec(), 4, HOUR, 0.01, other_types=["ml.z9.huge"])
    assert some.unknown_types == ("ml.z9.huge",)
    assert some.usd > 8 * PRICE  # an unknown price is no measured cost: max_cost limits nothing
