"""What schedulers accept, infer and refuse; names under which they are imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from cloudtune.config_space import randint, uniform
from cloudtune.errors import SpecError
from cloudtune.optimizer.baselines import ASHA, GridSearch, RandomSearch, baselines_dict
from cloudtune.optimizer.schedulers import FIFOScheduler, HyperbandScheduler
from cloudtune.optimizer.schedulers.levels import choose_levels
from cloudtune.optimizer.schedulers.searchers import GridSearcher, RandomSearcher

SPACE: dict[str, Any] = {"x": uniform(0, 1), "epochs": 27}


def hyperband(space: dict[str, Any] | None = None, **kwargs: Any) -> HyperbandScheduler:
    return HyperbandScheduler(SPACE if space is None else space, **{"metric": "loss", **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "levels"),
    [
        ({}, [1, 3, 9, 27]),
        ({"max_t": 30}, [1, 3, 9, 27, 30]),
        ({"grace_period": 2, "reduction_factor": 2}, [2, 4, 8, 16, 27]),
        ({"grace_period": 27}, [27]),
        ({"reduction_factor": 2.5}, [1, 2, 6, 16, 27]),
        ({"rung_increment": 10}, [1, 11, 21, 27]),
        ({"rung_increment": 13, "grace_period": 14}, [14, 27]),
        ({"rung_levels": [2, 5, 11]}, [2, 5, 11, 27]),
        ({"rung_levels": [2, 5, 27], "rung_increment": 4}, [2, 5, 27]),
        ({"reduction_factor": 3, "max_t": 243}, [1, 3, 9, 27, 81, 243]),
        ({"reduction_factor": 5, "max_t": 125}, [1, 5, 25, 125]),
    ],
)
def test_rung_levels(kwargs: dict[str, Any], levels: list[int]) -> None:
    assert hyperband(**kwargs).rung_levels() == levels


def test_no_levels_between() -> None:
    assert choose_levels(1, 1, 3, None, None) == []


@pytest.mark.parametrize(
    ("constants", "kwargs", "max_t"),
    [
        ({"max_epochs": 5, "max_t": 7, "epochs": 9}, {}, 9),
        ({"max_epochs": 5, "max_t": 7}, {}, 7),
        ({"max_epochs": 5}, {}, 5),
        ({"max_epochs": 5, "epochs": randint(1, 9)}, {}, 5),
        ({"epochs": 9, "steps": 4}, {"max_resource_attr": "steps"}, 4),
        ({"epochs": 9, "steps": 4}, {"max_resource_attr": "steps", "max_t": 3}, 3),
        ({}, {"max_resource_attr": "steps", "max_t": 3}, 3),
    ],
)
def test_max_level_is_inferred(constants: dict[str, Any], kwargs: dict[str, Any], max_t: int) -> None:
    scheduler = hyperband({"x": uniform(0, 1), **constants}, **kwargs)
    assert scheduler.max_t == scheduler.rung_levels()[-1] == max_t
    assert FIFOScheduler({"x": uniform(0, 1), **constants}, metric="loss", **kwargs).max_t == max_t


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"type": "pasha"}, ["type='pasha'", "stopping, promotion"]),
        ({"type": ["stopping"]}, ["type="]),
        ({"searcher_data": "rungs_and_last"}, ["rungs, all"]),
        ({"space": {"x": uniform(0, 1)}}, ["highest resource level", "max_resource_attr"]),
        ({"max_resource_attr": "steps"}, ["'steps'", "config_space"]),
        ({"max_resource_attr": "x"}, ["config_space['x']", "integer"]),
        ({"max_t": 0}, ["max_t=0"]),
        ({"max_t": 2.5}, ["max_t=2.5"]),
        ({"grace_period": 0}, ["grace_period=0"]),
        ({"grace_period": 28}, ["grace_period=28", "1 to 27"]),
        ({"reduction_factor": 1}, ["reduction_factor=1", "at least 2"]),
        ({"rung_increment": 0}, ["rung_increment=0"]),
        ({"rung_levels": [3]}, ["rung_levels=[3]", "two or more"]),
        ({"rung_levels": [3, 3]}, ["increasing"]),
        ({"rung_levels": [3, 28]}, ["at most 27"]),
        ({"rung_levels": [0, 3]}, ["rung_levels[0]=0"]),
        ({"brackets": 0}, ["brackets=0"]),
        ({"metric": ["a", "b"]}, ["one objective"]),
        ({"metric": ""}, ["metric=''"]),
        ({"mode": "minimize"}, ["mode='minimize'", '"min"']),
        ({"resource_attr": "loss"}, ["resource_attr='loss'"]),
        ({"resource_attr": None}, ["resource_attr=None"]),
        ({"searcher": "bayesian"}, ["'bayesian'", "random, grid"]),
        ({"searcher": 3}, ["is no searcher", "suggest"]),
        ({"searcher": RandomSearcher}, ["is no searcher"]),
        ({"search_options": {"num_init": 3}}, ["'num_init'", "allow_duplicates"]),
        ({"searcher": "grid", "search_options": {"allow": 3}}, ["'allow'", "num_samples"]),
        ({"searcher": RandomSearcher({"y": uniform(0, 1)})}, ["hyperparameters x, y"]),
        ({"searcher": RandomSearcher(SPACE), "points_to_evaluate": []}, ["points_to_evaluate", "RandomSearcher("]),
        ({"searcher": RandomSearcher(SPACE), "search_options": {}}, ["search_options"]),
        ({"points_to_evaluate": [{"x": 2}]}, ["x=2"]),
        ({"random_seed": 1.5}, ["random_seed=1.5"]),
    ],
)
def test_bad_arguments_are_refused_with_a_way_out(kwargs: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        hyperband(**kwargs)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("searcher", ["random", "grid"])
def test_options_of_model_based_searchers_make_no_difference(
    searcher: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Scripts of Syne Tune configure all methods alike."""
    caplog.set_level("INFO", logger="cloudtune")
    options = {"debug_log": False, "num_init_random": 6, "allow_duplicates": True}
    with_them = hyperband(searcher=searcher, search_options=options, random_seed=3)
    without = hyperband(searcher=searcher, search_options={"allow_duplicates": True}, random_seed=3)
    assert with_them.suggest(7) == without.suggest(7)
    assert with_them.metadata()["allow_duplicates"] is True
    assert "no use for the options debug_log, num_init_random" in caplog.text


