"""Tuners on a virtual clock."""

from __future__ import annotations

from typing import Any

from cloudtune.clock import VirtualClock
from cloudtune.config_space import uniform
from cloudtune.experiment.events import Event
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import ScriptedWorld
from cloudtune.tuner import Tuner

SPACE = {"x": uniform(0, 1), "epochs": 9}


def world(clock: VirtualClock, **overrides: Any) -> ScriptedWorld:
    arguments: dict[str, Any] = {
        "curve": lambda config, level: {"loss": config["x"] + 1 / level, "time": 10.0 * level},
        "epoch_s": 10.0,
        "max_resource_attr": "epochs",
        **overrides,
    }
    return ScriptedWorld(clock, **arguments)


def random_search(**arguments: Any) -> RandomSearch:
    return RandomSearch(
        SPACE, metric="loss", resource_attr="epoch", max_resource_attr="epochs", **{"random_seed": 3, **arguments}
    )


def asha(**arguments: Any) -> ASHA:
    return ASHA(
        SPACE, metric="loss", resource_attr="epoch", max_resource_attr="epochs", **{"random_seed": 3, **arguments}
    )


def simulated_tuner(criterion: Any, scheduler: Any = None, n_workers: int = 4, **arguments: Any) -> Tuner:
    clock = VirtualClock()
    of_world = arguments.pop("world", {})
    return Tuner(
        ScriptedBackend(world(clock, **of_world)),
        scheduler or random_search(),
        criterion,
        n_workers,
        clock=clock,
        tuner_name=arguments.pop("tuner_name", "sim"),
        suffix_tuner_name=arguments.pop("suffix_tuner_name", False),
        **arguments,
    )


def journal(tuner: Tuner) -> list[Event]:
    return FileStore(ExperimentPaths(tuner.paths.dir)).read()


def kinds(tuner: Tuner, kind: str) -> list[Any]:
    return [event for event in journal(tuner) if event.kind == kind]
