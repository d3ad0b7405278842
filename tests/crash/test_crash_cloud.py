"""SageMakerBackend dies at every call, on the simulated cloud: jobs go on, and whatever else goes wrong does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from cloud_lab import SCHEDULERS, CloudRig

from cloudtune.emulator.faults.kinds import RequestError
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.simulated_cloud import CloudSettings, FileFaults, QuotaChange, SimulatedCloud
from cloudtune.testing.crash_anywhere import (
    Laboratory,
    crash_anywhere,
    error_anywhere,
    problems_of,
    relay,
    same_trials,
    undisturbed,
)
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Outcome

FAULTS = (
    Fault(0, 0, 2, Outcome.interrupted),
    Fault(1, 0, 1, Outcome.failed),
    Fault(2, 0, 1, Outcome.interrupted),
    Fault(2, 1, 1, Outcome.interrupted),
)
OFTEN = Scenario(
    "often",
    faults=(
        RequestError(("*:*",), "internal_error", probability=0.15),
        RequestError(("*:*",), "connection_reset", after_effect=True, probability=0.15),
    ),
)
#: What happens to jobs is the same with and without the crash: so are configurations, reports and decisions.
FAITHFUL: dict[str, dict[str, Any]] = {
    "calm": {},
    "late-checkpoints": {"settings": CloudSettings(file_faults=FileFaults(late_checkpoint=0.7))},
    "torn": {"settings": CloudSettings(file_faults=FileFaults(torn_reports=0.7))},
    "torn-for-ever": {"settings": CloudSettings(file_faults=FileFaults(torn_reports=0.7, repair_s=None))},
    "clock-jumps": {"settings": CloudSettings(clock_jumps=((60.0, 800.0), (150.0, -7200.0)))},
    "requests-fail": {"settings": CloudSettings(OFTEN)},
}
#: When, or whether, something happens to a job depends on when it was asked for.
OTHER: dict[str, dict[str, Any]] = {
    "realistic": {"settings": CloudSettings("realistic")},
    "script-faults": {"faults": FAULTS},
    "bad-day": {"settings": CloudSettings("bad_day")},
    "bad-day-on-spot": {"settings": CloudSettings("bad_day", seed=3), "spot": True},
    "quota": {
        "settings": CloudSettings(
            Scenario("quota", quotas=(("*", "on_demand", 2),)),
            quotas_readable=False,
            quota_changes=(QuotaChange(100.0, "*", "on_demand", 1),),
        ),
        "n_workers": 3,
    },
    "warm-pools": {
        "settings": CloudSettings(Scenario("warm", delays="realistic", quotas=(("*", "warm_pool", 2),))),
        "keep_alive_s": 300,
    },
}
WORLDS = {**FAITHFUL, **OTHER}


def make_laboratory(scheduler: str, world: str, folder: Path, **options: Any) -> Laboratory:
    (folder / "train.py").touch()
    # ASHA decides by what other trials have reported: the order is the same with one worker only.
    workers = {} if scheduler == "random" or world in OTHER else {"n_workers": 1}
    rig = CloudRig(scheduler, folder, **{**workers, **WORLDS[world], **options})
    return rig.laboratory(compare=same_trials if world in FAITHFUL else None, max_calls=20_000)


#: Of those with ASHA promotion, which asks most of a backend.
QUICK = ("torn-for-ever", "requests-fail", "bad-day-on-spot", "quota")
CASES = [
    pytest.param(
        scheduler,
        world,
        marks=[] if world == "calm" or (scheduler == "asha-promotion" and world in QUICK) else pytest.mark.slow,
    )
    for scheduler in SCHEDULERS
    for world in WORLDS
]


@pytest.mark.parametrize(("scheduler", "world"), CASES)
def test_crash(scheduler: str, world: str, tmp_path: Path) -> None:
    crash_anywhere(make_laboratory(scheduler, world, tmp_path), sample=3, seed=len(scheduler + world))


@pytest.mark.parametrize(("scheduler", "world"), CASES)
def test_error(scheduler: str, world: str, tmp_path: Path) -> None:
    error_anywhere(make_laboratory(scheduler, world, tmp_path), sample=4, seed=len(scheduler + world))


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_many_points(scheduler: str, world: str, tmp_path: Path) -> None:
    lab = make_laboratory(scheduler, world, tmp_path)
    assert crash_anywhere(lab, sample=60) + error_anywhere(lab, sample=40) == 100


@pytest.mark.parametrize("world", ["calm", "bad-day-on-spot"])
def test_asked_to_end_again_and_again(world: str, tmp_path: Path) -> None:
    rng = random.Random(world)
    turns = [rng.randrange(10, 120) for _ in range(12)] + [10**9] * 5
    story = relay(make_laboratory("asha-promotion", world, tmp_path, turns=lambda: turns.pop(0)))
    assert problems_of(story) == []
    assert len(story.lives) > 2


@pytest.mark.parametrize("world", WORLDS)
def test_nothing_is_left(world: str, tmp_path: Path) -> None:
    """No checkpoint of any trial, once those that were to be deleted have been."""
    story = undisturbed(make_laboratory("asha-promotion", world, tmp_path))
    cloud = story.world
    assert isinstance(cloud, SimulatedCloud)
    assert cloud.checkpoints(cloud.where("experiment")) == {}
