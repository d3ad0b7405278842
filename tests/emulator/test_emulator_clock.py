"""The service's time, and what is counted in it."""

from __future__ import annotations

import time

import pytest
from emulator_rig import LOG_GROUP, Rig
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.errors import SpecError


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(SpecError, match="time_scale"):
        ServiceClock(scale)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e6), st.floats(0, 1e5))
def test_real_seconds_are_service_seconds_by_the_scale(scale: float, seconds: float) -> None:
    clock = ServiceClock(scale, start=0.0)
    assert clock.real(seconds) * scale == pytest.approx(seconds)
    readings = [clock.now() for _ in range(5)]
    assert readings == sorted(readings)
    assert clock.timeout(clock.now() - 1) == 0.0
    assert 0 <= clock.timeout(clock.now() + seconds) <= min(seconds / scale, 3600.0)
    assert clock.timeout(float("inf")) == 3600.0


def test_it_passes_as_fast_as_it_says() -> None:
    clock = ServiceClock(1000.0, start=50.0)
    before = time.monotonic()
    first = clock.now()
    time.sleep(0.02)
    passed, real = clock.now() - first, time.monotonic() - before
    assert 20.0 <= passed <= 1000.0 * real
    assert first >= 50.0


def test_jobs_are_dated_and_billed_in_service_seconds_and_log_in_real_ones() -> None:
    scale = 1000
    with SageMakerEmulator(time_scale=scale) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        real_start = time.time()
        limits = {"MaxRuntimeInSeconds": 2_000_000, "MaxWaitTimeInSeconds": 2_400_000}
        request = rig.request("scaled", "print('loss=1')\ntime.sleep(0.3)", spot=True, StoppingCondition=limits)
        request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=(.*)"}]
        rig.sagemaker.create_training_job(**request)
        job = rig.ended("scaled")
        real_end = time.time()
        assert job["TrainingJobStatus"] == "Completed", job
        trained = job["TrainingTimeInSeconds"]
        assert 300 <= trained <= scale * (real_end - real_start)
        assert job["BillableTimeInSeconds"] == pytest.approx(0.3 * trained, abs=1)
        between = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
        assert between == pytest.approx(trained, abs=1)
        [stream] = rig.streams("scaled")
        [metric] = job["FinalMetricDataList"]
        assert job["TrainingStartTime"] <= metric["Timestamp"] <= job["TrainingEndTime"]
        [event] = rig.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)[
            "events"
        ]
        assert real_start - 1 <= event["timestamp"] / 1000 <= real_end + 1

        [billed] = aws.audit.entries("billed")
        assert (billed["job"], billed["what"], billed["attempt"], billed["spot"]) == (
            "scaled",
            "training",
            0,
            True,
        )
        assert billed["instances"] == [{"instance_type": "ml.m5.large", "instance_count": 1}]
        assert round(billed["seconds"]) == trained
        assert billed["billable_seconds"] == pytest.approx(0.3 * billed["seconds"])
        phases = [entry["phase"] for entry in aws.audit.entries("transition")]
        assert phases == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
        times = [entry["service_time"] for entry in aws.audit.entries("transition")]
        assert times == sorted(times)
