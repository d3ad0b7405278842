"""Many jobs at once cost little, and leave nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import BUCKET, Rig, eventually

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.machine.log_shipper import LogShipper, MetricExtractor
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import LogStore

JOBS = 40


@pytest.fixture(scope="module")
def crowded() -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=JOBS, stop_grace_s=0) as aws:
        yield aws


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a link may vanish while it is looked at


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_idle_jobs_take_one_thread_each_and_give_everything_back(crowded: SageMakerEmulator) -> None:
    rig = Rig(crowded.endpoint_url, crowded.role_arn)
    request = rig.request("first")
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["sleep", "1000"]
    del request["InputDataConfig"]
    files, threads = open_files(), threading.active_count()
    names = [f"idle-{number}" for number in range(JOBS)]
    for name in names:
        checkpoints = {"S3Uri": f"s3://{BUCKET}/checkpoints/{name}"}
        rig.sagemaker.create_training_job(**request | {"TrainingJobName": name, "CheckpointConfig": checkpoints})
    eventually(lambda: all(job["SecondaryStatus"] == "Training" for job in crowded.jobs()), "all train")
    eventually(lambda: threading.active_count() <= threads + JOBS + 8, "one thread per job, and a few for all")
    used = time.process_time()
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 1, "a second")
    assert time.process_time() - used < 0.6 * (time.monotonic() - began)  # the waiting itself takes a part
    for name in names:
        rig.sagemaker.stop_training_job(TrainingJobName=name)
    for name in names:
        rig.ended(name)
    eventually(lambda: open_files() <= files + 4, "files are closed")
    eventually(lambda: threading.active_count() <= threads + 8, "threads have ended")


def test_a_hopeless_pattern_does_not_hold_up_the_logs() -> None:
    metrics = MetricExtractor(
        [{"Name": "slow", "Regex": r"(a|aa)+(b)"}, {"Name": "loss", "Regex": r"loss=([0-9]+)"}]
    )
    began = time.monotonic()
    for number in range(30):
        metrics.scan(f"{'a' * 60} loss={number}")
    assert time.monotonic() - began < 100  # 0.2 s for each of three lines, not for all; without a limit, ages
    assert [item["Value"] for item in metrics.final()] == [29.0]


def test_output_is_shipped_to_its_end(crowded: SageMakerEmulator) -> None:
    """Of many writers at once, by one thread; also of one that leaves its pipe open."""
    threads = SharedThreads()
    logs = LogStore("333333333333", "us-east-1")
    shippers, readers, writers = [], [], []
    try:
        for number in range(20):
            reader, writer = os.pipe()
            shipper = LogShipper(
                reader, logs, logs.new_stream(f"job-{number}", "algo-1"), MetricExtractor([]), threads
            )
            shipper.start(f"note {number}")
            shippers.append(shipper)
            readers.append(reader)
            writers.append(writer)
        for line in range(50):
            for number, writer in enumerate(writers):
                os.write(writer, f"line {line} of {number}\n".encode())
        for writer in writers[1:]:
            os.close(writer)
        for shipper in shippers:
            shipper.finish()
            shipper.finish()
    finally:
        os.close(writers[0])
        threads.close()
        for reader in readers:
            os.close(reader)
    for number in range(20):
        streams = logs._backend.groups["/aws/sagemaker/TrainingJobs"].streams
        (stream,) = [stream for name, stream in streams.items() if name.startswith(f"job-{number}/")]
        lines = [event.message for event in stream.events]
        assert lines == [f"note {number}", *(f"line {line} of {number}" for line in range(50))]