def test_fifo_refuses_modes_that_do_not_match() -> None:
    with pytest.raises(SpecError, match="list of 2"):
        FIFOScheduler(SPACE, metric=["a", "b"], mode=["min"])
    with pytest.raises(SpecError, match="different"):
        FIFOScheduler(SPACE, metric=["a", "a"])


def test_searcher_objects_take_the_schedulers_seed_unless_they_have_one() -> None:
    drawn, given = RandomSearcher(SPACE), RandomSearcher(SPACE, random_seed=3)
    scheduler = FIFOScheduler(SPACE, searcher=drawn, metric="loss", random_seed=8)
    assert drawn.random_seed == 8
    scheduler.reseed(9)
    assert drawn.random_seed == 9
    FIFOScheduler(SPACE, searcher=given, metric="loss", random_seed=8)
    assert given.random_seed == 3
    FIFOScheduler(SPACE, searcher="grid", search_options={"num_samples": {"x": 3}}, metric="loss")


def test_the_callers_space_stays_as_it_is() -> None:
    space = dict(SPACE)
    scheduler = ASHA(space, "loss", "epoch", type="promotion", max_resource_attr="epochs", random_seed=0)
    scheduler.suggest(0)
    assert space == SPACE


def test_baselines() -> None:
    assert isinstance(RandomSearch(SPACE, "loss", random_seed=1).searcher, RandomSearcher)
    assert isinstance(GridSearch(SPACE, "loss").searcher, GridSearcher)
    asha = ASHA(SPACE, "loss", "step", mode="max", max_resource_attr="epochs", type="promotion")
    assert (asha.resource_attr, asha.metric_mode(), asha.type) == ("step", ["max"], "promotion")
    assert set(baselines_dict) == {"Random Search", "Grid Search", "ASHA"}
    with pytest.raises(SpecError, match="brings its own searcher"):
        RandomSearch(SPACE, "loss", searcher="grid")


def test_importing_schedulers_wakes_no_heavy_package() -> None:
    code = (
        "import sys, cloudtune.optimizer.baselines;"
        "print(sorted({'boto3', 'torch', 'dill', 'pandas', 'sagemaker', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
