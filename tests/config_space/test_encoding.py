"""Configurations as points of the unit cube."""

from __future__ import annotations

import numpy as np
import pytest

from cloudtune import config_space as cs
from cloudtune.errors import SpecError

SPACE = {
    "f": cs.loguniform(1e-2, 1),
    "c": 3,
    "two": cs.choice(["a", "b"]),
    "three": cs.choice(["x", "y", "z"]),
    "i": cs.randint(0, 3),
    "o": cs.ordinal(["s", "m", "l"]),
    "q": cs.qrandint(0, 40, 10),
}


def test_table():
    ranges = cs.HyperparameterRanges(SPACE)
    assert ranges.ndarray_size == 8 and ranges.get_ndarray_bounds() == [(0.0, 1.0)] * 8
    assert ranges.encoded_ranges["three"] == (2, 5)
    config = {"f": 0.1, "two": "b", "three": "y", "i": 3, "o": "s", "q": 10}
    x = ranges.to_ndarray(config)
    assert x == pytest.approx([0.5, 0.75, 0, 1, 0, 0.875, 1 / 6, 0.3])
    decoded = ranges.from_ndarray(x)
    assert decoded == {**config, "c": 3, "f": pytest.approx(0.1)}
    assert list(decoded) == list(SPACE)
    assert ranges.config_to_match_string(config) == "f:1.000000e-01,two:1,three:1,i:3,o:0,q:10"


def test_last_position():
    ranges = cs.HyperparameterRanges(SPACE, name_last_pos="f")
    assert ranges.internal_keys == ["two", "three", "i", "o", "q", "f"]
    config = ranges.random_config(np.random.default_rng(0))
    assert ranges.to_ndarray(config)[-1] == pytest.approx(SPACE["f"].to_unit(config["f"]))
    other = {**config, "f": 0.5}
    assert ranges.config_to_match_string(config, skip_last=True) == ranges.config_to_match_string(
        other, skip_last=True
    )
    assert ranges.config_to_match_string(config) != ranges.config_to_match_string(other)
    with pytest.raises(SpecError, match="Valid: f, two"):
        cs.HyperparameterRanges(SPACE, name_last_pos="c")


def test_matrix_and_bad_input():
    ranges = cs.HyperparameterRanges(SPACE)
    configs = ranges.random_configs(np.random.default_rng(0), 20)
    matrix = ranges.to_ndarray_matrix(configs)
    assert matrix.shape == (20, 8)
    for config, row in zip(configs, matrix, strict=True):
        assert ranges.config_to_match_string(ranges.from_ndarray(row)) == ranges.config_to_match_string(config)
    assert ranges.to_ndarray_matrix([]).shape == (0, 8)
    assert ranges.from_ndarray(matrix[:1]) == ranges.from_ndarray(matrix[0])
    ranges.from_ndarray(matrix[0] * 3 - 1)  # clipped
    for bad in (np.zeros(7), np.full(8, np.nan)):
        with pytest.raises(SpecError):
            ranges.from_ndarray(bad)
    with pytest.raises(SpecError, match="lacks 'f'"):
        ranges.to_ndarray({})
    with pytest.raises(SpecError):
        ranges.to_ndarray({**configs[0], "i": 4})


def test_uniform_points_decode_to_fair_draws():
    ranges = cs.HyperparameterRanges(SPACE)
    points = np.random.default_rng(0).random((6000, 8))
    decoded = [ranges.from_ndarray(point) for point in points]
    for name, size in (("two", 2), ("three", 3), ("i", 4), ("o", 3), ("q", 5)):
        values = [config[name] for config in decoded]
        for value in set(values):
            assert values.count(value) / 6000 == pytest.approx(1 / size, abs=0.03)
