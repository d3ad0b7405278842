"""Domains one by one: values, lengths, distributions, and what is refused."""

from __future__ import annotations

import enum
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune import config_space as cs
from cloudtune.errors import SpecError


class Decision(enum.IntEnum):
    STOP = 1


def draws(domain, n=20_000):
    return domain.sample(n, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("domain", "length", "default"),
    [
        (cs.uniform(1, 4), 0, 2.5),
        (cs.loguniform(1e-4, 1), 0, 0.01),
        (cs.reverseloguniform(0.8, 0.99), 0, 0.895),
        (cs.randint(1, 10), 10, 6),
        (cs.randint(3, 3), 1, 3),
        (cs.lograndint(1, 100), 100, 10),
        (cs.choice(["b", "a"]), 2, "b"),
        (cs.choice([True, "x", 3, 0.5, None]), 5, True),
        (cs.ordinal(["s", "m", "l", "xl"]), 4, "l"),
        (cs.ordinal([1, 2, 8], kind="equal"), 3, 2),
        (cs.ordinal([1, 2, 8]), 3, 2),  # 4.5 is nearer to 2
        (cs.ordinal([1, 2, 7]), 3, 2),
        (cs.logordinal([1, 4, 64]), 3, 4),
        (cs.finrange(0.1, 1.0, 10), 10, 0.5),
        (cs.logfinrange(8, 64, 4, cast_int=True), 4, 32),
        (cs.quniform(0, 1, 0.25), 5, 0.5),
        (cs.qloguniform(0.1, 10, 0.1), 100, 1.0),
        (cs.qrandint(0, 100, 10), 11, 50),
        (cs.qrandint(1, 10), 10, 6),
        (cs.qlograndint(8, 512, 8), 64, 64),
    ],
)
def test_length_and_default(domain, length, default):
    assert len(domain) == length
    assert domain.default_value() == (pytest.approx(default) if isinstance(default, float) else default)
    assert type(domain.default_value()) is type(default)
    assert bool(domain)


def test_defaults_of_the_kinds_of_ordinal():
    assert type(cs.ordinal([1, 2, 4])) is cs.OrdinalNearestNeighbor
    assert not cs.ordinal([1, 2, 4]).log_scale
    assert cs.ordinal([1, 2, 4], kind="nn-log").log_scale
    for not_increasing in (["a", "b"], [4, 2, 1], [True, False]):
        assert type(cs.ordinal(not_increasing)) is cs.Ordinal
    assert type(cs.ordinal([1, 2, 4], kind="equal")) is cs.Ordinal
    assert isinstance(cs.ordinal([1, 2]), cs.Categorical)


def test_randint_includes_both_ends_and_is_fair():
    counts = Counter(draws(cs.randint(1, 5)))
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert min(counts.values()) > 0.9 * max(counts.values())


def test_lograndint_gives_the_ends_their_fair_mass():
    n = 40_000
    counts = Counter(draws(cs.lograndint(1, 8), n))
    total = np.log(8.5 / 0.5)
    for k in range(1, 9):
        expected = np.log((k + 0.5) / (k - 0.5)) / total
        assert counts[k] / n == pytest.approx(expected, abs=4 * np.sqrt(expected / n))


def test_log_and_reverse_log_spread_evenly_over_magnitudes():
    logs = np.log10(draws(cs.loguniform(1e-4, 1)))
    assert np.histogram(logs, bins=4, range=(-4, 0))[0] / 20_000 == pytest.approx(0.25, abs=0.02)
    gaps = np.log10(1 - np.array(draws(cs.reverseloguniform(0, 0.9999))))
    assert np.histogram(gaps, bins=4, range=(-4, 0))[0] / 20_000 == pytest.approx(0.25, abs=0.02)


def test_nearest_neighbours_get_mass_by_their_gaps():
    counts = Counter(draws(cs.ordinal([1, 2, 10])))
    # the interval is [1 - 2.25, 10 + 2.25], the borders 1.5 and 6
    assert counts[1] / 20_000 == pytest.approx(2.75 / 13.5, abs=0.02)
    assert counts[2] / 20_000 == pytest.approx(4.5 / 13.5, abs=0.02)


