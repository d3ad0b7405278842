"""Requests that fail, clocks that jump, tuners that err: what the simulated cloud plays and notices."""

from __future__ import annotations

import pytest
from cloud_rig import CloudRig, scenario

from cloudtune.emulator.faults.kinds import ClockSkew, Limits, RequestError, SlowResponse, Throttle
from cloudtune.errors import AlreadyExists, ServiceFailed, SpecError, Throttled, Unreachable
from cloudtune.simulated_cloud import CloudSettings

CREATE = ("sagemaker:CreateTrainingJob",)


@pytest.mark.parametrize("after_effect", [False, True])
def test_create_fails(after_effect: bool) -> None:
    rig = CloudRig(RequestError(CREATE, "internal_error", after_effect, limits=Limits(times=1)))
    with pytest.raises(ServiceFailed):
        rig.create()
    if after_effect:
        with pytest.raises(AlreadyExists):
            rig.create()
    else:
        rig.create()
    assert len(rig.world.all_jobs()) == 1


def test_no_answer() -> None:
    rig = CloudRig(RequestError(("s3:GetObject",), "truncated_body", limits=Limits(times=1)))
    rig.create()
    rig.later(40)
    (item,) = rig.files.report_objects()
    with pytest.raises(Unreachable):
        rig.files.read_report(item, 0)
    assert rig.files.read_report(item, 0)


def test_throttling() -> None:
    rig = CloudRig(Throttle(("sagemaker:ListTrainingJobs",), per_s=2.0, burst=2.0))
    for _ in range(2):
        rig.world.jobs.changed("-exp", None)
    with pytest.raises(Throttled, match="Rate exceeded"):
        rig.world.jobs.changed("-exp", None)
    rig.later(0.5)
    rig.world.jobs.changed("-exp", None)


def test_outage() -> None:
    rig = CloudRig(RequestError(("*:*",), "unavailable", limits=Limits(after_s=100.0, until_s=200.0)))
    name = rig.create()
    rig.later(150)
    for ask in (lambda: rig.status(name), rig.files.report_objects, lambda: rig.world.jobs.stop(name)):
        with pytest.raises(ServiceFailed):
            ask()
    rig.later(51)
    assert rig.phase(name) == "Training", "jobs do not notice"


def test_latency_is_time() -> None:
    rig = CloudRig(SlowResponse(CREATE, latency_s=3.0))
    begin = rig.world.clock.now()
    rig.create()
    assert rig.world.clock.now() == begin + 3.0


def test_chance_is_repeatable() -> None:
    def story(seed: int) -> list[str]:
        fault = RequestError(("sagemaker:*", "s3:*"), "throttled", probability=0.3)
        rig = CloudRig(settings=CloudSettings(scenario(fault), seed))
        told = []
        for number in range(40):
            try:
                rig.create(number)
                rig.files.report_objects()
                told.append("well")
            except Throttled as error:
                told.append(error.code)
        return told

    assert story(1) == story(1) != story(2)
    assert {"well", "ThrottlingException", "SlowDown"} <= set(story(1))


def test_the_tuner_s_clock_jumps() -> None:
    rig = CloudRig(settings=CloudSettings(clock_jumps=((50.0, 600.0), (100.0, -1000.0))))
    name = rig.create()
    begin = rig.world.clock.now()
    rig.later(49)
    rig.status(name)
    assert rig.world.clock.now() == begin + 49
    rig.later(1)
    rig.status(name)
    assert rig.world.clock.now() == begin + 650, "it was set"
    rig.later(50)
    status = rig.status(name)
    assert rig.world.clock.now() == begin + 700, "the machine slept, and its clock with it"
    assert status.state.is_final
    assert status.ended == begin + 216, "the service has a clock of its own"


def test_a_scenario_that_cannot_be_played() -> None:
    with pytest.raises(SpecError, match="cannot play the fault 'clock_skew'"):
        CloudSettings(scenario(ClockSkew(skew_s=3.0)))


def test_violations() -> None:
    rig = CloudRig()
    rig.create(0, 0, epochs=9)
    rig.later(60)
    assert rig.world.violations == []
    rig.create(0, 1)
    rig.later(60)
    rig.files.delete_checkpoints([0])
    rig.files.delete_reports(["0-1"])
    rig.later(1000)
    rig.create(0, 1, number=1)
    rig.create(0, 0, number=2)
    rig.later(60)
    said = rig.world.violations
    for text in (
        "0-1-exp was created while 0-0-exp of the same trial has not ended",
        "0-1-exp runs while 0-0-exp of the same trial does",
        "the checkpoints of 0-0-exp were deleted or replaced while it runs",
        "the reports of 0-1-exp were deleted while it runs",
        "0-1r1-exp runs the attempt that 0-1-exp has run already",
        "0-0r2-exp was created after 0-1-exp, of a later attempt",
    ):
        assert text in said


def test_orphans_are_jobs_that_nobody_has_asked_to_end() -> None:
    rig = CloudRig()
    name, other = rig.create(0), rig.create(1)
    rig.later(60)
    rig.world.jobs.stop(other)
    assert rig.world.running() == [name]
    rig.world.lose_machine({})
    assert rig.world.running() == [name], "jobs do not run on the tuner's machine"
    rig.later(1000)
    assert rig.world.running() == []


def test_next_instant_misses_nothing() -> None:
    """Whoever sleeps from instant to instant sees every phase and every report."""
    rig = CloudRig(settings=CloudSettings("realistic"))
    name = rig.create()
    phases, reports = [], []
    while (instant := rig.world.next_instant()) < float("inf"):
        rig.world.clock.advance_to(instant)
        phases.append(rig.phase(name))
        reports.append(len(rig.epochs("0-0")) if rig.files.report_objects() else 0)
    assert list(dict.fromkeys(phases)) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert sorted(set(reports)) == [0, 1, 2, 3]
