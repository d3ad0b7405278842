"""Spot interruptions by scenarios: when, whom, how often; and jobs that meet them."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from emulator_rig import Rig, until_told
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_rig import of, struck

from cloudtune.emulator import InterruptRule, SageMakerEmulator
from cloudtune.emulator.faults import Faults, SpotAttempt
from cloudtune.emulator.service_clock import ServiceClock

START = 1_000_000.0
COUNTING = """
path = f'{ROOT}/checkpoints/count'
count = int(open(path).read()) if os.path.exists(path) else 0
while count < STEPS:
    time.sleep(0.1)
    count += 1
    open(path + '.tmp', 'w').write(str(count))
    os.replace(path + '.tmp', path)
"""


class FixedClock(ServiceClock):
    def now(self) -> float:
        return START


def faults_of(*faults: dict[str, Any], seed: int = 0) -> Faults:
    return Faults(FixedClock(), scenario=of(*faults), seed=seed)


def attempt(job: str = "job", number: int = 0, began_s: float = 0.0, kind: str = "ml.m5.large") -> SpotAttempt:
    return SpotAttempt(job, number, (kind,), START + began_s, START + began_s)


def when(faults: Faults, found: SpotAttempt) -> float | None:
    """Seconds from the scenario's start to the next interruption."""
    hit = faults.next_interruption(found)
    return None if hit is None else round(hit.when - START, 6)


def test_at_a_time_as_often_as_wanted() -> None:
    faults = faults_of(
        {"kind": "interruption", "training_s": 5, "times": 2, "notice": True, "name_prefix": "trial-"}
    )
    assert when(faults, attempt("other")) is None
    for number in range(2):
        hit = faults.next_interruption(attempt("trial-1", number))
        assert hit is not None and (hit.when - START, hit.notice) == (5.0, True)
        faults.fired(hit, "trial-1")
    assert when(faults, attempt("trial-1", 2)) is None
    assert when(faults, attempt("trial-2")) == 5.0


def test_in_a_period_only() -> None:
    faults = faults_of({"kind": "interruption", "training_s": 5, "times": 9, "after_s": 100, "until_s": 200})
    assert [when(faults, attempt(began_s=began)) for began in (0, 94, 95, 195, 196)] == [
        100,
        100,
        100,
        200,
        None,
    ]
    rated = faults_of({"kind": "interruption", "rate_per_hour": 3600, "after_s": 100})
    times = [when(rated, attempt(f"job-{number}")) for number in range(50)]
    assert all(found is not None and found > 100 for found in times)


def test_by_rate() -> None:
    faults = faults_of(
        {"kind": "interruption", "rate_per_hour": 60, "instance_types": ["ml.g5.*", "ml.p*"]}, seed=4
    )
    assert when(faults, attempt()) is None
    waits = [when(faults, attempt(f"job-{number}", kind="ml.g5.xlarge")) for number in range(2000)]
    known = [wait for wait in waits if wait is not None]
    assert len(known) == 2000
    assert statistics.mean(known) == pytest.approx(60, rel=0.1)  # 60 in an hour
    assert statistics.stdev(known) == pytest.approx(60, rel=0.1)  # and exponential
    again = faults_of({"kind": "interruption", "rate_per_hour": 60}, seed=4)
    assert when(again, attempt("job-7")) == waits[7]  # whatever was asked before
    assert when(again, attempt("job-7", number=1)) != waits[7]


def test_a_trace_strikes_all_jobs_of_a_zone_at_once() -> None:
    events = [
        {"time_s": 300, "zone": "a"},
        {"time_s": 400, "zone": "b", "instance_type": "ml.g5.*", "notice": True},
        {"time_s": 500},
    ]
    faults = faults_of({"kind": "interruption_trace", "events": events})
    jobs = [f"job-{number}" for number in range(60)]
    first = {job: when(faults, attempt(job, kind="ml.g5.xlarge")) for job in jobs}
    assert {first[job] for job in jobs} == {300.0, 400.0, 500.0}
    assert all(10 <= sum(found == time for found in first.values()) <= 32 for time in (300, 400, 500))
    others = {job: when(faults, attempt(job)) for job in jobs}
    assert all(others[job] == (300 if first[job] == 300 else 500) for job in jobs)
    assert [when(faults, attempt(job, began_s=501)) for job in jobs] == [None] * 60  # after the event
    in_a = next(job for job in jobs if first[job] == 300)
    zones = {when(faults, attempt(in_a, number)) for number in range(20)}
    assert zones == {300.0, 500.0}  # the next attempt may run elsewhere


def test_rules_and_scenarios_together() -> None:
    faults = faults_of({"kind": "interruption", "training_s": 5, "times": 1})
    faults.add(InterruptRule("job", after_s=3, times=1))
    for expected in (3.0, 5.0):
        hit = faults.next_interruption(attempt())
        assert hit is not None and hit.when == START + expected
        faults.fired(hit, "job")
    assert faults.next_interruption(attempt()) is None


