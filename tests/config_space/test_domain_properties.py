"""What holds for every domain."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from config_space_strategies import all_domains, native_domains, spaces, units
from hypothesis import given, settings

from cloudtune import config_space as cs

few = settings(max_examples=150, deadline=None)


@few
@given(all_domains, units)
def test_every_point_of_the_unit_interval_is_a_valid_value_of_the_right_type(domain, u):
    value = domain.from_unit(u)
    assert domain.is_valid(value)
    assert domain.cast(value) == value
    assert type(domain.cast(value)) is type(value)
    assert domain.value_type in (object, type(value))
    assert domain.is_valid(domain.default_value())


@few
@given(native_domains, units)
def test_encoding_and_decoding_invert_each_other(domain, u):
    value = domain.from_unit(u)
    again = domain.from_unit(domain.to_unit(value))
    if len(domain):
        assert again == value and type(again) is type(value)
    else:
        span = domain.upper - domain.lower
        assert again == pytest.approx(value, rel=1e-9, abs=1e-9 * span)


@few
@given(all_domains)
def test_texts_stand_for_the_values_that_print_them(domain):
    for value in domain.sample(3, np.random.default_rng(0)):
        assert domain.cast(str(value)) == value


@few
@given(all_domains)
def test_a_domain_survives_json_pickle_and_copy_exactly(domain):
    text = json.dumps(cs.to_dict(domain), allow_nan=False)
    for twin in (cs.from_dict(json.loads(text)), pickle.loads(pickle.dumps(domain)), copy.deepcopy(domain)):
        assert twin == domain and hash(twin) == hash(domain) and type(twin) is type(domain)
        seed = 7
        assert twin.sample(5, np.random.default_rng(seed)) == domain.sample(5, np.random.default_rng(seed))


@few
@given(spaces)
def test_a_space_survives_json_exactly_and_in_order(space):
    normal = cs.normalise_config_space(space)
    text = json.dumps(cs.config_space_to_json_dict(space), allow_nan=False)
    again = cs.config_space_from_json_dict(json.loads(text))
    assert list(again.items()) == list(normal.items())
    assert repr(again) == repr(normal)  # tells 1, 1.0 and True apart


@few
@given(native_domains)
def test_finite_domains_can_reach_all_their_values_and_no_other(domain):
    size = len(domain)
    if not 0 < size <= 50:
        return
    values = [domain.from_unit(u) for u in np.linspace(0, 1, 20_000)]
    if domain.scale == "linear" and not isinstance(domain, cs.OrdinalNearestNeighbor):
        assert len({repr(value) for value in values}) == size
        assert len({domain.match_string(value) for value in values}) == size
    assert len({repr(value) for value in values}) <= size
    assert cs.config_space_size({"x": domain}) == size


@few
@given(native_domains, units, units)
def test_ordered_domains_are_monotone(domain, u, v):
    if type(domain) in (cs.Categorical, cs.Ordinal):
        return
    a, b = domain.from_unit(min(u, v)), domain.from_unit(max(u, v))
    assert a <= b
    assert domain.to_unit(a) <= domain.to_unit(b)


@few
@given(spaces)
def test_configurations_decode_to_what_was_encoded(space):
    ranges = cs.HyperparameterRanges(space)
    config = ranges.random_config(np.random.default_rng(0))
    assert list(config) == list(space)
    x = ranges.to_ndarray(config)
    assert x.shape == (ranges.ndarray_size,) and np.all((x >= 0) & (x <= 1))
    finite = [name for name in ranges.internal_keys if len(ranges.config_space[name])]
    decoded = ranges.from_ndarray(x)
    assert list(decoded) == list(space)
    assert {k: decoded[k] for k in finite} == {k: config[k] for k in finite}
