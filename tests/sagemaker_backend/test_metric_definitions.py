"""What the console reads from a Reporter's lines, by the regular expressions that jobs are given."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune import Reporter
from cloudtune.aws.model_rules import violations
from cloudtune.emulator.machine.log_shipper import MetricExtractor
from cloudtune.errors import SpecError
from cloudtune.remote.console_metrics import MAX_DEFINITIONS, console_metrics
from cloudtune.report import TAG
from cloudtune.sagemaker_backend.metric_definitions import metric_definitions

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBERS = st.one_of(st.integers(), st.floats())
VALUES = st.recursive(
    st.one_of(st.booleans(), NUMBERS, st.text(max_size=8)), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
PLAIN = st.dictionaries(NAMES, VALUES, max_size=3)
REPORTS = st.dictionaries(NAMES, st.one_of(VALUES, PLAIN), max_size=5)


def read(name: str, line: str) -> str | None:
    found = re.search(metric_definitions([name])[name], line)
    return None if found is None else found[1]


def same(text: str | None, value: float) -> bool:
    return text is not None and (float(text) == value or (math.isnan(value) and math.isnan(float(text))))


@settings(max_examples=50)
@given(name=NAMES, value=NUMBERS, before=REPORTS, after=REPORTS, progress=st.text('ab[]{}: "', max_size=9))
def test_every_number_whatever_stands_around_it(
    name: str, value: float, before: dict[str, Any], after: dict[str, Any], progress: str
) -> None:
    report = {key: other for key, other in before.items() if key != name}
    report |= {name: value, **{key: other for key, other in after.items() if key != name}}
    assert same(read(name, progress + TAG + json.dumps(report)), value)


@settings(max_examples=50)
@given(name=NAMES, report=REPORTS)
def test_no_number_that_is_not_the_metric(name: str, report: dict[str, Any]) -> None:
    line = TAG + json.dumps({key: value for key, value in report.items() if key != name})
    assert read(name, line) is None


@pytest.mark.parametrize("text", ["12.75", "1e-05", "-3", "1E+20", "nan", "NaN", "Infinity", "-Infinity", "0"])
def test_numbers_as_they_are_written(text: str) -> None:
    assert read("loss", f'{TAG}{{"epoch": 3, "loss": {text}, "st_worker_iter": 2}}') == text


@pytest.mark.parametrize(
    "line",
    [
        'loss": 3',
        '{"loss": 3}',
        '[tune-metric]: {"val_loss": 3}',
        '[tune-metric]: {"loss": "3"}',
        '[tune-metric]: {"loss": true}',
        '[tune-metric]: {"note": "\\"loss\\": 3"}',
        '[tune-metric]: {"note": "{\\"loss\\": 3}"}',
        '[tune-metric]: {"detail": {"loss": 3}}',
    ],
)
def test_what_is_not_the_metric(line: str) -> None:
    assert read("loss", line) is None


def test_what_the_reporter_prints(capfd: pytest.CaptureFixture[str]) -> None:
    odd = "a.b*(c)[0] |$ü"
    Reporter()(**{"val_loss": 4, "note": 'a "loss": 5, {', "by_class": {"loss": 6}, "loss": 1e-05, odd: -3})
    line = capfd.readouterr().out
    assert {name: read(name, line) for name in ("val_loss", "loss", odd, "by_class")} == {
        "val_loss": "4",
        "loss": "1e-05",
        odd: "-3",
        "by_class": None,
    }


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4))
def test_the_service_ends_with_the_newest_values(values: list[float]) -> None:
    definitions = [{"Name": name, "Regex": regex} for name, regex in metric_definitions(["loss", "ss"]).items()]
    metrics = MetricExtractor(definitions, now=lambda: 7.0)
    for epoch, value in enumerate(values):
        metrics.scan(TAG + json.dumps({"epoch": epoch, "loss": value}))
    assert metrics.final() == [{"MetricName": "loss", "Value": values[-1], "Timestamp": 7.0}]


def test_long_lines_hold_nothing_up() -> None:
    """Lines that nearly match, in every way that could make a matcher try again and again. The emulator gives a
    pattern up that takes long."""
    definitions = [{"Name": name, "Regex": regex} for name, regex in metric_definitions(["loss"]).items()]
    metrics = MetricExtractor(definitions)
    length = 20_000
    for line in (
        f'{TAG}{{"a": "' + '\\"' * length,
        TAG * (length // 10),
        f"{TAG}{{" + "{" * length,
        f"{TAG}{{" + '{"a": 1}, ' * (length // 10),
        f'{TAG}{{"a": [' + "1.5, " * (length // 5) + "]}",
        f"{TAG}{{" + "".join(f'"k{number}": 1.5, ' for number in range(length // 10)),
    ):
        metrics.scan(line)
    metrics.scan(f'{TAG}{{"loss": 3}}')
    assert [item["Value"] for item in metrics.final()] == [3.0]


@given(st.lists(st.text(max_size=300), max_size=60))
def test_what_the_service_takes(names: list[str]) -> None:
    definitions = console_metrics(names)
    request = {"MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in definitions.items()]}
    found = violations("CreateTrainingJob", {"AlgorithmSpecification": request})
    # A name with a line's end is none for the service, whatever its length.
    assert all("does not match" in item.problem for item in found if "MetricDefinitions" in item.path)


def test_refused() -> None:
    many = [f"m{number}" for number in range(MAX_DEFINITIONS)]
    assert list(metric_definitions([*many, "m0"])) == many
    for names, word in ((["x" * 400], "xxx"), ([*many, "late"], "late"), ("loss", "list"), ([3], "list")):
        with pytest.raises(SpecError, match=word):
            metric_definitions(names)  # type: ignore[arg-type]
