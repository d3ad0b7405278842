"""What the end of a job means for its trial."""

from __future__ import annotations

import pytest

from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.experiment.ports import AttemptEnded
from cloudtune.report_stream import encode_line
from cloudtune.sagemaker_backend.ending import MAX_CAPACITY_FAILURES, TryAgain, verdict
from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.sagemaker_backend.trial_run import TrialRun
from cloudtune.trial import Outcome, Trial

CAPACITY = "CapacityError: Unable to provision requested ML compute capacity. Please retry."
INTERNAL = "InternalServerError: We encountered an internal error. Please try again."


def run(
    state: str, phase: str = "", reason: str = "", *, stop_asked: bool = False, created_here: bool = True
) -> TrialRun:
    status = JobStatus("3-1-tuner", "arn", JobState(state), phase or state, reason)
    return TrialRun(
        Trial(3, {}, attempt=1), "tuner", status=status, stop_asked=stop_asked, created_here=created_here
    )


def with_stream(item: TrialRun, *records: dict[str, object]) -> TrialRun:
    content = b"".join(map(encode_line, records))
    item.reports.take(ReportObject(item.label, 0, 0, len(content), "etag"), content)
    return item


def ended(item: TrialRun) -> AttemptEnded:
    found = verdict(item)
    assert isinstance(found, AttemptEnded)
    assert (found.trial_id, found.attempt) == (3, 1)
    return found


@pytest.mark.parametrize(
    ("item", "outcome"),
    [
        (run("Completed"), Outcome.completed),
        (run("Completed", stop_asked=True), Outcome.completed),
        (run("Stopped", stop_asked=True), Outcome.stopped),
        (run("Failed", reason="AlgorithmError: exit code: 1", stop_asked=True), Outcome.stopped),
        (run("Failed", reason="AlgorithmError: exit code: 1"), Outcome.failed),
        (run("Failed", reason="ClientError: no such bucket"), Outcome.failed),
        (run("Failed", reason=INTERNAL), Outcome.interrupted),
        (run("Stopped", "MaxRuntimeExceeded"), Outcome.failed),
    ],
)
def test_outcomes(item: TrialRun, outcome: Outcome) -> None:
    assert ended(item).outcome is outcome


def test_a_job_that_somebody_else_has_stopped_is_over() -> None:
    end = ended(run("Stopped"))
    assert end.outcome is Outcome.stopped and end.by_other and "somebody else" in end.reason
    # Whether an earlier tuner, which was killed, has asked for it, nobody knows: it is resumed.
    assert not ended(run("Stopped", created_here=False)).by_other


def test_a_job_without_an_instance_is_followed_by_another() -> None:
    assert isinstance(verdict(run("Failed", reason=CAPACITY)), TryAgain)
    assert isinstance(verdict(run("Stopped", "MaxWaitTimeExceeded")), TryAgain)
    given_up = run("Failed", reason=CAPACITY)
    given_up.capacity_failures = MAX_CAPACITY_FAILURES - 1
    end = ended(given_up)
    assert end.outcome is Outcome.failed and "fallback_instance_types" in end.reason


def test_a_spot_job_that_has_trained_and_finds_no_instance_again_is_resumed() -> None:
    item = with_stream(run("Stopped", "MaxWaitTimeExceeded"), {"kind": "hello", "run": 0, "time": 1.0})
    assert ended(item).outcome is Outcome.interrupted


def test_a_failure_shows_the_end_of_what_the_script_has_printed() -> None:
    last = {"kind": "end", "exit_code": 7, "count": 0, "tail": "ValueError: lr must be positive", "stopped": False}
    end = ended(with_stream(run("Failed", reason="AlgorithmError: , exit code: 7"), last))
    assert end.exit_code == 7
    assert end.reason == "exit code 7\nValueError: lr must be positive"
    assert ended(run("Failed", reason="AlgorithmError: exit code: 1")).reason == "AlgorithmError: exit code: 1"


def test_a_job_that_is_gone_is_interrupted() -> None:
    item = run("Completed")
    item.status = None
    assert ended(item).outcome is Outcome.interrupted
