"""The states of a job, whatever is done to it in whatever order; and the parts that need no server."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
import regex
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from fleet_rig import HandClock
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.logs.models import logs_backends

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults import Faults, InterruptRule, SpotAttempt
from cloudtune.emulator.fleet.job_states import FOLLOWERS
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext, JobStatus, Phase, TrainingJob
from cloudtune.emulator.machine import log_shipper
from cloudtune.emulator.machine.log_shipper import LogShipper, MetricExtractor
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import LOG_GROUP, LogStore
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import ServiceError
from cloudtune.emulator.settings import ACCOUNT_ID

MODEL = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")
REQUEST: dict[str, Any] = {"TrainingJobName": "job", "OutputDataConfig": {"S3OutputPath": "s3://bucket/x/"}}


def new_job(**more: Any) -> TrainingJob:
    return TrainingJob({**REQUEST, **more}, "arn", "us-east-1", JobContext(ServiceClock(), AuditLog()))


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*Phase, "fail"]), max_size=12), st.booleans())
def test_no_order_of_events_breaks_a_job(events: list[Phase | str], spot: bool) -> None:
    job = new_job(EnableManagedSpotTraining=spot)
    ended_as = None
    for event in events:
        before, phase = job.status, job.phase
        try:
            changed = job.fail("AlgorithmError: x") if event == "fail" else job.enter(Phase(event))
        except ValueError:
            assert event not in FOLLOWERS[phase] and job.phase is phase
            continue
        if before.is_terminal:
            assert not changed
        if before is JobStatus.stopping and changed:
            assert job.status.is_terminal
        if job.status.is_terminal:
            ended_as = ended_as or (job.status, job.phase)
            assert (job.status, job.phase) == ended_as
    document = job.describe()
    transitions = document["SecondaryStatusTransitions"]
    assert transitions[0]["Status"] == "Starting"
    assert transitions[-1]["Status"] == document["SecondaryStatus"]
    for earlier, later in pairwise(transitions):
        assert earlier["StartTime"] <= earlier["EndTime"] <= later["StartTime"]
    assert ("EndTime" in transitions[-1]) is job.status.is_terminal
    if job.status.is_terminal and "TrainingStartTime" in document:
        assert document["TrainingEndTime"] >= document["TrainingStartTime"]
        assert 1 <= document["BillableTimeInSeconds"] <= document["TrainingTimeInSeconds"]


def test_every_state_is_one_of_the_services() -> None:
    statuses = {str(status) for status in JobStatus}
    phases = {str(phase) for phase in Phase}
    assert statuses <= set(MODEL.shape_for("TrainingJobStatus").enum)
    assert phases <= set(MODEL.shape_for("SecondaryStatus").enum)


def test_spot_seconds_are_billed_at_a_discount() -> None:
    billed = []
    for spot in (False, True):
        clock = HandClock()
        job = TrainingJob(
            {**REQUEST, "EnableManagedSpotTraining": spot}, "arn", "us-east-1", JobContext(clock, AuditLog())
        )
        for seconds in (60, 40):
            job.enter(Phase.downloading)
            clock.time += seconds
            job.end_attempt()
            if seconds == 60:
                job.enter(Phase.interrupted)
                job.enter(Phase.starting)
                clock.time += 1000
        job.enter(Phase.uploading)
        job.enter(Phase.completed)
        assert job.describe()["TrainingTimeInSeconds"] == 100
        billed.append(job.describe()["BillableTimeInSeconds"])
    assert billed == [100, 30]


def test_a_description_is_a_copy() -> None:
    job = new_job(HyperParameters={"a": "1"})
    job.describe()["HyperParameters"]["a"] = "2"
    assert job.describe()["HyperParameters"] == {"a": "1"}


def test_names_are_unique_per_region() -> None:
    table = JobTable("123456789012", JobContext(ServiceClock(), AuditLog()))
    table.create("us-east-1", REQUEST)
    table.create("eu-west-1", REQUEST)
    with pytest.raises(ServiceError) as refused:
        table.create("us-east-1", REQUEST)
    assert refused.value.code == "ResourceInUse"
    assert len(table.by_name("job")) == 2
    assert [job.region for job in table.all("eu-west-1")] == ["eu-west-1"]


def _patterns(shape: Shape, seen: set[str]) -> set[str]:
    if shape.name in seen:
        return set()
    seen.add(shape.name)
    found = {shape.metadata["pattern"]} if "pattern" in shape.metadata else set()
    parts: list[Shape] = []
    if isinstance(shape, StructureShape):
        parts = list(shape.members.values())
    elif isinstance(shape, ListShape):
        parts = [shape.member]
    elif isinstance(shape, MapShape):
        parts = [shape.key, shape.value]
    return found.union(*(_patterns(part, seen) for part in parts))


def test_every_pattern_of_the_model_can_be_checked() -> None:
    operations = ["CreateTrainingJob", "Search", "ListTrainingJobs", "AddTags", "UpdateTrainingJob"]
    for name in operations:
        shape = MODEL.operation_model(name).input_shape
        for pattern in _patterns(shape, set()) if shape else ():
            regex.compile(pattern)


def test_the_newest_finite_value_of_a_metric_counts() -> None:
    metrics = MetricExtractor([{"Name": "loss", "Regex": r"loss=(\S+)"}, {"Name": "no-group", "Regex": "loss"}])
    for line in ("loss=3", "loss=1e-05", "loss=nan", "loss=inf", "loss=abc", "nothing"):
        metrics.scan(line)
    assert [(item["MetricName"], item["Value"]) for item in metrics.final()] == [("loss", 1e-05)]


def test_a_regular_expression_that_explodes_is_given_up() -> None:
    metrics = MetricExtractor([{"Name": "bad", "Regex": r"((a|a)*)*b"}, {"Name": "good", "Regex": r"x=(\d)"}])
    metrics.scan("a" * 40 + " x=1")
    assert [item["MetricName"] for item in metrics.final()] == ["good"]


@given(st.lists(st.tuples(st.sampled_from(["", "a", "ab", "b"]), st.floats(0, 10), st.integers(1, 3)), max_size=5))
def test_each_rule_fires_as_often_as_it_says(rules: list[tuple[str, float, int]]) -> None:
    faults = Faults()
    for prefix, after_s, times in rules:
        faults.add(InterruptRule(prefix, after_s, times))
    attempt, fired = SpotAttempt("abc", 0, ("ml.m5.large",), launched=0.0, began=0.0), []
    while (found := faults.next_interruption(attempt)) is not None:
        faults.fired(found, "abc")
        fired.append(found.when)
    assert len(fired) == sum(times for prefix, _, times in rules if "abc".startswith(prefix))
    assert fired == sorted(fired)


def test_a_log_of_short_lines_stays_within_its_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_shipper, "_MAX_LOG_BYTES", 50_000)
    reader, writer = os.pipe()
    logs = LogStore(ACCOUNT_ID, "eu-north-1")
    stream = logs.new_stream("yes", "algo-1")
    threads = SharedThreads()
    shipper = LogShipper(reader, logs, stream, MetricExtractor([]), threads)
    shipper.start(None)
    with os.fdopen(writer, "wb") as file:
        file.write(b"y\n" * 20_000)
    shipper.finish()
    os.close(reader)
    events = logs_backends[ACCOUNT_ID]["eu-north-1"].groups[LOG_GROUP].streams[stream].events
    assert 50 < len(events) < 200
    assert "dropped" in events[-1].message
    threads.close()
