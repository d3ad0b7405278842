"""Whole spaces: normalising, drawing, counting, JSON, points to evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune import config_space as cs
from cloudtune.errors import SpecError

SPACE = {
    "lr": cs.loguniform(1e-4, 1),
    "epochs": 27,
    "batch": cs.randint(1, 9),
    "opt": cs.choice(["adam", "sgd"]),
    "drop": cs.quniform(0, 1, 0.1),
}


def test_sampling_keeps_order_and_constants():
    space = {
        **SPACE,
        "a": cs.logfinrange(1, 64, 7, cast_int=True),
        "b": cs.ordinal([1, 2, 8]),
        "c": cs.lograndint(1, 99),
    }
    rng = np.random.default_rng(0)
    configs = [cs.sample_configuration(space, rng) for _ in range(10)]
    assert all(list(config) == list(space) and config["epochs"] == 27 for config in configs)
    assert configs[0] == cs.sample_configuration(space, np.random.default_rng(0))


def test_constants_do_not_change_the_draws():
    without = {key: value for key, value in SPACE.items() if key != "epochs"}
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(3):
        config = cs.sample_configuration(SPACE, a)
        assert {**cs.sample_configuration(without, b), "epochs": 27} == config


def test_size():
    assert cs.config_space_size(SPACE) is None
    finite = {"a": cs.randint(1, 9), "b": cs.choice(["y", "w"]), "c": 3}
    assert cs.config_space_size(finite) == 18
    assert cs.config_space_size(finite, upper_limit=18) == 18
    assert cs.config_space_size(finite, upper_limit=17) is None
    assert cs.config_space_size({"c": 3}) == 1


def test_keys_casting_and_match_strings():
    keys = cs.non_constant_hyperparameter_keys(SPACE)
    assert keys == ["lr", "batch", "opt", "drop"]
    texts = {"lr": "0.1", "epochs": 27, "batch": "3", "opt": "sgd", "drop": "0.3", "extra": "x"}
    config = cs.cast_config_values(texts, SPACE)
    assert config == {"lr": 0.1, "epochs": 27, "batch": 3, "opt": "sgd", "drop": 0.3, "extra": "x"}
    assert cs.config_to_match_string(config, SPACE, keys) == "lr:1.000000e-01,batch:3,opt:1,drop:3.000000e-01"
    assert cs.config_to_match_string(config, SPACE, ["opt"]) == "opt:1"
    with pytest.raises(SpecError, match=r"batch='300'.*\n.*int in \[1, 9\]"):
        cs.cast_config_values({"batch": "300"}, SPACE)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ([1], "not a dictionary"),
        ({1: 2}, "int"),
        ({"": 2}, "command-line"),
        ({"--lr": 2}, "command-line"),
        ({"my lr": 2}, "command-line"),
        ({"a=b": 2}, "command-line"),
        ({"st_checkpoint_dir": "x"}, "'checkpoint_dir'"),
        ({"f": cs.uniform}, "neither a domain nor a constant"),
        ({"t": (1, 2)}, "neither"),
        ({"n": float("nan")}, "neither"),
        ({"n": [float("inf")]}, "neither"),
        ({"d": {1: 2}}, "neither"),
        ({"d": {"inner": cs.uniform(0, 1)}}, "neither"),
        ({"s": "\ud800"}, "neither"),
        ({"s": "a\0b"}, "neither"),
        ({"a\0b": 3}, "command-line"),
    ],
)
def test_normalise_refuses(space, words):
    with pytest.raises(SpecError, match=words) as caught:
        cs.normalise_config_space(space)
    assert caught.value.hint


def test_instances_may_be_tuned():
    types = cs.choice(["ml.c5.xlarge", "ml.c5.2xlarge"])
    space = {"st_instance_type": types, "st_instance_count": 2}
    assert cs.normalise_config_space(space) == space


def test_normalise_makes_numpy_constants_plain():
    space = cs.normalise_config_space({"a": np.float64(0.5), "b": np.int64(3), "c": np.True_})
    assert [type(value) for value in space.values()] == [float, int, bool]


def test_json_of_constants_that_look_like_domains():
    trap = {"x": cs.to_dict(cs.uniform(0, 1)), "y": {"constant": 3}, "z": {}}
    assert cs.config_space_from_json_dict(cs.config_space_to_json_dict(trap)) == trap


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"domain_cls": "Float"},
        {"domain_cls": "Path", "domain_kwargs": {}},
        {"domain_cls": "Float", "domain_kwargs": {"lower": 0}},
        {"domain_cls": "Float", "domain_kwargs": {"lower": 0, "upper": 1, "sampler": None}},
        {"domain_cls": "Float", "domain_kwargs": {"lower": 1, "upper": 0}},
        {"domain_cls": "Float", "domain_kwargs": {"lower": 0, "upper": 1}, "sampler_cls": "LogUniform"},
        {"domain_cls": "Distribution", "domain_kwargs": {"name": "os", "parameters": {}}},
        {"domain_cls": ["Float"], "domain_kwargs": {}},
        {"domain_cls": "Float", "domain_kwargs": 3},
    ],
)
def test_from_dict_refuses(content):
    with pytest.raises(SpecError):
        cs.from_dict(content)


def test_points_none_is_one_default_and_empty_is_none():
    default = {"lr": 0.01, "epochs": 27, "batch": 5, "opt": "adam", "drop": 0.5}
    (point,) = cs.impute_points_to_evaluate(None, SPACE)
    assert point == {**default, "lr": pytest.approx(0.01)}
    assert list(point) == list(SPACE)
    assert cs.impute_points_to_evaluate([], SPACE) == []


def test_partial_points_are_filled_cast_ordered_and_made_distinct():
    points = cs.impute_points_to_evaluate(
        [{"opt": "sgd", "lr": 1}, {"batch": "9"}, {}, {"lr": 1.0, "opt": "sgd", "epochs": 27}, {"batch": 5}], SPACE
    )
    assert [(p["lr"], p["batch"], p["opt"]) for p in points] == [
        (1.0, 5, "sgd"),
        (pytest.approx(0.01), 9, "adam"),
        (pytest.approx(0.01), 5, "adam"),
    ]
    assert all(list(p) == list(SPACE) and p["epochs"] == 27 for p in points)
    assert type(points[0]["lr"]) is float and type(points[1]["batch"]) is int


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ({"lr": 0.1}, "not a list"),
        ("lr", "not a list"),
        ([3], r"points_to_evaluate\[0\] is 3"),
        ([{}, {"lr": 2}], r"points_to_evaluate\[1\]: lr=2 .*\n.*float in \[0.0001, 1.0\]"),
        ([{"batch": 3.5}], r"batch=3.5.*\n.*int in \[1, 9\]"),
        ([{"opt": "Adam"}], r"opt='Adam'.*\n.*\['adam', 'sgd'\]"),
        ([{"Lr": 0.1}], r"'Lr' is not in the search space.*\n.*lr"),
        ([{"bacth": 3}], "Did you mean 'batch'"),
        ([{"epochs": 3}], "constant 27"),
        ([{"lr": None}], "lr=None"),
    ],
)
def test_points_refused(points, words):
    with pytest.raises(SpecError, match=words):
        cs.impute_points_to_evaluate(points, SPACE)


def test_restricted_configurations():
    full = {"lr": 0.1, "batch": 3, "opt": "sgd", "drop": 0.2}
    configs = cs.check_restricted([full, {**full, "batch": "3"}, {**full, "batch": 4}], SPACE)
    assert [config["batch"] for config in configs] == [3, 4]
    assert all(config["epochs"] == 27 and list(config) == list(SPACE) for config in configs)
    for bad, words in [([], "empty"), ([{"lr": 0.1}], "lacks batch, opt, drop"), ([{**full, "lr": 7}], "lr=7")]:
        with pytest.raises(SpecError, match=words):
            cs.check_restricted(bad, SPACE)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_drawn_configurations_are_points(seed):
    config = cs.sample_configuration(SPACE, np.random.default_rng(seed))
    assert cs.impute_points_to_evaluate([config], SPACE) == [config]
    assert cs.check_restricted([config], SPACE) == [config]
