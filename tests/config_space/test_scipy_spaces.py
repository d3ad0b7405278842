"""Frozen distributions of scipy.stats as domains."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from cloudtune import config_space as cs
from cloudtune.errors import SpecError


@pytest.mark.parametrize(
    ("frozen", "expected"),
    [
        (stats.loguniform(1e-2, 1), cs.loguniform(1e-2, 1)),
        (stats.reciprocal(1e-2, 1), cs.loguniform(1e-2, 1)),
        (stats.randint(32, 256), cs.randint(32, 255)),  # scipy excludes the end
        (stats.randint(low=0, high=2, loc=5), cs.randint(5, 6)),
        (stats.uniform(), cs.uniform(0, 1)),
        (stats.uniform(2, 3), cs.uniform(2, 5)),
        (stats.uniform(loc=np.float64(-1), scale=2), cs.uniform(-1, 1)),
        (stats.loguniform(1, 10, scale=2), cs.loguniform(2, 20)),
    ],
)
def test_known_distributions_become_our_own_domains(frozen, expected):
    assert cs.as_domain(frozen) == expected


@pytest.mark.parametrize(
    "frozen",
    [
        stats.norm(3, 2),
        stats.norm(loc=3, scale=2),
        stats.lognorm(0.5),
        stats.truncnorm(-1, 2, loc=1),
        stats.poisson(4),
        stats.geom(p=0.3),
        stats.binom(5, 0.5, loc=2),
        stats.loguniform(1, 2, loc=1),
    ],
)
def test_other_distributions_are_drawn_by_their_quantiles(frozen):
    domain = cs.as_domain(frozen)
    values = np.array(domain.sample(2000, np.random.default_rng(0)))
    assert values.mean() == pytest.approx(frozen.mean(), abs=4 * frozen.std() / np.sqrt(2000))
    assert domain.default_value() == frozen.median()
    for u in (0.0, 0.001, 0.3, 0.5, 0.9, 1.0):
        value = domain.from_unit(u)
        assert domain.is_valid(value) and np.isfinite(value)
        if 0.001 <= u <= 0.999:
            assert domain.from_unit(domain.to_unit(value)) == pytest.approx(value)
    assert cs.from_dict(json.loads(json.dumps(cs.to_dict(domain)))) == domain


def test_the_same_distribution_written_differently_is_equal():
    assert cs.as_domain(stats.norm(3, 2)) == cs.as_domain(stats.norm(scale=2.0, loc=3))
    assert cs.as_domain(stats.norm()) == cs.as_domain(stats.norm(0))


def test_lengths_and_types():
    assert len(cs.as_domain(stats.binom(5, 0.5))) == 6
    assert len(cs.as_domain(stats.poisson(3))) == 0
    assert cs.as_domain(stats.poisson(3)).value_type is int
    assert cs.as_domain(stats.poisson(3)).cast("4.0") == 4
    with pytest.raises(SpecError):
        cs.as_domain(stats.poisson(3)).cast(2.5)
    with pytest.raises(SpecError):
        cs.as_domain(stats.beta(2, 2)).cast(1.5)


class Mine(stats.rv_continuous):
    def _pdf(self, x):
        return 1.0


@pytest.mark.parametrize(
    "value",
    [
        stats.uniform,
        stats.norm([0, 1], 1),
        stats.norm(0, -1),
        stats.randint(5, 5),
        stats.multivariate_normal([0, 0]),
        Mine(a=0, b=1, name="norm")(),
        Mine(a=0, b=1, name="mine")(),
        stats.rv_discrete(values=([1, 2], [0.5, 0.5]))(),
        stats.poisson(2, loc=0.5),
    ],
)
def test_what_cannot_be_a_domain_is_refused(value):
    with pytest.raises(SpecError, match="Search space, 'x'") as caught:
        cs.normalise_config_space({"x": value})
    assert caught.value.hint


def test_the_space_of_the_d2l_document():
    space = cs.normalise_config_space(
        {"learning_rate": stats.loguniform(1e-2, 1), "batch_size": stats.randint(32, 256)}
    )
    (config,) = cs.impute_points_to_evaluate([{"learning_rate": 0.1, "batch_size": 128}], space)
    assert config == {"learning_rate": 0.1, "batch_size": 128}
    assert cs.HyperparameterRanges(space).ndarray_size == 2


def test_scipy_is_not_loaded_for_spaces_without_it():
    code = (
        "import sys; from cloudtune import config_space as cs;"
        "cs.normalise_config_space({'a': cs.uniform(0, 1), 'b': 3});"
        "sys.exit('scipy' in sys.modules or 'boto3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_discrete_value_sits_in_the_middle_of_its_cell():
    domain, frozen = cs.as_domain(stats.binom(3, 0.4)), stats.binom(3, 0.4)
    for k in range(4):
        assert domain.to_unit(k) == pytest.approx(frozen.cdf(k) - 0.5 * frozen.pmf(k))


def test_pickles_hold_the_parameters_and_nothing_of_scipy():
    domain = cs.as_domain(stats.norm(1, 2))
    domain.sample(2)
    content = pickle.dumps(domain)
    assert b"scipy" not in content
    assert pickle.loads(content).default_value() == 1
