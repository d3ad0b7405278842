"""Better domains for spaces written in haste."""

from __future__ import annotations

import pytest

from cloudtune import config_space as cs
from cloudtune.errors import SpecError
from cloudtune.utils import streamline_config_space
from cloudtune.utils.convert_domain import streamline_config_space as same


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (cs.choice([8, 16, 32, 64]), cs.logfinrange(8, 64, 4, cast_int=True)),
        (cs.choice([64, 8, 32, 16]), cs.logfinrange(8, 64, 4, cast_int=True)),
        (cs.choice([1, 2, 3, 4]), cs.finrange(1, 4, 4, cast_int=True)),
        (cs.choice([0.1, 0.2, 0.3]), cs.finrange(0.1, 0.3, 3)),
        (cs.choice([1, 2, 50]), cs.logordinal([1, 2, 50])),
        (cs.choice([-5, 0, 90]), cs.ordinal([-5, 0, 90], kind="nn")),
        (cs.choice([1, 2]), None),
        (cs.choice(["a", "b", "c"]), None),
        (cs.choice([1, 2.5, 3]), None),
        (cs.choice([True, False]), None),
        (cs.ordinal([8, 16, 32, 64]), None),
        (cs.uniform(1e-4, 1), cs.loguniform(1e-4, 1)),
        (cs.randint(1, 101), cs.lograndint(1, 101)),
        (cs.randint(1, 100), None),
        (cs.uniform(0, 1000), None),
        (cs.uniform(-1, 1000), None),
        (cs.qrandint(8, 4096, 8), cs.qlograndint(8, 4096, 8)),
        (3, None),
    ],
)
def test_rules(domain, expected):
    space = {"x": domain}
    assert streamline_config_space(space) == {"x": domain if expected is None else expected}
    assert streamline_config_space(space, exclude_names=["x"]) == space
    assert same is streamline_config_space


def test_logs_when_verbose(caplog):
    with caplog.at_level("INFO"):
        streamline_config_space({"x": cs.uniform(1e-4, 1)})
        assert not caplog.records
        streamline_config_space({"x": cs.uniform(1e-4, 1)}, verbose=True)
    assert "x: Float" in caplog.text


def test_unknown_names_are_refused():
    with pytest.raises(SpecError, match="'y'"):
        streamline_config_space({"x": 1}, exclude_names=["y"])