def test_grids():
    assert cs.finrange(0, 1, 5).values == [0, 0.25, 0.5, 0.75, 1.0]
    assert cs.logfinrange(8, 64, 4, cast_int=True).values == [8, 16, 32, 64]
    grid = cs.finrange(0.1, 0.7, 3)
    assert grid.values[0] == 0.1 and grid.values[-1] == 0.7
    assert grid.cast(0.45) == grid.values[1] and grid.cast("0.1") == 0.1
    assert [grid.match_string(value) for value in grid.values] == ["0", "1", "2"]


def test_multiples_are_written_as_people_write_them():
    assert cs.quniform(0, 1, 0.1).sample(200, np.random.default_rng(0)).count(0.3) > 0
    assert cs.quniform(0.25, 0.95, 0.1).from_unit(0.0) == 0.3
    assert cs.quniform(0.25, 0.95, 0.1).from_unit(1.0) == 0.9
    assert cs.qrandint(5, 44, 10).from_unit(0.0) == 10 and cs.qrandint(5, 44, 10).from_unit(1.0) == 40


@settings(max_examples=100, deadline=None)
@given(st.floats(-50, 50), st.floats(0.5, 50), st.sampled_from([0.1, 0.3, 1e-2, 2.5]), st.floats(0, 1))
def test_quantised_values_are_multiples_within_the_bounds(lower, width, q, u):
    if width < q:
        return
    domain = cs.quniform(lower, lower + width, q)
    value = domain.from_unit(u)
    assert domain.lower <= value <= domain.upper
    k = round(value / q)
    assert float(k * Fraction(repr(q))) == value
    assert domain.cast(value + 0.2 * q if value + 0.2 * q <= domain.upper else value) == value


def test_linear_cells_have_equal_width_and_values_sit_in_their_middle():
    for domain in (cs.randint(-2, 2), cs.qrandint(0, 40, 10), cs.quniform(0, 1, 0.25), cs.finrange(0, 1, 5)):
        middles = [domain.to_unit(domain.from_unit((i + 0.5) / 5)) for i in range(5)]
        assert middles == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_ends_are_reached():
    for domain in (cs.loguniform(1e-7, 0.3), cs.reverseloguniform(0.1, 0.999), cs.uniform(0.1, 0.7)):
        assert domain.from_unit(0.0) == pytest.approx(domain.lower, rel=1e-12)
        assert domain.from_unit(1.0) == pytest.approx(domain.upper, rel=1e-12)
        assert domain.to_unit(domain.lower) == 0 and domain.to_unit(domain.upper) == 1


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        (cs.uniform(0, 2), "0.5", 0.5),
        (cs.uniform(0, 2), 1, 1.0),
        (cs.uniform(0, 2), np.float32(0.5), 0.5),
        (cs.randint(0, 9), 3.0, 3),
        (cs.randint(0, 9), "3.0", 3),
        (cs.randint(0, 9), np.int64(3), 3),
        (cs.choice([True, False]), "false", False),
        (cs.choice([True, False]), np.True_, True),
        (cs.choice([0.1, 0.01]), "1e-2", 0.01),
        (cs.choice([0.1, 0.01]), 0.1 + 1e-9, 0.1),
        (cs.choice([None, 3, "x"]), "null", None),
        (cs.choice([None, 3, "x"]), "3", 3),
        (cs.choice(["1", "2"]), "1", "1"),
        (cs.choice([16, 32]), 16.0, 16),
        (cs.qrandint(0, 100, 10), 52, 50),
    ],
)
def test_cast(domain, value, expected):
    assert domain.cast(value) == expected
    assert type(domain.cast(value)) is type(expected)


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (cs.uniform(0, 2), 2.1),
        (cs.uniform(0, 2), float("nan")),
        (cs.uniform(0, 2), True),
        (cs.uniform(0, 2), "wide"),
        (cs.uniform(0, 2), None),
        (cs.uniform(0, 2), 10**400),
        (cs.randint(0, 9), 3.5),
        (cs.randint(0, 9), 10),
        (cs.randint(0, 9), [3]),
        (cs.choice(["a", "b"]), "c"),
        (cs.choice([16, 32]), 17),
        (cs.choice([0.1, 0.01]), 0.05),
        (cs.choice([16, 32]), [16]),
        (cs.ordinal([1, 2, 4]), 3),
        (cs.finrange(0, 1, 3), 1.5),
        (cs.quniform(0, 1, 0.1), -0.1),
    ],
)
def test_cast_refuses_and_says_what_is_valid(domain, value):
    assert not domain.is_valid(value)
    with pytest.raises(SpecError) as caught:
        domain.cast(value)
    assert domain.domain_str in str(caught.value)


