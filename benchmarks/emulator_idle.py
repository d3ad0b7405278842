"""What 200 jobs cost while they wait, beside as many bare processes.

    python benchmarks/emulator_idle.py

Every job has a container, a log and checkpoints in S3; its program is ``sleep``. What belongs to a job beside its
program (the process that holds its namespaces) counts as the emulator's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Callable, Sequence

from emulator_process import (
    BUCKET,
    TIMEOUT_S,
    Emulator,
    command_of,
    cpu_seconds,
    descendants,
    emulator,
    job_request,
    memory_mib,
    num_threads,
)
from measuring import show

from cloudtune.emulator import SageMakerEmulator

PROGRAM = ["sleep", "100000"]
POLL_S = 0.2


def until(happened: Callable[[], bool]) -> float:
    """Seconds until it has."""
    began = time.perf_counter()
    while not happened():
        if time.perf_counter() - began > TIMEOUT_S:
            raise SystemExit("It takes too long.")
        time.sleep(POLL_S)
    return time.perf_counter() - began


def submit(running: Emulator, jobs: int) -> None:
    sagemaker = running.client("sagemaker")
    running.client("s3").create_bucket(Bucket=BUCKET)
    for number in range(jobs):
        request = job_request(f"job-{number}", SageMakerEmulator.role_arn, *PROGRAM)
        request["CheckpointConfig"] = {"S3Uri": f"s3://{BUCKET}/checkpoints/{number}"}
        sagemaker.create_training_job(**request)


def cpu_percent(pids: Sequence[int], seconds: float) -> float:
    """Of one core, over ``seconds``, of all of them together."""
    before = sum(map(cpu_seconds, pids))
    began = time.perf_counter()
    time.sleep(seconds)
    return 100 * (sum(map(cpu_seconds, pids)) - before) / (time.perf_counter() - began)


def programs(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if command_of(pid) == PROGRAM[0]]


def bare(jobs: int, seconds: float) -> list[object]:
    """The programs as processes of this one."""
    processes = [subprocess.Popen(PROGRAM) for _ in range(jobs)]
    try:
        pids = [process.pid for process in processes]
        memory = sum(memory_mib(pid, "Pss") for pid in pids)
        return ["bare processes", "", f"{memory:.0f}", "", f"{cpu_percent(pids, seconds):.1f}", ""]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of looking at them")
    args = parser.parse_args()
    limit = bare(args.jobs, args.seconds)
    with emulator("--max_parallel_jobs", str(args.jobs), "--stop_grace_s", "1") as running:
        empty = [
            "emulator without jobs",
            f"{memory_mib(running.pid, 'Rss'):.0f}",
            "",
            "",
            f"{cpu_percent([running.pid], args.seconds):.1f}",
            num_threads(running.pid),
        ]
        kept = set(descendants(running.pid))
        began = time.perf_counter()
        submit(running, args.jobs)
        submitted_s = time.perf_counter() - began
        until(lambda: len(programs(descendants(running.pid))) == args.jobs)
        started_s = time.perf_counter() - began
        everything = descendants(running.pid)
        helpers = sorted(set(everything) - set(programs(everything)))
        full = [
            f"emulator with {args.jobs} jobs",
            f"{memory_mib(running.pid, 'Rss'):.0f}",
            f"{sum(memory_mib(pid, 'Pss') for pid in programs(everything)):.0f}",
            f"{sum(memory_mib(pid, 'Pss') for pid in helpers):.0f} ({len(helpers)})",
            f"{cpu_percent([running.pid, *helpers], args.seconds):.1f}",
            num_threads(running.pid),
        ]
        sagemaker = running.client("sagemaker")
        for number in range(args.jobs):
            sagemaker.stop_training_job(TrainingJobName=f"job-{number}")
        stopped_s = until(lambda: not set(descendants(running.pid)) - kept)
        left = len(descendants(running.pid))
    show(
        f"{args.jobs} idle jobs",
        ["", "emulator, RSS, MiB", "programs, PSS, MiB", "helpers, PSS, MiB", "CPU, % of a core", "threads"],
        [limit, empty, full],
        [
            f"Submitted in {submitted_s:.1f} s, all running {started_s:.1f} s after the first was submitted.",
            f"All ended {stopped_s:.1f} s after the last was stopped; processes left: {left}, which cleans up.",
            f"CPU over {args.seconds:g} s: the emulator and the helpers together. {os.cpu_count()} cores.",
        ],
    )


if __name__ == "__main__":
    main()
