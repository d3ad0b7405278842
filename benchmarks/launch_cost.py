"""What launching 60 jobs (6 methods x 10 seeds) costs: calls, bytes, seconds.

    python benchmarks/launch_cost.py

The launcher runs as it is, in a process of its own, against an emulator in this one; every request that its
clients send is counted. The jobs are cut off as soon as all are submitted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from measuring import HERE, show, timed

METHODS = 6
_TIMEOUT_S = 300
#: Objects that a launch of one job puts into S3: measured, see docs/benchmarks.md.
SDK_PUTS = {"SageMaker SDK v2": 1, "SageMaker SDK v3": 27}


class Counts:
    """Requests by operation, with the bytes of their bodies. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def before_send(self, request: Any, event_name: str, **_: object) -> None:
        """A handler of botocore's event ``before-send``, which comes once for each attempt."""
        _, service, operation = event_name.split(".")
        headers = {str(name).lower(): value for name, value in request.headers.items()}
        length = headers.get("x-amz-decoded-content-length") or headers.get("content-length") or 0
        with self._lock:
            self.calls[f"{service}.{operation}"] += 1
            self.bytes[f"{service}.{operation}"] += int(length)


def launch(num_seeds: int, counts_file: Path) -> int:
    """In the child: the launcher, with six methods."""
    from botocore import handlers

    counts = Counts()
    handlers.BUILTIN_HANDLERS.append(("before-send", counts.before_send))  # of every session to come

    from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
    from cloudtune.experiments.default_baselines import methods
    from cloudtune.experiments.launchers.launch_remote_local import launch_remote

    shipped = list(methods.values())
    six = {f"M{number}": shipped[number % len(shipped)] for number in range(METHODS)}
    argv = ["--experiment_tag", "launch-cost", "--num_seeds", str(num_seeds), "--no_wait", "--yes"]
    entry_point = HERE.parent / "entry_points" / "hpo_main.py"
    codes: list[int] = []
    seconds = timed(lambda: codes.append(launch_remote(entry_point, six, real_benchmark_definitions, argv=argv)))
    result = {"seconds": seconds, "calls": counts.calls, "bytes": counts.bytes}
    counts_file.write_text(json.dumps(result), encoding="utf-8")
    return codes[0]


def measure(num_seeds: int) -> dict[str, Any]:
    """Counts and seconds of one launch."""
    from cloudtune.emulator import SageMakerEmulator

    with tempfile.TemporaryDirectory() as folder, SageMakerEmulator(max_parallel_jobs=1) as emulator:
        counts = Path(folder) / "counts.json"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment |= {**emulator.environment(), "CLOUDTUNE_FOLDER": folder}
        command = [sys.executable, __file__, "--num_seeds", str(num_seeds), "--count_to", str(counts)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"The launch ended with {done.returncode}:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(counts.read_text(encoding="utf-8"))
        created = len(emulator.jobs())
    if created != METHODS * num_seeds:
        raise SystemExit(f"{created} jobs instead of {METHODS * num_seeds}.")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_seeds", type=int, default=10)
    parser.add_argument("--count_to", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count_to is not None:
        return launch(args.num_seeds, args.count_to)
    result = measure(args.num_seeds)
    calls, sent = Counter(result["calls"]), Counter(result["bytes"])
    jobs = METHODS * args.num_seeds
    archive, create = sent["s3.PutObject"], sent["sagemaker.CreateTrainingJob"]
    rows = [[name, number, f"{sent[name]:,}"] for name, number in sorted(calls.items(), key=lambda x: -x[1])]
    rows.append(["all", calls.total(), f"{sent.total():,}"])
    show(f"Requests of launching {jobs} jobs", ["operation", "calls", "bytes of bodies"], rows)
    limit_calls, limit_bytes = jobs + 1, archive + create
    compared = [
        ["limit: 1 PUT, 1 create a job", 1, limit_calls, f"{limit_bytes:,}", "1.00"],
        [
            "cloudtune",
            calls["s3.PutObject"],
            calls.total(),
            f"{sent.total():,}",
            f"{calls.total() / limit_calls:.2f}",
        ],
    ]
    for name, puts in SDK_PUTS.items():
        total = jobs * (puts + 1)
        compared.append([f"{name} (documented)", jobs * puts, f">= {total}", "-", f"{total / limit_calls:.2f}"])
    show(
        f"Launching {jobs} jobs",
        ["", "PUTs", "calls", "bytes", "calls / limit"],
        compared,
        [
            f"Seconds from command line to the last job: {result['seconds']:.1f}; CreateTrainingJob is paced on "
            "purpose: 8 at once, then 4 per second.",
            f"Code archive: {archive:,} bytes, sent once; sent per job it would have been {jobs * archive:,}.",
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
