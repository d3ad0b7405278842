"""Seconds from a trial's end to the beginning of the next one, with LocalBackend.

    python benchmarks/worker_latency.py

Measured in the trials themselves: the last moment of one process, the first line of Python of the next. The limit
is the same script with the same durations, started by xargs.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import ENV_FACTS, HERE, NOOP, handovers, quantile, read_lives, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_workers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--trials_per_worker", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=0.5, help="trials sleep for so long to twice as long")
    args = parser.parse_args()
    rows = []
    for n_workers in args.n_workers:
        num_trials = n_workers * args.trials_per_worker
        limit = quantiles(with_xargs(num_trials, n_workers, args.seconds))
        ours = quantiles(with_cloudtune(num_trials, n_workers, args.seconds))
        rows.append([f"{n_workers}: xargs (limit)", num_trials, *(f"{1000 * value:.0f}" for value in limit), ""])
        added = f"{1000 * (ours[0] - limit[0]):+.0f}"
        rows.append([f"{n_workers}: cloudtune", num_trials, *(f"{1000 * value:.0f}" for value in ours), added])
    show(
        "From a trial's end to the next one's first line of Python, ms",
        ["workers", "trials", "median", "p90", "max", "median over limit"],
        rows,
        [f"Each trial sleeps {args.seconds} to {2 * args.seconds} s and reports once; random search, defaults."],
    )


def quantiles(handed: list[float]) -> tuple[float, float, float]:
    return quantile(handed, 0.5), quantile(handed, 0.9), max(handed)


def with_cloudtune(num_trials: int, n_workers: int, seconds: float) -> list[float]:
    """Seconds of each handover."""
    script = HERE / "peers" / "run_cloudtune.py"
    command = [sys.executable, str(script), str(NOOP), str(num_trials), str(n_workers), str(seconds)]
    return _measure(command, "", num_trials, n_workers)


def with_xargs(num_trials: int, n_workers: int, seconds: float) -> list[float]:
    """Seconds of each handover."""
    command = ["xargs", "-P", str(n_workers), "-n", "1", sys.executable, str(NOOP), "--seconds"]
    rng = random.Random(0)
    durations = "\n".join(str(rng.uniform(seconds, 2 * seconds)) for _ in range(num_trials))
    return _measure(command, durations, num_trials, n_workers)


def _measure(command: list[str], text: str, num_trials: int, n_workers: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder) / "facts"
        facts.mkdir()
        environment = {**os.environ, ENV_FACTS: str(facts), "CLOUDTUNE_FOLDER": f"{folder}/cloudtune"}
        subprocess.run(
            command, env=environment, input=text, text=True, capture_output=True, timeout=600, check=True
        )
        lives = read_lives(facts)
    if len(lives) != num_trials:
        raise SystemExit(f"{command[0]} ran {len(lives)} trials instead of {num_trials}.")
    return handovers(lives, n_workers)


if __name__ == "__main__":
    main()