def test_is_valid_wants_the_right_type():
    assert not cs.randint(0, 9).is_valid(3.0)
    assert not cs.randint(0, 1).is_valid(True)
    assert not cs.choice([0, 1]).is_valid(True)
    assert not cs.choice(["1"]).is_valid(1)
    assert not cs.quniform(0, 1, 0.1).is_valid(0.25)
    assert cs.quniform(0, 1, 0.1).is_valid(3 * 0.1)
    assert not cs.qrandint(0, 100, 10).is_valid(52)


REFUSED = [
    (lambda: cs.uniform(1, 0), "empty"),
    (lambda: cs.randint(5, 4), "empty"),
    (lambda: cs.uniform("0", 1), "number"),
    (lambda: cs.uniform(0, float("inf")), "finite"),
    (lambda: cs.uniform(0, float("nan")), "finite"),
    (lambda: cs.uniform(True, 2), "number"),
    (lambda: cs.uniform(-1.7e308, 1.7e308), "too wide"),
    (lambda: cs.randint(0.5, 2), "integer"),
    (lambda: cs.randint(0, 2**60), r"2\*\*40"),
    (lambda: cs.loguniform(0, 1), "positive"),
    (lambda: cs.lograndint(0, 5), "positive"),
    (lambda: cs.logfinrange(0, 5, 3), "positive"),
    (lambda: cs.logfinrange(0.4, 5, 3, cast_int=True), "positive"),
    (lambda: cs.logordinal([0, 1, 2]), "positive"),
    (lambda: cs.reverseloguniform(0.5, 1), "reverse-log"),
    (lambda: cs.reverseloguniform(-0.5, 0.5), "reverse-log"),
    (lambda: cs.choice([]), "at least one"),
    (lambda: cs.choice("adam"), "not a list"),
    (lambda: cs.choice({"a", "b"}), "not a list"),
    (lambda: cs.choice(5), "not a list"),
    (lambda: cs.choice([1, 2, 1]), "duplicates"),
    (lambda: cs.choice([1, True]), "duplicates"),
    (lambda: cs.choice([1, "1"]), "duplicates"),
    (lambda: cs.choice([1, [2]]), "list"),
    (lambda: cs.choice(["a\0"]), "NUL"),
    (lambda: cs.choice([Decision.STOP, "x"]), "Decision"),
    (lambda: cs.choice([float("nan"), 1.0]), "not finite"),
    (lambda: cs.ordinal([2, 1], kind="nn"), "increasing"),
    (lambda: cs.ordinal(["a", "b"], kind="nn"), "increasing"),
    (lambda: cs.ordinal([1, 1, 2]), "duplicates"),
    (lambda: cs.ordinal([-1.0, 0.0, 1e-90]), "too close"),
    (lambda: cs.ordinal([1, 2], kind="near"), "equal, nn, nn-log"),
    (lambda: cs.ordinal(5), "not a list"),
    (lambda: cs.finrange(1, 1, 5), "not possible"),
    (lambda: cs.finrange(1, 2, 1), "not possible"),
    (lambda: cs.finrange(1, 4, 10, cast_int=True), "at most 4"),
    (lambda: cs.quniform(0, 1, 0), "q is 0"),
    (lambda: cs.quniform(0, 1, -1), "positive q"),
    (lambda: cs.quniform(0.1, 0.2, 0.5), "No multiple"),
    (lambda: cs.qrandint(1, 9, 0.5), "integer"),
    (lambda: cs.Float(0, 1, scale="sqrt"), "linear, log, reverselog"),
    (lambda: cs.Float(0, 0.5, scale="reverselog", q=0.1), "reverse-log"),
    (lambda: cs.Integer(0, 5, scale="reverselog"), "reverse-log"),
    (lambda: cs.uniform(0, 1).sample(random_state=np.random.RandomState(0)), "Generator"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_refused_with_words_and_a_hint(make, words):
    with pytest.raises(SpecError, match=words) as caught:
        make()
    assert caught.value.hint


def test_equality_tells_apart_what_differs():
    different = [
        cs.uniform(0.1, 0.9),
        cs.loguniform(0.1, 0.9),
        cs.reverseloguniform(0.1, 0.9),
        cs.quniform(0.1, 0.9, 0.1),
        cs.finrange(0.1, 0.9, 3),
        cs.logfinrange(0.1, 0.9, 3),
        cs.randint(0, 1),
        cs.choice([0, 1]),
        cs.choice([0.0, 1.0]),
        cs.choice([False, True]),
        cs.ordinal([0, 1]),
        cs.ordinal([0, 1], kind="equal"),
    ]
    for i, a in enumerate(different):
        assert [j for j, b in enumerate(different) if a == b] == [i]
        assert a != "domain"
    assert len({hash(domain) for domain in different}) == len(different)


def test_samples_are_a_function_of_the_generator():
    domain = cs.loguniform(1e-3, 1)
    assert domain.sample(4, np.random.default_rng(3)) == domain.sample(4, np.random.default_rng(3))
    assert isinstance(domain.sample(), float) and len(domain.sample(size=1)) == 1
    state = np.random.get_state()[1].tolist()
    domain.sample(3)
    assert np.random.get_state()[1].tolist() == state


def test_predicates():
    assert cs.is_log_space(cs.loguniform(1, 2)) and cs.is_log_space(cs.qlograndint(1, 9, 2))
    assert cs.is_log_space(cs.logfinrange(1, 2, 3)) and cs.is_log_space(cs.logordinal([1, 2]))
    assert not cs.is_log_space(cs.uniform(1, 2))
    assert cs.is_reverse_log_space(cs.reverseloguniform(0, 0.5))
    assert cs.is_uniform_space(cs.randint(1, 2)) and not cs.is_uniform_space(cs.reverseloguniform(0, 0.5))


@pytest.mark.parametrize(
    ("domain", "bounds", "expected"),
    [
        (cs.uniform(0, 1), (0.2, 0.4), cs.uniform(0.2, 0.4)),
        (cs.loguniform(1e-3, 1), (0.01, 0.1), cs.loguniform(0.01, 0.1)),
        (cs.lograndint(1, 100), (3, 50), cs.lograndint(3, 50)),
        (cs.qrandint(0, 100, 10), (15, 55), cs.qrandint(15, 55, 10)),
        (cs.logordinal([1, 2, 4, 8]), (2, 5), cs.logordinal([2, 4])),
    ],
)
def test_restrict_domain(domain, bounds, expected):
    assert cs.restrict_domain(domain, *bounds) == expected


def test_restricted_grids_keep_their_values():
    assert cs.restrict_domain(cs.finrange(0, 10, 4, cast_int=True), 3, 10).values == [3, 7, 10]
    assert cs.restrict_domain(cs.logfinrange(1, 1024, 11), 3, 70).values == pytest.approx([4, 8, 16, 32, 64])
    assert cs.restrict_domain(cs.finrange(0, 10, 11), 4, 4).values == [4]
    for size in range(2, 12):
        whole = cs.finrange(0, 100, size, cast_int=True)
        for first in range(size):
            part = cs.restrict_domain(whole, whole.values[first], 100)
            values = part.values if isinstance(part, cs.FiniteRange) else part.categories
            assert values == whole.values[first:]


def test_restrict_domain_refuses():
    for domain, bounds in [
        (cs.uniform(0, 1), (0, 2)),
        (cs.uniform(0, 1), (0.5, 0.2)),
        (cs.finrange(0, 10, 3), (6, 7)),
        (cs.choice([1, 2]), (1, 2)),
        (cs.randint(0, 5), (1.2, 3)),
    ]:
        with pytest.raises(SpecError):
            cs.restrict_domain(domain, *bounds)


def test_domains_say_what_is_valid():
    assert cs.uniform(0, 1).domain_str == "float in [0.0, 1.0]"
    assert cs.qlograndint(8, 64, 8).domain_str == "int in [8, 64], multiples of 8, log scale"
    assert cs.choice(["a", 1]).domain_str == "one of ['a', 1]"
    assert "100 values from 0.0 to 1.0" in cs.finrange(0, 1, 100).domain_str


def test_positions_of_a_huge_range_still_invert():
    for domain in (cs.randint(0, 2**40), cs.lograndint(1, 2**40)):
        values = [1, 2, 3, 12_345_678_901, 2**40 - 1, 2**40]
        assert [domain.from_unit(domain.to_unit(value)) for value in values] == values
        positions = [domain.to_unit(value) for value in values]
        assert all(a < b for a, b in pairwise(positions))
