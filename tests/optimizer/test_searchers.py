"""Random and grid search."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.config_space import (
    Domain,
    choice,
    config_space_size,
    finrange,
    logfinrange,
    logordinal,
    lograndint,
    loguniform,
    ordinal,
    qlograndint,
    qrandint,
    quniform,
    randint,
    uniform,
)
from cloudtune.errors import SpecError
from cloudtune.optimizer.searchers import GridSearcher, RandomSearcher
from cloudtune.optimizer.searchers.pool import Pool
from cloudtune.optimizer.searchers.product import Product, axis_of

FINITE: dict[str, Domain] = {
    "choice": choice(["a", "b", True, 1.5]),
    "one": choice(["only"]),
    "randint": randint(-2, 3),
    "lograndint": lograndint(1, 9),
    "qrandint": qrandint(1, 20, 4),
    "qlograndint": qlograndint(3, 40, 6),
    "quniform": quniform(0.05, 1.0, 0.1),
    "finrange": finrange(0.1, 0.9, 5),
    "logfinrange": logfinrange(1, 100, 4, cast_int=True),
    "ordinal": ordinal(["low", "mid", "high"]),
    "nn": ordinal([1, 2, 10, 11]),
    "logordinal": logordinal([1, 8, 512]),
}


def drain(searcher: Any, limit: int = 10_000) -> list[dict[str, Any]]:
    """All that it suggests, each started."""
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        config = searcher.suggest(len(found))
        assert config == searcher.suggest(len(found))
        if config is None:
            break
        searcher.on_start(len(found), config)
        found.append(config)
    return found


@settings(max_examples=60)
@given(st.integers(0, 40), st.lists(st.integers(-2, 45), max_size=60))
def test_pool_is_a_set(size: int, taken: list[int]) -> None:
    pool, left = Pool(size), set(range(size))
    for number in taken:
        pool.take(number)
        left.discard(number)
        assert len(pool) == len(left)
        assert {pool[i] for i in range(len(pool))} == left
        assert (number in pool) is False


def test_pool_may_be_huge() -> None:
    pool = Pool(10**18)
    for number in (0, 10**18 - 1, 5, 10**18 - 2):
        pool.take(number)
    assert len(pool) == 10**18 - 4
    assert pool[0] != 0 and pool[5] != 5


@pytest.mark.parametrize("name", FINITE)
def test_axis_numbers_all_values(name: str) -> None:
    domain = FINITE[name]
    axis = axis_of(domain)
    assert axis is not None
    values = [axis.value(i) for i in range(len(axis))]
    assert len(values) == len(domain)
    assert len({domain.match_string(value) for value in values}) == len(values)
    assert all(domain.is_valid(value) for value in values)
    assert [axis.index(value) for value in values] == list(range(len(values)))
    assert axis.index("no such value") is None


def test_infinite_domains_have_no_axis() -> None:
    assert axis_of(uniform(0, 1)) is None
    assert axis_of(loguniform(0.1, 1)) is None


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(FINITE)), min_size=1, max_size=3, unique=True), st.data())
def test_product_numbers_all_combinations(names: list[str], data: st.DataObject) -> None:
    product = Product({name: axis_of(FINITE[name]) for name in names})  # type: ignore[misc]
    assert product.size == np.prod([len(FINITE[name]) for name in names])
    number = data.draw(st.integers(0, product.size - 1))
    assert product.number(product.values(number)) == number


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(FINITE)), min_size=1, max_size=2, unique=True),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_random_search_finds_each_configuration_once(names: list[str], seed: int, grid: bool) -> None:
    space = {name: FINITE[name] for name in names}
    made = GridSearcher(space, random_seed=seed, num_samples=dict.fromkeys(names, 100)) if grid else None
    found = drain(made or RandomSearcher({**space, "constant": 7}, random_seed=seed))
    assert len(found) == config_space_size(space)
    assert len({repr(config) for config in found}) == len(found)


def test_random_search_is_a_function_of_the_seed_and_the_trial() -> None:
    space = {"x": uniform(0, 1), "n": randint(0, 10**6)}
    first, again, other = (RandomSearcher(space, [], random_seed=seed) for seed in (1, 1, 2))
    assert drain(first, 20) == drain(again, 20) != drain(other, 20)


def test_random_search_draws_as_the_domains_say() -> None:
    found = drain(RandomSearcher({"x": loguniform(1e-4, 1), "c": choice(["a", "b"])}, [], random_seed=0), 2000)
    assert abs(np.mean([np.log10(config["x"]) for config in found]) + 2) < 0.1
    assert abs(np.mean([config["c"] == "a" for config in found]) - 0.5) < 0.05


def test_duplicates_on_request() -> None:
    searcher = RandomSearcher({"c": choice(["a", "b"])}, random_seed=0, allow_duplicates=True)
    assert {config["c"] for config in drain(searcher, 50)} == {"a", "b"}


def test_a_configuration_started_by_others_is_not_suggested() -> None:
    searcher = RandomSearcher({"n": randint(1, 3)}, [{"n": 2}, {"n": 1}], random_seed=0)
    searcher.on_start(0, {"n": 2})
    assert searcher.suggest(1) == {"n": 1}
    searcher.on_start(1, {"n": 3})
    searcher.on_start(2, {"n": 1})
    assert searcher.suggest(3) is None


def test_suggestions_are_copies() -> None:
    searcher = RandomSearcher({"n": randint(1, 3)}, random_seed=0)
    config = searcher.suggest(0)
    assert config is not None
    config["n"] = 99
    assert searcher.suggest(0) == {"n": 2}


def test_restricted_configurations() -> None:
    space = {"x": uniform(0, 1), "n": randint(1, 9), "epochs": 3}
    allowed = [{"x": 0.1, "n": 1}, {"x": 0.2, "n": 2}, {"x": 0.3, "n": 3}]
    points = [{"x": 0.5, "n": 5}, {"x": 0.3, "n": 3}]
    found = drain(RandomSearcher(space, points, random_seed=0, restrict_configurations=allowed))
    assert found[0] == {"x": 0.3, "n": 3, "epochs": 3}
    assert sorted(config["n"] for config in found) == [1, 2, 3]
    free = RandomSearcher(space, [], random_seed=0, restrict_configurations=allowed, allow_duplicates=True)
    assert {config["n"] for config in drain(free, 60)} == {1, 2, 3}


def test_ten_thousand_suggestions_are_quick() -> None:
    """About a second on an idle core; the bound only catches a cost that grows with what was suggested before."""
    space: dict[str, Any] = {f"x{i}": loguniform(1e-5, 1) for i in range(5)}
    searcher = RandomSearcher({**space, "n": randint(1, 100), "c": choice(["a", "b"])}, random_seed=0)
    start = time.process_time()
    for trial_id in range(10_000):
        config = searcher.suggest(trial_id)
        assert config is not None
        searcher.on_start(trial_id, config)
    assert time.process_time() - start < 60


def test_grid_values() -> None:
    space = {
        "x": uniform(0, 1),
        "l": loguniform(1e-4, 1),
        "n": randint(1, 3),
        "m": randint(1, 100),
        "c": choice(["b", "a"]),
        "f": finrange(0, 6, 7),
        "epochs": 9,
    }
    found = drain(GridSearcher(space, [], num_samples={"l": 2, "m": 4}, shuffle_config=False), 10_000)
    values = {name: list(dict.fromkeys(config[name] for config in found)) for name in space}
    np.testing.assert_allclose(values["x"], [0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(values["l"], [1e-3, 1e-1])
    assert values["n"] == [1, 2, 3]
    assert values["m"] == [13, 38, 63, 88]
    assert values["c"] == ["b", "a"]
    assert values["f"] == [0, 1, 2, 3, 4, 5, 6]
    assert len(found) == 5 * 2 * 3 * 4 * 2 * 7


def test_grid_order() -> None:
    space = {"a": choice(["x", "y", "z"]), "b": randint(1, 2)}
    product = [{"a": a, "b": b} for a, b in itertools.product("xyz", (1, 2))]
    assert drain(GridSearcher(space, [], shuffle_config=False)) == product
    points = [{"a": "z", "b": 1}, {"b": 2}]
    expected = [{"a": "z", "b": 1}, {"a": "x", "b": 2}]
    ordered = drain(GridSearcher(space, points, shuffle_config=False))
    assert ordered == expected + [config for config in product if config not in expected]
    orders = [drain(GridSearcher(space, [], random_seed=seed)) for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] != orders[3]
    assert all(sorted(order, key=repr) == product for order in orders)


def test_grid_with_duplicates_begins_anew() -> None:
    searcher = GridSearcher({"n": randint(1, 3)}, shuffle_config=False, allow_duplicates=True)
    assert [config["n"] for config in drain(searcher, 8)] == [2, 1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomSearcher({"epochs": 9}), "constants only"),
        (lambda: RandomSearcher({"n": randint(1, 3)}, [{"n": 4}]), "n=4"),
        (lambda: RandomSearcher({"n": randint(1, 3)}, restrict_configurations=[]), "restrict_configurations"),
        (lambda: RandomSearcher({"n": randint(1, 3)}, random_seed=-1), "random_seed=-1"),
        (lambda: RandomSearcher({"n": randint(1, 3)}, random_seed=True), "random_seed=True"),
        (lambda: GridSearcher({"n": randint(1, 3)}, num_samples={"m": 3}), "'m'"),
        (lambda: GridSearcher({"n": randint(1, 3)}, num_samples={"n": 0}), "num_samples"),
        (lambda: GridSearcher({f"x{i}": uniform(0, 1) for i in range(30)}), "Lower num_samples"),
    ],
)
def test_bad_arguments(make: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make()
