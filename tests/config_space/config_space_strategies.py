"""Hypothesis strategies for all domains."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from cloudtune import config_space as cs
from cloudtune.errors import SpecError

_finite = st.floats(-1e6, 1e6, allow_nan=False)
_positive = st.floats(1e-6, 1e6, allow_nan=False)
_share = st.floats(0, 0.999, allow_nan=False)
_ints = st.integers(-(10**6), 10**6)
_naturals = st.integers(1, 10**6)
texts = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5)
_scalars = st.one_of(
    texts,
    _ints,
    _finite,
    st.booleans(),
    st.none(),
)


@st.composite
def _ranges(draw: Any, make: Any, bounds: Any) -> cs.Domain:
    lower, upper = sorted((draw(bounds), draw(bounds)))
    return make(lower, upper)


@st.composite
def _stepped(draw: Any, make: Any, bounds: Any, steps: Any) -> cs.Domain:
    lower, upper = sorted((draw(bounds), draw(bounds)))
    try:
        return make(lower, upper, draw(steps))
    except SpecError:  # no multiple inside
        assume(False)
        raise


@st.composite
def _listed(draw: Any, make: Any, values: Any, is_sorted: bool = False) -> cs.Domain:
    categories = draw(st.lists(values, min_size=1, max_size=7))
    try:
        return make(sorted(categories) if is_sorted else categories)
    except SpecError:  # duplicates
        assume(False)
        raise


@st.composite
def _grids(draw: Any, make: Any, bounds: Any) -> cs.Domain:
    lower, upper = sorted((draw(bounds), draw(bounds)))
    try:
        return make(lower, upper, draw(st.integers(2, 30)), draw(st.booleans()))
    except SpecError:  # merged by rounding
        assume(False)
        raise


def _nn(categories: Any) -> cs.Domain:
    return cs.ordinal(categories, kind="nn")


@st.composite
def _frozen(draw: Any) -> cs.Domain:
    from scipy import stats

    a, b = draw(st.floats(0.1, 10)), draw(st.floats(0.1, 10))
    frozen = draw(
        st.sampled_from(
            [
                stats.norm(a, scale=b),
                stats.beta(a, b),
                stats.expon(scale=a),
                stats.poisson(a),
                stats.loguniform(a, a + b),
                stats.uniform(-a, b),
                stats.randint(1, 9),
                stats.binom(7, 0.5),
            ]
        )
    )
    domain = cs.as_domain(frozen)
    if domain is None:
        raise AssertionError(f"{frozen} was not recognised")
    return domain


_by_name: dict[str, Any] = {
    "uniform": _ranges(cs.uniform, _finite),
    "loguniform": _ranges(cs.loguniform, _positive),
    "reverseloguniform": _ranges(cs.reverseloguniform, _share),
    "randint": _ranges(cs.randint, _ints),
    "lograndint": _ranges(cs.lograndint, _naturals),
    "quniform": _stepped(cs.quniform, _finite, st.sampled_from([0.1, 0.25, 3.0, 1e-3])),
    "qloguniform": _stepped(cs.qloguniform, _positive, st.sampled_from([0.1, 0.5, 7.0])),
    "qrandint": _stepped(cs.qrandint, _ints, st.integers(1, 100)),
    "qlograndint": _stepped(cs.qlograndint, _naturals, st.integers(1, 100)),
    "choice": _listed(cs.choice, _scalars),
    "ordinal equal": _listed(lambda values: cs.ordinal(values, kind="equal"), _scalars),
    "ordinal nn": _listed(_nn, _ints, is_sorted=True),
    "ordinal nn float": _listed(_nn, _finite, is_sorted=True),
    "logordinal": _listed(cs.logordinal, _naturals, is_sorted=True),
    "finrange": _grids(cs.finrange, _finite),
    "logfinrange": _grids(cs.logfinrange, _positive),
}

native_domains = st.one_of(*_by_name.values())
all_domains = st.one_of(native_domains, _frozen())
constants = st.recursive(
    st.one_of(_scalars),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
names = st.from_regex(r"[a-rt-z][a-z_.0-9-]{0,6}", fullmatch=True)
spaces = st.dictionaries(names, all_domains | constants, min_size=1, max_size=5)
units = st.floats(0, 1, allow_nan=False)