@settings(max_examples=60, deadline=None)
@given(
    rates=st.lists(st.floats(0.1, 1000), min_size=1, max_size=4),
    asked=st.permutations([(f"job-{job}", number) for job in range(3) for number in range(3)]),
    seed=st.integers(0, 2**64),
)
def test_the_order_of_questions_changes_no_interruption(
    rates: list[float], asked: list[tuple[str, int]], seed: int
) -> None:
    rules = [{"kind": "interruption", "rate_per_hour": rate} for rate in rates]
    found = faults_of(*rules, seed=seed)
    other = faults_of(*rules, seed=seed)
    answers = {question: found.next_interruption(attempt(*question)) for question in asked}
    assert answers == {question: other.next_interruption(attempt(*question)) for question in sorted(asked)}


def interrupted_twice(seed: int) -> dict[str, list[float]]:
    """Service seconds from the beginning of training to each interruption."""
    scenario = of({"kind": "interruption", "rate_per_hour": 600, "times": 2, "notice": True})
    with SageMakerEmulator(
        max_parallel_jobs=2, scenario=scenario, seed=seed, time_scale=10, stop_grace_s=10
    ) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        names = [rig.submit(f"job-{number}", until_told("end"), spot=True) for number in range(2)]
        for name in names:
            rig.reached(name, "Interrupted", times=2)
        rig.tell("end")
        found = {}
        for name in names:
            assert rig.ended(name)["TrainingJobStatus"] == "Completed"
            assert rig.phases(name).count("Interrupted") == 2
            hits = [entry for entry in struck(aws, "interruption") if entry["job"] == name]
            trained = [
                entry["service_time"]
                for entry in aws.audit.entries("transition")
                if entry["job"] == name and entry["phase"] == "Training"
            ]
            waits = [hit["service_time"] - began for hit, began in zip(hits, trained, strict=False)]
            found[name] = waits
    return found


def test_jobs_are_interrupted_when_chance_says_and_finish() -> None:
    found = interrupted_twice(seed=3)
    drawn = Faults(scenario=of({"kind": "interruption", "rate_per_hour": 600}), seed=3)
    for name, waits in found.items():
        assert len(waits) == 2
        for number, waited in enumerate(waits):
            began = drawn.clock.now()
            hit = drawn.next_interruption(SpotAttempt(name, number, ("ml.m5.large",), began, began))
            assert hit is not None
            assert waited > hit.when - began - 0.5  # training begins a moment before its transition is recorded
            assert waited < hit.when - began + 300  # half a minute


def test_jobs_on_demand_are_left_alone() -> None:
    scenario = of({"kind": "interruption", "training_s": 0, "times": 1})
    with SageMakerEmulator(max_parallel_jobs=1, scenario=scenario) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.run("on-demand", f"STEPS = 3\n{COUNTING}")
        assert "Interrupted" not in rig.phases("on-demand")


def test_a_scenario_reaches_jobs_that_run() -> None:
    with SageMakerEmulator(max_parallel_jobs=1) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.submit("running", until_told("end"), spot=True)
        rig.reached("running", "Training")
        aws.apply_scenario(of({"kind": "interruption", "training_s": 0, "times": 1}))
        rig.reached("running", "Interrupted")
        rig.tell("end")
        assert rig.ended("running")["TrainingJobStatus"] == "Completed"


def test_no_capacity_and_platform_failures() -> None:
    capacity = {"kind": "capacity_error", "instance_types": ["ml.m5.large"], "times": 1, "name_prefix": "capacity"}
    internal = {"kind": "internal_error", "training_s": 2, "times": 1, "name_prefix": "internal"}
    with SageMakerEmulator(max_parallel_jobs=2, scenario=of(capacity, internal), time_scale=10) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        failed = rig.run("capacity", "")
        assert failed["TrainingJobStatus"] == "Failed"
        assert failed["FailureReason"].startswith("CapacityError: Unable to provision")
        failed = rig.run("internal-once", "while True: signal.pause()")
        assert failed["FailureReason"].startswith("InternalServerError: We encountered an internal error")
        rig.submit("internal-retried", until_told("end"), RetryStrategy={"MaximumRetryAttempts": 1})
        rig.reached("internal-retried", "Restarting")
        rig.tell("end")
        assert rig.ended("internal-retried")["TrainingJobStatus"] == "Completed"
        assert len(struck(aws, "internal_error")) == 2 and len(struck(aws, "capacity_error")) == 1


def test_lost_checkpoints() -> None:
    lost = {"kind": "lost_checkpoint_upload", "key": "*/count"}
    with SageMakerEmulator(max_parallel_jobs=1, scenario=of(lost)) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        code = f"STEPS = 2\n{COUNTING}\nopen(f'{{ROOT}}/checkpoints/kept', 'w').write('kept')"
        assert rig.run("lost", code)["TrainingJobStatus"] == "Completed"
        assert rig.keys("checkpoints/lost/") == ["kept"]
        assert struck(aws, "lost_checkpoint_upload")
