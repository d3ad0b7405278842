"""The tuner dies at every call while costs limit what it may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paid_backend import PaidBackend
from simulated import world

from cloudtune.clock import Clock, VirtualClock
from cloudtune.config_space import uniform
from cloudtune.experiment import events as ev
from cloudtune.experiment.core import CoreOptions, ExperimentCore
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths
from cloudtune.stopping_criterion import StoppingCriterion
from cloudtune.stores import MemoryStore
from cloudtune.testing.crash_anywhere import Disk, Laboratory, crash_anywhere, undisturbed
from cloudtune.testing.scripted_world import ScriptedWorld
from cloudtune.tuner_loop import TunerLoop
from cloudtune.tuning_status import TuningStatus

COMMON: dict[str, Any] = {
    "config_space": {"x": uniform(0, 1), "epochs": 3},
    "metric": "loss",
    "resource_attr": "epoch",
    "max_resource_attr": "epochs",
    "random_seed": 3,
}


def disk() -> Disk:
    store = MemoryStore()
    return lambda: store


def paid_world() -> ScriptedWorld:
    return world(VirtualClock(), epoch_s=lambda config: 10.0 + config["x"])


def laboratory(promotion: bool, max_cost: float) -> Laboratory:
    def run_once(store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        scheduler: Scheduler = ASHA(type="promotion", **COMMON) if promotion else RandomSearch(**COMMON)
        status, criterion = TuningStatus(["loss"]), StoppingCriterion(max_cost=max_cost)
        core = ExperimentCore(
            scheduler,
            CoreOptions(n_workers=2),
            status,
            lambda: criterion.reason(status),
            criterion.may_start,
            lambda: criterion.lacks_room(status),
        )
        TunerLoop(core, backend, store, clock, ExperimentPaths(Path("/nowhere/experiment")), max_wait_s=30.0).run()

    return Laboratory(paid_world, disk, run_once, make_backend=PaidBackend)


@pytest.mark.parametrize(
    ("promotion", "max_cost", "reason"), [(False, 0.7, "leaves no room"), (True, 0.45, "is reached")]
)
def test_costs_and_decisions_are_those_of_the_undisturbed_run(
    promotion: bool, max_cost: float, reason: str
) -> None:
    lab = laboratory(promotion, max_cost)
    story = undisturbed(lab)
    costs = [event for event in story.events if isinstance(event, ev.CostMeasured)]
    assert len({event.source for event in costs if event.final}) >= 2
    assert any(reason in event.reason for event in story.events if isinstance(event, ev.TuningStopped))
    crash_anywhere(lab)
