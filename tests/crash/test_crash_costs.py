"""What the journal says of cost is what the cloud has billed, to the second, however often the tuner dies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from test_crash_cloud import make_laboratory

from cloudtune.experiment import events as ev
from cloudtune.simulated_cloud import SimulatedCloud
from cloudtune.testing.crash_anywhere import crash_often


@pytest.mark.parametrize("world", ["calm", "script-faults", "bad-day-on-spot", "quota", "warm-pools"])
def test_every_job_costs_what_was_billed(world: str, tmp_path: Path) -> None:
    story = crash_often(make_laboratory("asha-promotion", world, tmp_path), random.Random(3), mean_calls=60.0)
    assert len(story.lives) > 1
    cloud = story.world
    assert isinstance(cloud, SimulatedCloud)
    told = {event.source: event for event in story.events if isinstance(event, ev.CostMeasured)}
    assert all(cost.final for source, cost in told.items() if not source.startswith("warm pool"))
    jobs = {job.name: job.billable_s or 0 for job in cloud.statuses()}
    assert {name: told[name].billed_s if name in told else 0 for name in jobs} == jobs
    assert sum(jobs.values()) > 0
    for job in cloud.statuses():
        pool = told.get(f"warm pool of {job.name}")
        if pool is not None and pool.final:
            assert pool.billed_s == job.retained_billable_s
