"""What the emulator adds to jobs of one second, beside the same command as bare processes.

    python benchmarks/emulator_jobs.py

All jobs run the same command, as many at once, in the same run; they print when they begin and end.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from emulator_process import BUCKET, TIMEOUT_S, Emulator, emulator, job_request
from measuring import Life, handovers, quantile, show

from cloudtune.emulator import SageMakerEmulator

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
ROLE = SageMakerEmulator.role_arn
POLL_S = 0.01


def program(seconds: float) -> list[str]:
    return ["/bin/sh", "-c", f"date +%s.%N; sleep {seconds}; date +%s.%N"]


def bare(jobs: int, at_once: int, seconds: float) -> list[Life]:
    """The command as processes of this one."""

    def run(_: int) -> Life:
        done = subprocess.run(program(seconds), capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
        return Life(*map(float, done.stdout.split()))

    with ThreadPoolExecutor(at_once) as pool:
        return sorted(pool.map(run, range(jobs)), key=lambda life: life.begin)


def submit(running: Emulator, names: list[str], seconds: float) -> dict[str, float]:
    """Creates the jobs one after another; returns when each was asked for."""
    sagemaker = running.client("sagemaker")
    asked = {}
    for name in names:
        asked[name] = time.time()
        sagemaker.create_training_job(**job_request(name, ROLE, *program(seconds)))
    return asked


def printed(running: Emulator, name: str) -> list[float]:
    """What the job has printed so far."""
    logs = running.client("logs")
    try:
        streams = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    found = []
    for stream in streams:
        events = logs.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True
        )["events"]
        found += [float(event["message"]) for event in events if event["message"][:1].isdigit()]
    return found


def wait(running: Emulator, names: list[str]) -> None:
    sagemaker = running.client("sagemaker")
    for name in names:
        while sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
            time.sleep(POLL_S * 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--at_once", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    with emulator("--max_parallel_jobs", str(args.at_once)) as running:
        running.client("s3").create_bucket(Bucket=BUCKET)
        alone = [f"alone-{number}" for number in range(15)]
        first = []
        for name in alone:  # one after the other, nothing else runs
            asked = submit(running, [name], 0)[name]
            wait(running, [name])
            first.append(min(printed(running, name)) - asked)
        limit = bare(args.jobs, args.at_once, args.seconds)
        names = [f"job-{number}" for number in range(args.jobs)]
        began = time.perf_counter()
        submit(running, names, args.seconds)
        submitted_s = time.perf_counter() - began
        wait(running, names)
        lives = sorted((Life(*printed(running, name)) for name in names), key=lambda life: life.begin)
    rows = []
    for what, found in (("bare processes", limit), ("emulator", lives)):
        wall = max(life.end for life in found) - min(life.begin for life in found)
        handed = [1000 * value for value in handovers(found, args.at_once)]
        over = 1000 * (wall - args.jobs * args.seconds / args.at_once) / args.jobs * args.at_once
        rows.append(
            [
                what,
                f"{wall:.1f}",
                f"{over:.0f}",
                f"{statistics.median(handed):.0f}",
                f"{quantile(handed, 0.9):.0f}",
            ]
        )
    show(
        f"{args.jobs} jobs of {args.seconds:g} s, {args.at_once} at once",
        ["", "wall, s", "added per job, ms", "end to next begin, ms: median", "p90"],
        rows,
        [
            f"CreateTrainingJob to a lone job's first output: median {1000 * statistics.median(first):.0f} ms, "
            f"p90 {1000 * quantile(first, 0.9):.0f} ms ({len(first)} jobs).",
            f"Submission by one boto3 client: {args.jobs / submitted_s:.0f} jobs a second, while jobs run.",
        ],
    )


if __name__ == "__main__":
    main()
