"""Stops reach the jobs, also while others fail, and however the session ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hand_cloud import TUNER, HandCloud, script, spec
from hand_desk import TYPE, Desk

from cloudtune.aws.job_status import JobStatus
from cloudtune.backend import SageMakerBackend
from cloudtune.clock import WallClock
from cloudtune.errors import AccessDenied, InvalidRequest, ResourceNotFound, ServiceFailed
from cloudtune.experiment.ports import AttemptKey, BackendContext
from cloudtune.paths import ExperimentPaths
from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.trial import Trial


@pytest.fixture
def cloud() -> HandCloud:
    return HandCloud()


@pytest.fixture
def desk(cloud: HandCloud, tmp_path: Path) -> Desk:
    desk = Desk(cloud, tmp_path)
    desk.open()
    return desk


def begin(desk: Desk, trial_ids: Sequence[int]) -> None:
    for trial_id in trial_ids:
        desk.start(trial_id)
    desk.passes(max(2, len(trial_ids) / 3))
    for trial_id in trial_ids:
        desk.cloud.becomes(f"{trial_id}-0", "InProgress", "Training")


def test_a_job_that_is_not_known_yet_is_asked_again_soon(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [0])
    cloud.broken["stop", "0-0-tuner"] = ResourceNotFound("not yet")
    desk.backend.stop(0, 0)
    desk.passes(3)
    cloud.broken.clear()
    desk.passes(10)
    assert cloud.job("0-0").stop_asked == 1


def test_a_stop_that_always_fails_delays_no_other(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [0, 1, 2])
    cloud.broken["stop", "0-0-tuner"] = InvalidRequest("for whatever reason")
    desk.backend.stop(0, 0)
    desk.backend.stop(1, 0)
    desk.passes(3)
    assert cloud.job("1-0").stop_asked == 1
    desk.passes(600)
    desk.backend.stop(2, 0)
    desk.passes(3)
    assert cloud.job("2-0").stop_asked == 1
    assert cloud.calls["stop"] < 30


def test_a_stop_that_had_no_effect_is_sent_again(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [0])
    desk.backend.stop(0, 0)
    desk.passes(3)
    cloud.becomes("0-0", "InProgress", "Starting")  # the service has begun it anew
    desk.passes(310)
    assert cloud.job("0-0").stop_asked == 2


def test_a_stray_that_cannot_be_stopped_delays_no_stop(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [6, 7])
    later = Desk(cloud, desk.folder)
    later.open()
    begin(later, [0])
    cloud.broken["stop", "6-0-tuner"] = InvalidRequest("for whatever reason")
    later.passes(100)
    assert cloud.job("7-0").stop_asked == 1
    later.backend.stop(0, 0)
    later.passes(3)
    assert cloud.job("0-0").stop_asked == 1


def test_a_stray_that_is_asked_for_after_all_is_kept(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [7])
    later = Desk(cloud, desk.folder)
    later.open()
    later.start(0)
    cloud.broken["stop", "7-0-tuner"] = ServiceFailed("500")
    later.passes(90)
    later.start(7)
    later.passes(5)
    cloud.broken.clear()
    later.passes(200)
    assert cloud.job("7-0").stop_asked == 0
    cloud.reports("7-0", 1)
    later.passes(5)
    assert later.epochs() == [1]


def test_all_jobs_that_were_asked_to_stop_are_before_the_session_ends(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, range(160))
    desk.passes(20)
    for trial_id in range(160):
        desk.backend.stop(trial_id, 0)
    desk.backend.close()
    assert all(job.stop_asked == 1 for job in cloud.held.values())


def test_a_cloud_that_does_not_answer_holds_no_session_up(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, range(20))
    for trial_id in range(20):
        desk.backend.stop(trial_id, 0)
        cloud.broken["stop", f"{trial_id}-0-tuner"] = ServiceFailed("500")
    before = cloud.clock.now()
    desk.backend.close()
    assert cloud.clock.now() - before < 60


def test_nothing_is_begun_while_a_session_ends(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [0])
    desk.start(1)
    desk.backend.close()
    assert list(cloud.held) == ["0-0-tuner"]


def test_a_session_without_hope_stops_what_runs(desk: Desk, cloud: HandCloud) -> None:
    begin(desk, [0])
    later = Desk(cloud, desk.folder)
    later.open().adopt(Trial(0, {"lr": 0.1}, 0, cloud.clock.now()))
    later.passes(2)
    cloud.errors["create"] = [AccessDenied("not allowed")] * 9
    later.start(1)
    with pytest.raises(AccessDenied):
        later.passes(2)
    for trial_id in (0, 1):
        later.backend.stop(trial_id, 0)
    later.backend.close()
    assert cloud.job("0-0").stop_asked == 1


class _Broken(HandCloud):
    """An error that nobody has thought of."""

    def changed(self, name_contains: str, since: float | None) -> list[JobStatus]:
        if any(job.status.phase == "Training" for job in self.held.values()):
            raise RuntimeError("a bug")
        return super().changed(name_contains, since)


def _poll_for_ever(backend: SageMakerBackend) -> None:
    while True:
        backend.poll({AttemptKey(0, 0): 0})
        backend.wait(1.0)


def test_a_bug_ends_the_session_and_its_jobs(tmp_path: Path) -> None:
    cloud = _Broken()
    cloud.limits[TYPE, Usage.on_demand] = 8
    backend = SageMakerBackend(spec(instance_type=TYPE), entry_point=script(tmp_path), cloud=cloud)
    clock = WallClock()
    backend.open(BackendContext(ExperimentPaths(tmp_path / TUNER), clock, None, "epoch"))
    backend.start(Trial(0, {"lr": 0.1}, 0, clock.now()))
    while not cloud.held:
        backend.wait(0.05)
    cloud.becomes("0-0", "InProgress", "Training")
    with pytest.raises(RuntimeError, match="a bug"):
        _poll_for_ever(backend)
    backend.stop(0, 0)
    backend.close()
    assert cloud.job("0-0").stop_asked == 1


def test_the_log_of_an_attempt_is_that_of_the_job_that_ran(desk: Desk, cloud: HandCloud) -> None:
    desk.start(0)
    desk.passes(1)
    cloud.becomes("0-0", "Failed", reason="CapacityError: none")
    desk.passes(120)
    cloud.job("0-0r1").log.append((0, "hello"))
    assert desk.backend.stdout(0) == ["hello"]


def test_logs_are_read_when_tuning_is_over_and_of_earlier_sessions(desk: Desk, cloud: HandCloud) -> None:
    for attempt in (0, 1):
        desk.start(0, attempt)
        desk.passes(1)
        cloud.job(f"0-{attempt}").log.append((0, f"attempt {attempt}"))
        cloud.ends(f"0-{attempt}", 0)
        cloud.becomes(f"0-{attempt}", "Completed")
        desk.passes(10)
    desk.backend.close()
    assert desk.backend.stdout(0) == ["attempt 0", "attempt 1"]
    later = Desk(cloud, desk.folder)
    later.open()
    assert later.backend.stdout(0) == ["attempt 0", "attempt 1"]
    assert later.backend.stdout(1) == []


def test_all_reports_that_are_recorded_are_gone_after_the_session(desk: Desk, cloud: HandCloud) -> None:
    for trial_id in range(120):
        cloud.reports(f"{trial_id}-0", 1)
        desk.backend.retire(trial_id, 0)
    desk.backend.close()
    assert not cloud.objects
