"""Jobs in the journal: as they were, whatever happened to them; and how they go on with the next emulator."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fleet_rig import REGION, FleetRig, request, spot
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.fleet.job_states import FOLLOWERS, INTERNAL_ERROR
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext, Phase, TrainingJob
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.state.job_journal import FIELDS, JobJournal, goes_on

FIXED = {"name", "arn", "region", "_context", "_lock"}


class KeptRig(FleetRig):
    """A fleet whose jobs are kept, until the emulator is killed."""

    def __init__(self, path: Path, now: float | None = None) -> None:
        super().__init__()
        if now is not None:
            self.clock.time = now
        self.journal = JobJournal(path)
        self.journal.load(self.table)
        self.table.context.on_change = self.journal.changed
        self.table.context.on_remove = self.journal.removed

    def killed(self, path: Path, down_s: float = 100.0) -> KeptRig:
        """The next emulator, after ``down_s``. Its jobs have not gone on yet."""
        self.journal.close()
        return KeptRig(path, self.clock.time + down_s)

    def go_on(self, lost_at: float) -> None:
        for job in self.table.all():
            if goes_on(job, lost_at):
                self.fleet.adopt(job)
        self.fleet.advance()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def phases(job: TrainingJob) -> list[str]:
    return [item["Status"] for item in job.describe()["SecondaryStatusTransitions"]]


def test_every_field_of_a_job_is_kept() -> None:
    job = TrainingJob(request("job"), "arn", REGION, JobContext(ServiceClock(), AuditLog()))
    assert set(vars(job)) == {*FIELDS, *FIXED}, "a job has other fields: keep them, see job_journal.py"


def enters(phase: Phase) -> Any:
    return lambda job: phase in FOLLOWERS.get(job.phase, ()) and job.enter(phase)


ACTIONS: dict[str, Any] = {
    **{phase.value: enters(phase) for phase in Phase},
    "say": lambda job: job.say("something"),
    "end_attempt": lambda job: job.end_attempt(),
    "fail": lambda job: job.fail("AlgorithmError: x"),
    "pool": lambda job: job.set_warm_pool("Available"),
    "pool-ended": lambda job: job.set_warm_pool("Terminated", 3.5, "other"),
    "result": lambda job: job.set_result("s3://b/m", [{"MetricName": "m", "Value": 1.5, "Timestamp": 2.5}]),
    "update": lambda job: job.update({"ResourceConfig": {"KeepAlivePeriodInSeconds": 60}}),
    "tag": lambda job: job.set_tags([{"Key": "a", "Value": "b"}], remove=["old"]),
    "select": lambda job: job.select((("ml.m5.xlarge", 2),)),
    "restart": lambda job: job.phase in (Phase.downloading, Phase.training, Phase.uploading) and job.restart(),
}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=15), st.booleans())
def test_a_job_is_as_it_was_whatever_happened(actions: list[str], is_spot: bool) -> None:
    with TemporaryDirectory() as folder:
        rig = KeptRig(Path(folder) / "jobs")
        more = spot() if is_spot else {"RetryStrategy": {"MaximumRetryAttempts": 2}}
        job = rig.table.create(REGION, request("job", Tags=[{"Key": "old", "Value": "x"}], **more))
        for action in actions:
            rig.clock.time += 1.25
            ACTIONS[action](job)
        restored = rig.killed(Path(folder) / "jobs").table.get(REGION, "job")
        assert {name: vars(restored)[name] for name in FIELDS} == {name: vars(job)[name] for name in FIELDS}
        assert (restored.view(), restored.summary()) == (job.view(), job.summary())
        assert (restored.arn, restored.attempt, restored.cluster) == (job.arn, job.attempt, job.cluster)


def test_order_and_deletion(path: Path) -> None:
    rig = KeptRig(path)
    for name in ("c", "a", "b", "gone"):
        rig.create(name)
    rig.stop(rig.table.get(REGION, "gone"))
    rig.table.remove(rig.table.get(REGION, "gone"))
    rig.table.get(REGION, "c").set_tags([{"Key": "k", "Value": "v"}])
    rig = rig.killed(path)
    assert [job.name for job in rig.table.all()] == ["c", "a", "b"]
    assert rig.table.get(REGION, "c").tags == {"k": "v"}
    rig.table.check_free(REGION, "gone")


def test_what_has_ended_stays_as_it_was(path: Path) -> None:
    rig = KeptRig(path)
    done, failed = rig.create("done", run=True), rig.create("failed", run=True)
    rig.complete(done, seconds=30)
    failed.fail("AlgorithmError: x")
    before = [job.describe() for job in rig.table.all()]
    rig = rig.killed(path)
    rig.go_on(rig.clock.time)
    assert [job.describe() for job in rig.table.all()] == before
    assert rig.used("on_demand") == 0


def test_a_job_that_waited_is_queued_again(path: Path) -> None:
    rig = KeptRig(path)
    created = rig.create("waits").created
    rig = rig.killed(path)
    rig.go_on(rig.clock.time)
    (job,) = rig.fleet.take_ready(10)
    assert (job.name, job.phase, job.created) == ("waits", Phase.starting, created)
    assert rig.used("on_demand") == 1


def test_a_spot_job_is_interrupted_and_starts_again(path: Path) -> None:
    rig = KeptRig(path)
    rig.create("spot", run=True, **spot())
    rig.later(40)
    lost_at = rig.clock.time
    rig = rig.killed(path, down_s=1000)
    rig.go_on(lost_at)
    (job,) = rig.fleet.take_ready(10)
    assert phases(job) == ["Starting", "Downloading", "Training", "Interrupted", "Starting"]
    assert (job.attempt, job.seconds_used) == (1, 40)  # while the emulator was down, nothing was used
    (bill,) = rig.audit.entries("billed")
    assert (bill["seconds"], bill["billable_seconds"]) == (40, pytest.approx(12))
    job.enter(Phase.downloading)
    job.enter(Phase.training)
    rig.complete(job, seconds=20)
    assert job.describe()["TrainingTimeInSeconds"] == 60


def test_time_that_the_emulator_is_down_counts_for_the_longest_wait(path: Path) -> None:
    rig = KeptRig(path)
    rig.create("spot", run=True, **spot(max_wait_s=3600))
    lost_at = rig.clock.time
    rig = rig.killed(path, down_s=4000)
    rig.go_on(lost_at)
    assert phases(rig.table.get(REGION, "spot"))[-1] == "MaxWaitTimeExceeded"
    assert rig.used("spot") == 0


@pytest.mark.parametrize("phase", [Phase.downloading, Phase.training, Phase.uploading])
def test_an_on_demand_job_is_tried_again_only_if_it_may_be(path: Path, phase: Phase) -> None:
    rig = KeptRig(path)
    rig.create("once", run=True)
    rig.create("twice", run=True, RetryStrategy={"MaximumRetryAttempts": 1})
    for job in rig.table.all():
        if phase is Phase.uploading:
            job.enter(phase)
    for expected in (Phase.starting, Phase.failed):
        rig = rig.killed(path)
        rig.go_on(rig.clock.time)
        once, twice = rig.table.all()
        assert (once.phase, once.failure_reason) == (Phase.failed, INTERNAL_ERROR)
        assert twice.phase is expected
        if expected is Phase.starting:
            assert phases(twice)[-2:] == ["Restarting", "Starting"]
            rig.fleet.take_ready(10)
            twice.enter(Phase.downloading)
    assert (twice.failure_reason, rig.used("on_demand")) == (INTERNAL_ERROR, 0)


def test_a_spot_job_that_was_uploading_is_tried_again(path: Path) -> None:
    rig = KeptRig(path)
    rig.create("spot", run=True, **spot()).enter(Phase.uploading)
    rig = rig.killed(path)
    rig.go_on(rig.clock.time)
    assert [job.name for job in rig.fleet.take_ready(10)] == ["spot"]


@pytest.mark.parametrize("phase", [Phase.interrupted, Phase.restarting])
def test_killed_between_two_attempts(path: Path, phase: Phase) -> None:
    rig = KeptRig(path)
    job = rig.create("job", run=True, **spot())
    job.end_attempt()
    job.enter(phase)
    rig = rig.killed(path)
    rig.go_on(rig.clock.time)
    (job,) = rig.fleet.take_ready(10)
    assert (job.attempt, phases(job)[-2:]) == (1, [phase.value, "Starting"])


def test_a_job_that_was_being_stopped_is_stopped(path: Path) -> None:
    rig = KeptRig(path)
    rig.create("job", run=True).enter(Phase.stopping)
    rig.later(7)
    lost_at = rig.clock.time
    rig = rig.killed(path)
    rig.go_on(lost_at)
    found = rig.table.get(REGION, "job").describe()
    assert (found["TrainingJobStatus"], found["TrainingTimeInSeconds"]) == ("Stopped", 7)


def test_a_warm_pool_is_lost_and_billed_to_the_emulators_end(path: Path) -> None:
    rig = KeptRig(path)
    rig.quotas.set_limit("ml.m5.large", "warm_pool", 1)
    rig.complete(rig.create("warm", run=True, keep_alive=600), seconds=5)
    rig.later(33)
    lost_at = rig.clock.time
    rig = rig.killed(path)
    rig.go_on(lost_at)
    pool = rig.pool(rig.table.get(REGION, "warm"))
    assert pool == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 33}
    assert rig.used("warm_pool") == rig.used("on_demand") == 0


def test_a_job_for_which_there_is_no_quota_any_more_fails(path: Path) -> None:
    rig = KeptRig(path)
    rig.create("job")
    rig = rig.killed(path)
    rig.quotas.set_limit("*", "on_demand", 0)
    rig.go_on(rig.clock.time)
    assert rig.table.get(REGION, "job").failure_reason.startswith("CapacityError")


def test_a_full_disk_does_not_end_jobs(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = KeptRig(path)
    job = rig.create("job", run=True)
    rig.journal.close()
    rig.complete(job)
    assert job.phase is Phase.completed and "could not be kept" in caplog.text


def test_the_same_name_in_two_regions(path: Path) -> None:
    journal = JobJournal(path)
    table = JobTable("1", JobContext(ServiceClock(), AuditLog()))
    table.context.on_change = journal.changed
    for region in ("us-east-1", "eu-west-1"):
        table.create(region, request("same-name"))
    journal.close()
    other = JobTable("1", JobContext(ServiceClock(), AuditLog()))
    JobJournal(path).load(other)
    assert [job.arn for job in other.all()] == [job.arn for job in table.all()]
