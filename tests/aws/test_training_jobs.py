from __future__ import annotations

import threading

import botocore.session
import pytest
from fake_sagemaker import FakeSageMaker

from cloudtune.aws.job_status import JobState
from cloudtune.aws.retry import Interrupted
from cloudtune.aws.session import AwsSession
from cloudtune.aws.submission import SubmissionState
from cloudtune.aws.training_jobs import LOG_GROUP, TrainingJobs
from cloudtune.clock import VirtualClock, WallClock
from cloudtune.errors import AccessDenied, AlreadyExists, AwsError, QuotaExceeded, ResourceNotFound, SpecError
from cloudtune.job_spec import TrainingJobSpec


def spec(name: str, **more: object) -> TrainingJobSpec:
    return TrainingJobSpec(
        name,
        "image",
        "arn:aws:iam::123456789012:role/x",
        "s3://bucket/out",
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def service(session: AwsSession) -> FakeSageMaker:
    return FakeSageMaker(session)


@pytest.fixture
def jobs(session: AwsSession, service: FakeSageMaker, clock: VirtualClock) -> TrainingJobs:
    return TrainingJobs(session, clock)


def test_every_status_of_the_service_has_a_state() -> None:
    model = botocore.session.Session().get_service_model("sagemaker")
    known = model.shape_for("TrainingJobStatus").enum  # type: ignore[attr-defined]
    assert {state.value for state in JobState} == set(known)
    assert {state.value for state in JobState if not state.is_final} == {"InProgress", "Stopping"}
    assert not JobState("Hibernating").is_final


def test_create_describe_stop(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    arn = jobs.create(spec("one"))
    assert arn.endswith(":training-job/one")
    with pytest.raises(AlreadyExists):
        jobs.create(spec("one"))
    status = jobs.describe("one")
    assert (status.state, status.phase, status.arn) == (JobState.running, "Starting", arn)
    assert status.created == 1.7e9
    jobs.stop("one")
    assert jobs.describe("one").state is JobState.stopping
    service.end("one", "Stopped", BillableTimeInSeconds=17)
    jobs.stop("one")  # has ended: nothing to do
    assert jobs.describe("one").billable_s == 17
    for call in (jobs.describe, jobs.stop):
        with pytest.raises(ResourceNotFound):
            call("never-was")


def test_a_bad_spec_is_not_sent(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    with pytest.raises(SpecError, match="bad_name"):
        jobs.create(spec("bad_name"))
    with pytest.raises(SpecError, match="bad_name"):
        jobs.submit_all([spec("good"), spec("bad_name")])
    with pytest.raises(SpecError, match="good"):
        jobs.submit_all([spec("good"), spec("good")])
    assert not service.calls


def test_submit_all(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    specs = [spec(f"tag-bench-asha-{n}") for n in range(30)]
    service.fail("CreateTrainingJob", "ThrottlingException", times=12)
    service.fail("CreateTrainingJob", "InternalFailure", times=3)
    progress: list[tuple[int, int]] = []
    messages: list[str] = []
    found = jobs.submit_all(
        specs, workers=8, on_progress=lambda *step: progress.append(step), on_message=messages.append
    )
    assert [s.spec for s in found] == specs
    assert [s.error for s in found if s.error] == []
    assert {s.state for s in found} == {SubmissionState.created}
    assert {s.arn.rsplit("/")[-1] for s in found} == set(service.jobs) == {s.name for s in specs}
    assert progress == [(n, 30) for n in range(1, 31)]
    assert len(messages) == 15
    assert all("Trying again" in message for message in messages)


def test_a_launch_is_continued_without_doubling(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    for n in range(3):
        jobs.create(spec(f"job-{n}"))
    service.end("job-0", "Failed", FailureReason="AlgorithmError: no")
    found = jobs.submit_all([spec(f"job-{n}") for n in range(5)])
    assert [s.state for s in found] == ["existing"] * 3 + ["created"] * 2
    assert all(s.arn for s in found)
    assert found[0].status is not None
    assert (found[0].status.state, found[0].status.failure_reason) == (JobState.failed, "AlgorithmError: no")
    assert len(service.jobs) == 5


def test_submission_is_paced(jobs: TrainingJobs, service: FakeSageMaker, clock: VirtualClock) -> None:
    started = clock.now()
    jobs.submit_all([spec(f"job-{n}") for n in range(48)], workers=1, rate_per_s=2.0)
    assert clock.now() - started == pytest.approx(20.0, abs=0.5)


def test_quota_is_waited_for(jobs: TrainingJobs, service: FakeSageMaker, clock: VirtualClock) -> None:
    service.quota = 2
    messages: list[str] = []

    def tell(message: str) -> None:
        messages.append(message)
        if len(messages) == 4:
            service.quota = 100

    started = clock.now()
    found = jobs.submit_all([spec(f"job-{n}") for n in range(4)], workers=1, on_message=tell)
    assert [s.error for s in found if s.error] == []
    assert {s.state for s in found} == {SubmissionState.created}
    assert "is 2 Instances" in messages[0]
    assert clock.now() - started > 7 + 15 + 30 + 60


def test_a_quota_of_zero_is_not_waited_for(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    service.quota = 0
    found = jobs.submit_all([spec("job", spot=True)])
    assert found[0].state is SubmissionState.failed
    assert found[0].error is not None
    assert not isinstance(found[0].error, QuotaExceeded)
    assert "no quota for ml.m5.large (spot)" in found[0].error.hint


def test_one_failure_does_not_end_the_launch_unless_it_is_hopeless(
    jobs: TrainingJobs, service: FakeSageMaker
) -> None:
    service.fail("CreateTrainingJob", "ValidationException", "Could not assume role")
    found = jobs.submit_all([spec(f"job-{n}") for n in range(3)], workers=1)
    assert [s.state for s in found] == ["failed", "created", "created"]
    service.fail("CreateTrainingJob", "AccessDeniedException", "not authorized", times=100)
    service.calls.clear()
    found = jobs.submit_all([spec(f"more-{n}") for n in range(20)], workers=2)
    assert {s.state for s in found} == {SubmissionState.failed}
    assert isinstance(found[0].error, AccessDenied)
    assert service.calls["CreateTrainingJob"] <= 2


def test_interrupt(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    service.quota = 3
    interrupt = threading.Event()
    found = jobs.submit_all(
        [spec(f"job-{n}") for n in range(6)], workers=1, interrupt=interrupt, on_message=lambda _: interrupt.set()
    )
    assert [s.state for s in found] == ["created"] * 3 + ["failed"] * 3
    assert all(isinstance(s.error, Interrupted) for s in found[3:])


def test_ctrl_c(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    def press(done: int, total: int) -> None:
        raise KeyboardInterrupt

    service.quota = 2
    with pytest.raises(KeyboardInterrupt):
        jobs.submit_all([spec(f"job-{n}") for n in range(50)], workers=2, on_progress=press)
    assert len(service.jobs) <= 2
    service.quota = 100
    found = jobs.submit_all([spec(f"job-{n}") for n in range(50)])
    assert len(service.jobs) == 50
    assert {s.state for s in found} == {SubmissionState.created, SubmissionState.existing}


def test_statuses_with_few_calls(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    names = [f"tag-bench-asha-{n}" for n in range(130)]
    jobs.submit_all([spec(name) for name in [*names, "other-bench"]])
    service.end(names[5], "Failed", FailureReason="AlgorithmError: x, exit code: 1")
    service.end(names[6], "Completed", BillableTimeInSeconds=44)
    service.calls.clear()
    found = jobs.statuses("tag-bench")
    assert set(found) == set(names)
    assert found[names[5]].failure_reason == "AlgorithmError: x, exit code: 1"
    assert found[names[6]].billable_s == 44
    assert found[names[0]].state is JobState.running
    assert service.calls == {"ListTrainingJobs": 2, "DescribeTrainingJob": 2}
    assert jobs.statuses(names) == found
    assert service.calls == {"ListTrainingJobs": 4, "DescribeTrainingJob": 2}
    assert jobs.statuses([]) == {}
    # Trials of one tuner share the end of their names.
    jobs.submit_all([spec(f"{n}-0-my-tuner") for n in range(5)])
    service.calls.clear()
    assert len(jobs.statuses([f"{n}-0-my-tuner" for n in range(5)])) == 5
    assert service.calls == {"ListTrainingJobs": 1}


def test_statuses_of_names_without_a_common_part(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    for name in ("abc", "xyz"):
        jobs.create(spec(name))
    service.end("abc", "Completed")
    for _ in range(2):
        found = jobs.statuses(["abc", "xyz", "never-was"])
        assert {name: status.state.value for name, status in found.items()} == {
            "abc": "Completed",
            "xyz": "InProgress",
        }
    assert service.calls["ListTrainingJobs"] == 0
    assert service.calls["DescribeTrainingJob"] == 5


def test_looking_and_stopping_outlast_throttling(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    jobs.create(spec("some-job"))
    for operation in ("ListTrainingJobs", "DescribeTrainingJob", "StopTrainingJob"):
        service.fail(operation, "ThrottlingException", times=4)
    assert jobs.statuses("some-job")["some-job"].state is JobState.running
    assert jobs.describe("some-job").state is JobState.running
    jobs.stop("some-job")
    assert service.faults == []


def test_a_status_from_the_future(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    jobs.create(spec("job"))
    service.jobs["job"]["TrainingJobStatus"] = "Hibernating"
    assert not jobs.describe("job").state.is_final


def test_log_tail(session: AwsSession, clock: VirtualClock) -> None:
    jobs = TrainingJobs(session, clock)
    assert jobs.log_tail("job", 5) == []  # not even a log group
    logs = session.client("logs")
    logs.create_log_group(logGroupName=LOG_GROUP)
    now_ms = int(WallClock().now() * 1000)
    for stream, lines in (
        ("job/algo-1-1700000000", ["old 1", "old 2"]),
        ("job/algo-1-1700000900", [f"new {n}" for n in range(30)]),
        ("job-2/algo-1-1700000900", ["another job"]),
    ):
        logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
        logs.put_log_events(
            logGroupName=LOG_GROUP,
            logStreamName=stream,
            logEvents=[{"timestamp": now_ms + n, "message": line + "\n"} for n, line in enumerate(lines)],
        )
    assert jobs.log_tail("job", 3) == ["new 27", "new 28", "new 29"]
    assert jobs.log_tail("job", 31) == ["old 2", *(f"new {n}" for n in range(30))]
    assert jobs.log_tail("job", 1000) == ["old 1", "old 2", *(f"new {n}" for n in range(30))]
    assert jobs.log_tail("job", 0) == []


def test_errors_name_the_job(jobs: TrainingJobs, service: FakeSageMaker) -> None:
    service.fail("CreateTrainingJob", "AccessDeniedException", "no")
    with pytest.raises(AwsError, match=r"create training job 'x' \(sagemaker:CreateTrainingJob\)"):
        jobs.create(spec("x"))
