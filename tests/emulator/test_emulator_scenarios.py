"""Scenarios: strict reading, presets, repeatable draws."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_rig import of

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults import Faults, Scenario, SpotAttempt, load_scenario, preset_names
from cloudtune.emulator.faults.armed import Armed
from cloudtune.emulator.faults.draws import exponential, uniform
from cloudtune.emulator.faults.kinds import KINDS, CapacityError, Limits
from cloudtune.emulator.faults.token_bucket import TokenBucket
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.errors import SpecError

MINIMAL: dict[str, dict[str, Any]] = {
    "interruption": {"rate_per_hour": 1},
    "interruption_trace": {"events": [{"time_s": 1}]},
    "capacity_error": {},
    "internal_error": {},
    "lost_checkpoint_upload": {},
    "throttle": {"operations": ["sagemaker:ListTrainingJobs"], "per_s": 2},
    "request_error": {"operations": ["s3:GetObject"], "error": "throttled"},
    "slow_response": {"operations": ["s3:*"], "latency_s": 1},
    "stale_read": {"operations": ["Search"], "lag_s": 1},
    "log_lag": {"lag_s": 1},
    "empty_log_page": {},
    "clock_skew": {"skew_s": -20},
    "emulator_killed": {"at_s": 60},
}


#: Limits that would mean nothing.
WITHOUT = {
    "log_lag": ["times"],
    "clock_skew": ["times", "name_prefix"],
    "emulator_killed": ["after_s", "until_s", "name_prefix"],
}


def test_all_kinds_have_an_example_here() -> None:
    assert set(MINIMAL) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read_and_written(kind: str) -> None:
    limits = {"times": 3, "after_s": 1.0, "until_s": 60.0, "name_prefix": "trial-"}
    for name in WITHOUT.get(kind, ()):
        with pytest.raises(SpecError, match=f"has no field '{name}'"):
            of({"kind": kind, **MINIMAL[kind], name: limits.pop(name)})
    scenario = of({"kind": kind, **MINIMAL[kind]}, {"kind": kind, **MINIMAL[kind], **limits}, name="mine")
    plain, limited = scenario.faults
    assert plain.limits == Limits()
    assert limited.limits == Limits(**limits)
    assert Scenario.from_json(json.loads(json.dumps(scenario.to_json()))) == scenario


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "JSON object"),
        ({}, "schema=None"),
        ({"schema": 2}, "schema=2"),
        ({"schema": 1, "fault": []}, "no field 'fault'"),
        ({"schema": 1, "name": 3}, "name"),
        ({"schema": 1, "faults": {}}, "must be a list"),
        ({"schema": 1, "faults": ["calm"]}, "faults[0] must be an object"),
        ({"schema": 1, "faults": [{"kind": "earthquake"}]}, "interruption, interruption_trace, capacity_error"),
        ({"schema": 1, "quotas": {"ml.m5.large": 3}}, "quotas['ml.m5.large']"),
        ({"schema": 1, "quotas": {"ml.m5.large": {"reserved": 3}}}, "on_demand, spot, warm_pool"),
        ({"schema": 1, "quotas": {"ml.m5.large": {"spot": -1}}}, "spot=-1"),
        ({"schema": 1, "quotas": {"ml.m5.large": {"spot": True}}}, "spot=True"),
        ({"schema": 1, "delays": "slow"}, "calm, realistic"),
    ],
)
def test_what_is_no_scenario_is_refused(document: object, says: str) -> None:
    with pytest.raises(SpecError) as error:
        Scenario.from_json(document)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("kind", "members", "says"),
    [
        ("capacity_error", {"probabilty": 1}, "Did you mean 'probability'?"),
        ("capacity_error", {"probability": 1.5}, "from 0 to 1"),
        ("capacity_error", {"probability": float("nan")}, "out of range"),
        ("capacity_error", {"probability": True}, "must be a number"),
        ("capacity_error", {"instance_types": "ml.m5.large"}, "must be a list"),
        ("capacity_error", {"instance_types": []}, "must be a list"),
        ("capacity_error", {"instance_types": ["ml.m5.large", 3]}, "instance_types[1]"),
        ("capacity_error", {"spot": "yes"}, "true or false"),
        ("capacity_error", {"times": 0}, "times=0"),
        ("capacity_error", {"times": 1.5}, "a whole number"),
        ("capacity_error", {"after_s": -1}, "after_s=-1"),
        ("capacity_error", {"after_s": 10, "until_s": 5}, "until_s"),
        ("interruption", {}, "one of training_s and rate_per_hour"),
        ("interruption", {"training_s": 1, "rate_per_hour": 1, "times": 1}, "one of training_s and rate_per_hour"),
        ("interruption", {"training_s": 1}, "would never end"),
        ("interruption", {"rate_per_hour": 0}, "above 0"),
        ("interruption_trace", {}, "lacks 'events'"),
        ("interruption_trace", {"events": [{"zone": "a"}]}, "events[0] lacks 'time_s'"),
        ("interruption_trace", {"events": [{"time_s": 1, "zone": "z"}]}, "a, b, c"),
        ("interruption_trace", {"file": "/etc/passwd"}, "in a scenario file only"),
        ("throttle", {"operations": ["sagemaker:ListTrainingJob"], "per_s": 1}, "ListTrainingJobs"),
        ("throttle", {"operations": ["ListTrainingJobs"], "per_s": 1}, "sagemaker"),
        ("throttle", {"operations": ["dynamodb:GetItem"], "per_s": 1}, "s3, sagemaker, logs"),
        ("throttle", {"operations": ["s3:*"]}, "lacks 'per_s'"),
        ("throttle", {"operations": ["s3:*"], "per_s": 1, "burst": 0.5}, "burst=0.5"),
        ("request_error", {"operations": ["s3:*"], "error": "oops"}, "throttled, internal_error, unavailable"),
        ("request_error", {"operations": ["s3:*"]}, "lacks 'error'"),
        ("slow_response", {"operations": ["s3:*"], "bytes_per_s": 0}, "above 0"),
        ("stale_read", {"operations": ["GetObject"]}, "DescribeTrainingJob, ListTrainingJobs, Search"),
    ],
)
def test_each_mistake_is_named_with_its_place(kind: str, members: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        of({"kind": "log_lag", "lag_s": 1}, {"kind": kind, **members})
    assert says in str(error.value)
    assert f"faults[1] ({kind})" in str(error.value)


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from(["", "*", "s3:*", "spot", 10**400, -(10**400)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "time_s", "zone", "spot"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_odd_documents_are_read_or_refused(kind: str, data: st.DataObject) -> None:
    members = [*MINIMAL[kind], "times", "after_s", "until_s", "probability", "instance_types", "notice", "key"]
    fault = {
        "kind": kind,
        **MINIMAL[kind],
        **data.draw(st.dictionaries(st.sampled_from(members), ODD, max_size=2)),
    }
    top = data.draw(st.dictionaries(st.sampled_from(["quotas", "delays", "name"]), ODD, max_size=1))
    try:
        scenario = of(fault, **top)
    except SpecError:
        return
    assert Scenario.from_json(json.loads(json.dumps(scenario.to_json()))) == scenario


def test_presets() -> None:
    assert preset_names() == ["calm", "bad_day", "realistic"]
    for name in preset_names():
        scenario = load_scenario(name)
        assert scenario.name == name and scenario.description
    assert load_scenario("calm").faults == ()
    bad = {fault.kind for fault in load_scenario("bad_day").faults}
    assert set(KINDS) - bad <= {"interruption_trace", "internal_error", "clock_skew", "emulator_killed"}
    with pytest.raises(SpecError, match="calm, bad_day, realistic"):
        load_scenario("baad_day")


def test_files_and_their_traces(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(
        "time_s,zone,instance_type,notice\n60,a,ml.g5.*,true\n90.5,,,\n", encoding="utf-8"
    )
    (tmp_path / "trace.json").write_text('[{"time_s": 5}]', encoding="utf-8")
    path = tmp_path / "outage.json"
    faults = [{"kind": "interruption_trace", "file": name} for name in ("trace.csv", "trace.json")]
    path.write_text(json.dumps({"schema": 1, "faults": faults}), encoding="utf-8")
    found = load_scenario(path).to_json()["faults"]
    assert found[0]["events"] == [
        {"time_s": 60.0, "zone": "a", "instance_type": "ml.g5.*", "notice": True},
        {"time_s": 90.5},
    ]
    assert found[1]["events"] == [{"time_s": 5.0}]
    (tmp_path / "trace.csv").write_text("time_s,zone\nsoon,a\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"trace\.csv"):
        load_scenario(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SpecError, match="no valid JSON"):
        load_scenario(path)
    with pytest.raises(SpecError, match=r"^The scenario .*missing\.json cannot be read"):
        load_scenario(tmp_path / "missing.json")


def test_draws_depend_on_what_is_decided_alone() -> None:
    drawn = [uniform(7, 0, "job", attempt) for attempt in range(4000)]
    assert drawn == [uniform(7, 0, "job", attempt) for attempt in range(4000)]
    assert all(0 <= value < 1 for value in drawn)
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.03
    assert drawn[0] not in (uniform(8, 0, "job", 0), uniform(7, 1, "job", 0), uniform(7, 0, "jo", "b", 0))
    waits = [exponential(30.0, 7, attempt) for attempt in range(4000)]
    assert min(waits) >= 0 and abs(sum(waits) / len(waits) - 30.0) < 3


def test_the_order_of_questions_changes_no_answer() -> None:
    scenario = of({"kind": "capacity_error", "probability": 0.5})
    questions = [(f"job-{job}", ask) for job in range(30) for ask in range(5)]

    def answers(order: list[tuple[str, int]], seed: int = 3) -> dict[str, list[bool]]:
        faults, found = Faults(scenario=scenario, seed=seed), {}
        for job, _ in order:
            found.setdefault(job, []).append(faults.capacity_error("ml.m5.large", True, job, 0))
        return found

    assert answers(questions) == answers(sorted(questions, key=lambda question: question[1], reverse=True))
    assert answers(questions) != answers(questions, seed=4)
    counts = Counter(answer for found in answers(questions).values() for answer in found)
    assert 45 < counts[True] < 105


def test_limits_of_job_faults() -> None:
    audit = AuditLog()
    clock = ServiceClock()
    scenario = of(
        {
            "kind": "capacity_error",
            "instance_types": ["ml.g5.*"],
            "spot": True,
            "times": 2,
            "name_prefix": "trial-",
        },
        {"kind": "internal_error", "training_s": 4, "times": 1},
        {"kind": "lost_checkpoint_upload", "key": "*/epoch-3.pt", "times": 1},
    )
    faults = Faults(clock, audit, scenario)
    assert not faults.capacity_error("ml.m5.large", True, "trial-1", 0)
    assert not faults.capacity_error("ml.g5.xlarge", False, "trial-1", 0)
    assert not faults.capacity_error("ml.g5.xlarge", True, "other", 0)
    for job in ("trial-1", "trial-2"):
        assert [faults.capacity_error("ml.g5.xlarge", True, job, 0) for _ in range(3)] == [True, True, False]
    assert [faults.internal_error("trial-1", attempt) for attempt in (0, 0, 1)] == [4.0, 4.0, None]
    lost = [faults.checkpoint_upload_lost("trial-1", f"c/epoch-{epoch}.pt") for epoch in (1, 3, 3)]
    assert lost == [False, True, False]
    faults.failed("trial-1", 0)  # only now: a job may end before its time
    struck = Counter(entry["fault"] for entry in audit.entries("fault"))
    assert struck == {"capacity_error": 4, "internal_error": 1, "lost_checkpoint_upload": 1}


def test_faults_of_a_period() -> None:
    spec = CapacityError(limits=Limits(after_s=10.0, until_s=20.0))
    armed = Armed(0, spec, seed=0, since=1000.0)
    assert [armed.strikes(when, 1.0, "job") for when in (1009.0, 1010.0, 1020.0, 1021.0)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_scenario_replaces_another() -> None:
    always = of({"kind": "capacity_error"}, {"kind": "log_lag", "lag_s": 1})
    faults = Faults(scenario=always)
    assert faults.disturb_requests and faults.capacity_error("ml.m5.large", True, "job", 0)
    faults.apply(Scenario())
    assert not faults.disturb_requests and not faults.capacity_error("ml.m5.large", True, "job", 0)
    assert faults.next_interruption(SpotAttempt("job", 0, ("ml.m5.large",), 0.0, 0.0)) is None


@settings(max_examples=100, deadline=None)
@given(
    per_s=st.floats(0.1, 50),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=80),
)
def test_a_token_bucket_never_gives_more_than_it_has(per_s: float, burst: int, gaps: list[float]) -> None:
    bucket = TokenBucket(per_s, burst, now=0.0)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + per_s * (taken[last] - taken[first]) + 1e-6
    assert bucket.take(now + 1 / per_s + 1e-6)  # and never less


def test_the_documentation_is_right() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "emulator_scenarios.md").read_text(encoding="utf-8")
    examples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert len(examples) > 3
    for example in examples:
        Scenario.from_json(json.loads(example))
    assert all(f"**`{kind}`**" in text for kind in KINDS)
    for kind, spec in KINDS.items():
        told = text.partition(f"**`{kind}`**")[2].partition("**`")[0]
        fields = {field.name for field in dataclasses.fields(spec)} - {"limits"}
        assert all(f"`{name}`" in told or f'"{name}"' in told or f"`{name}:" in told for name in fields), kind
    assert all(f"| `{name}` |" in text for name in preset_names())
