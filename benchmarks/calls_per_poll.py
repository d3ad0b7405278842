"""Calls to AWS per poll while many trials run, one job each.

    python benchmarks/calls_per_poll.py
    python benchmarks/calls_per_poll.py --running 4 40

The real backend and boto3 against the emulator, whose jobs wait for an instance all the while: that costs no
memory, and to the tuner they are running. Their reports are put into S3 as their supervisors would. What is
counted is what the emulator has seen. Beside it: what Syne Tune 0.13 needs (read in its source, and measured
for 8 trials: 25 calls): one Search for 20 trials, and three calls to CloudWatch Logs for each.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from measuring import show

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.backend import SageMakerBackend
from cloudtune.clock import WallClock
from cloudtune.constants import ENV_FOLDER
from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.fleet.delays import FamilyDelays
from cloudtune.experiment.ports import AttemptKey, BackendContext, ReportSeen
from cloudtune.experiments.benchmark_definitions.mlp_digits import mlp_digits_benchmark
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.names import trial_label
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths
from cloudtune.report_stream import encode_line, object_name
from cloudtune.trial import Trial

_BEGIN_PATIENCE_S = 240.0
_OPERATIONS = ("ListObjectsV2", "GetObject", "ListTrainingJobs", "DescribeTrainingJob")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", type=int, nargs="+", default=[4, 40, 400])
    parser.add_argument("--seconds", type=float, default=20.0, help="measured for each number of trials")
    args = parser.parse_args()
    rows = []
    for running in args.running:
        for reporting in (False, True):
            news = "one each" if reporting else "none"
            print(f"{running} trials, new reports: {news}: {args.seconds:g} s", file=sys.stderr, flush=True)
            calls, polls = measure(running, args.seconds, reporting)
            total = sum(calls.values()) / polls
            syne_tune = math.ceil(running / 20) + 3 * running
            each = [f"{calls[operation] / polls:.2f}" for operation in _OPERATIONS]
            rows.append([running, news, f"{total:.2f}", *each, syne_tune, f"{syne_tune / total:.0f}"])
    show(
        "AWS calls per poll of a tuner with one job per trial",
        ["trials running", "new reports", "calls", *_OPERATIONS, "Syne Tune 0.13", "ratio"],
        rows,
        [
            "A poll is a listing of reports; jobs are listed about as often here, and half as often on AWS.",
            "With news, one read for each trial that has reported since the last poll comes on top.",
        ],
    )
    return 0


def measure(running: int, seconds: float, reporting: bool) -> tuple[Counter[str], int]:
    """Calls by operation, and polls."""
    with tempfile.TemporaryDirectory() as folder, SageMakerEmulator(max_parallel_jobs=1) as aws:
        aws.delays.use((FamilyDelays(("ml.",), start=(3600.0, 3600.0)),))
        os.environ |= {**aws.environment(), ENV_FOLDER: folder}
        benchmark = mlp_digits_benchmark()
        spec = TrainingJobSpec(instance_type="ml.m5.large")
        backend = SageMakerBackend(spec, entry_point=benchmark.script)
        clock = WallClock()
        paths = ExperimentPaths(Path(folder) / "calls")
        backend.open(BackendContext(paths, clock, None, benchmark.resource_attr))
        seen = {AttemptKey(trial_id, 0): 0 for trial_id in range(running)}
        for trial_id in range(running):
            backend.start(Trial(trial_id, {"learning_rate": 0.1}, 0, clock.now()))
        deadline = clock.now() + _BEGIN_PATIENCE_S
        while len(aws.jobs()) < running:
            backend.poll(seen)
            backend.wait(0.5)
            if clock.now() > deadline:
                raise SystemExit(f"only {len(aws.jobs())} jobs have been created")
        where = S3ExperimentPaths.of(AwsSession().default_bucket(), paths.name)
        streams = Streams(S3Objects(AwsSession()), where, running)
        begin = len(aws.audit.entries("call"))
        written = 0
        until = clock.now() + seconds
        due = clock.now()
        while clock.now() < until:
            if reporting and clock.now() >= due:
                written += streams.grow()
                due = clock.now() + 5.0
            for fact in backend.poll(seen):
                if isinstance(fact, ReportSeen):
                    seen[AttemptKey(fact.trial_id, fact.attempt)] = fact.seq + 1
            backend.wait(0.25)
        entries = aws.audit.entries("call")[begin:]
        calls = Counter(str(entry["operation"]) for entry in entries)
        calls["PutObject"] -= written
        backend.close()
    return +calls, max(1, calls["ListObjectsV2"] // max(1, math.ceil(running / 1000)))


class Streams:
    """Reports of all trials, as their supervisors would write them."""

    def __init__(self, objects: S3Objects, where: S3ExperimentPaths, running: int) -> None:
        self._objects = objects
        self._where = where
        hello = encode_line({"kind": "hello", "run": 0, "time": 0.0, "host": "algo-1"})
        self._content = dict.fromkeys((trial_label(trial_id, 0) for trial_id in range(running)), hello)
        self._count = 0

    def grow(self) -> int:
        """One more report of each; how many objects were written."""
        line = encode_line({"kind": "report", "seq": self._count, "metrics": {"epoch": self._count + 1}})
        self._count += 1
        for label in self._content:
            self._content[label] += line
            self._objects.put(self._where.reports / label / object_name(0, 0), self._content[label])
        return len(self._content)


if __name__ == "__main__":
    sys.exit(main())
