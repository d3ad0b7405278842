"""Logs of jobs, page by page, from the emulator: several runs, late events, empty pages, tokens that expire."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import boto3
import pytest

from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import LOG_GROUP
from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.sagemaker_backend.aws_cloud import AwsTrialJobs

JOB = "0-0-log-test"


class Log:
    """Writes what a job would have printed."""

    def __init__(self) -> None:
        self._client: Any = boto3.client("logs")
        with contextlib.suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_group(logGroupName=LOG_GROUP)

    def stream(self, epoch: int, host: int = 1, job: str = JOB) -> str:
        name = f"{job}/algo-{host}-{epoch}"
        self._client.create_log_stream(logGroupName=LOG_GROUP, logStreamName=name)
        return name

    def write(self, stream: str, *messages: str, age_s: float = 60.0) -> None:
        when = int((time.time() - age_s) * 1000)
        events = [{"timestamp": when, "message": message} for message in messages]
        self._client.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=events)


@pytest.fixture
def aws(shared_sagemaker_emulator: SageMakerEmulator) -> SageMakerEmulator:
    return shared_sagemaker_emulator


@pytest.fixture
def log(aws: SageMakerEmulator) -> Log:
    return Log()


@pytest.fixture
def jobs(aws: SageMakerEmulator) -> AwsTrialJobs:
    return AwsTrialJobs(AwsSession())


def scenario(*faults: dict[str, Any]) -> Scenario:
    return Scenario.from_json({"schema": 1, "faults": list(faults)})


def read(jobs: AwsTrialJobs, cursor: str | None = None) -> tuple[list[tuple[int, str]], str]:
    """All that there is from ``cursor`` on."""
    lines: list[tuple[int, str]] = []
    for _ in range(50):
        page = jobs.log_page(JOB, cursor)
        lines += page.lines
        cursor = page.cursor
        if page.at_end:
            return lines, cursor
    raise AssertionError("the log has no end")


def test_a_log_that_is_not_there_yet(aws: SageMakerEmulator, jobs: AwsTrialJobs) -> None:
    page = jobs.log_page(JOB, None)
    assert (page.lines, page.at_end) == ((), True)
    log = Log()
    assert read(jobs, page.cursor)[0] == []
    log.write(log.stream(100), "one\n")
    assert read(jobs, page.cursor)[0] == [(0, "one")]


def test_each_line_is_read_once(jobs: AwsTrialJobs, log: Log) -> None:
    stream = log.stream(100)
    log.write(stream, "a", "b")
    other = log.stream(100, job=f"{JOB}-2")
    log.write(other, "of another job")
    log.write(log.stream(99, host=2), "of another host")
    lines, cursor = read(jobs)
    assert lines == [(0, "a"), (0, "b")]
    assert read(jobs, cursor) == ([], cursor)
    log.write(stream, "c", "d", age_s=10)
    lines, cursor = read(jobs, cursor)
    assert lines == [(0, "c"), (0, "d")]
    assert json.loads(cursor)["run"] == 0


def test_runs_follow_one_another(jobs: AwsTrialJobs, log: Log) -> None:
    first = log.stream(100)
    log.write(first, "a", age_s=60)
    _, cursor = read(jobs)
    log.write(first, "b", age_s=50)  # the last words, and two more runs before anybody looks
    log.write(log.stream(1000), "c", age_s=40)
    log.write(log.stream(200), "d", age_s=45)
    lines, cursor = read(jobs, cursor)
    assert lines == [(0, "b"), (1, "d"), (2, "c")]
    assert read(jobs)[0] == [(0, "a"), *lines]
    log.stream(2000)
    assert read(jobs, cursor)[0] == []


def test_a_call_makes_few_calls(aws: SageMakerEmulator, jobs: AwsTrialJobs, log: Log) -> None:
    for epoch in range(100, 110):
        log.write(log.stream(epoch), "a")
    cursor, lines = None, []
    for _ in range(30):
        before = len(aws.audit.entries("call"))
        page = jobs.log_page(JOB, cursor)
        assert len(aws.audit.entries("call")) - before <= 3
        cursor, lines = page.cursor, lines + list(page.lines)
        if page.at_end:
            break
    assert lines == [(run, "a") for run in range(10)]


def test_pages_without_events_are_no_end(aws: SageMakerEmulator, jobs: AwsTrialJobs, log: Log) -> None:
    aws.apply_scenario(scenario({"kind": "empty_log_page"}))
    first = log.stream(100)
    log.write(first, "a", "b")
    page = jobs.log_page(JOB, None)
    assert (page.at_end, len(aws.audit.entries("fault"))) == (False, 1)
    lines, cursor = read(jobs)
    assert lines == [(0, "a"), (0, "b")]
    log.write(first, "c", age_s=5)
    assert read(jobs, cursor)[0] == [(0, "c")]


def test_late_events_are_read_later_and_in_order(aws: SageMakerEmulator, jobs: AwsTrialJobs, log: Log) -> None:
    aws.apply_scenario(scenario({"kind": "log_lag", "lag_s": 3600.0}))
    first = log.stream(100)
    log.write(first, "early", age_s=4000)
    log.write(first, "late", age_s=1)
    assert read(jobs)[0] == []  # the stream itself is too young to be seen
    aws.apply_scenario("calm")
    cursor = read(jobs)[1]
    log.write(first, "later", age_s=0)
    aws.apply_scenario(scenario({"kind": "log_lag", "lag_s": 3600.0}))
    page = jobs.log_page(JOB, cursor)
    assert page.lines == ()
    aws.apply_scenario("calm")
    assert read(jobs, page.cursor)[0] == [(0, "later")]


def test_an_expired_token_costs_no_line_and_doubles_none(jobs: AwsTrialJobs, log: Log) -> None:
    stream = log.stream(100)
    log.write(stream, "a", "b")
    _, cursor = read(jobs)
    expired = json.dumps({**json.loads(cursor), "token": "f/expired"})
    log.write(stream, "c", age_s=5)
    assert read(jobs, expired)[0] == [(0, "c")]
    log.write(log.stream(200), "d", age_s=1)
    lines, cursor = read(jobs, expired)
    assert lines == [(0, "c"), (1, "d")]
    assert read(jobs, json.dumps({**json.loads(cursor), "token": "f/expired"}))[0] == []
