"""20 trials that do nothing on 2 workers: cloudtune at its defaults, beside Syne Tune and Optuna.

    python benchmarks/noop_trials.py

The other tools are installed once, each into an environment of its own, in ~/.cache/cloudtune-benchmarks
($CLOUDTUNE_BENCHMARKS_CACHE). The limit is the same script started two at a time by xargs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measuring import ENV_FACTS, HERE, NOOP, handovers, peer_python, quantile, read_lives, show, timed

SYNE_TUNE, OPTUNA = ("syne-tune", "0.16.0"), ("optuna", "4.6.0")
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Contender:
    """A way to run the trials.

    Args:
        name: In the table.
        python: Interpreter of the trials (and of the tool).
        command: The command; None: xargs.
        reporter: Module of the Reporter that the trials use, as ``noop.py`` wants it.
    """

    name: str
    python: Path
    command: list[str] | None
    reporter: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--n_workers", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3, help="the fastest is shown (default: 3)")
    parser.add_argument("--no_peers", action="store_true", help="cloudtune and the limit only")
    args = parser.parse_args()
    numbers = [str(args.trials), str(args.n_workers)]
    contenders = list_contenders(numbers, peers=not args.no_peers)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for _ in range(args.repetitions):  # in turns: what else runs here disturbs all alike
        for contender in contenders:
            runs[contender.name].append(run(contender, args.trials, args.n_workers))
    limits: dict[tuple[Path, str], float] = {}
    rows: list[list[object]] = []
    for contender in contenders:
        best = min(runs[contender.name], key=lambda one: one.seconds)
        if contender.command is None:
            limits[contender.python, contender.reporter] = best.seconds
        limit = limits[contender.python, contender.reporter]
        row = [contender.name, best.trials, f"{best.seconds:.2f}", f"{best.seconds / limit:.2f}"]
        rows.append([*row, f"{1000 * best.handover:.0f}"])
    ours = float(str(rows[1][2]))
    for row in rows:
        row.append(f"{float(str(row[2])) / ours:.1f}")
    show(
        f"{args.trials} trials that do nothing, {args.n_workers} at a time",
        ["", "trials", "seconds", "/ its limit", "handover, ms", "/ cloudtune"],
        rows,
        [
            f"Whole commands, imports included; fastest of {args.repetitions}. handover: from a trial's last "
            "moment to the first line of the next one, median.",
            "Limit: xargs -P starting the same script with the same interpreter and reporter. Syne Tune may start "
            "one trial more than it is told to.",
            "cloudtune and Syne Tune record results on disk; Optuna keeps them in memory and reads no reports.",
        ],
    )


def list_contenders(numbers: list[str], peers: bool) -> list[Contender]:
    """Each limit before those that are compared with it; cloudtune second."""
    here = Path(sys.executable)
    tool, noop = HERE / "peers", str(NOOP)
    found = [
        Contender("limit: xargs, cloudtune's Reporter", here, None, "cloudtune.report"),
        Contender("cloudtune", here, [str(tool / "run_cloudtune.py"), noop, *numbers], "cloudtune.report"),
    ]
    if peers:
        optuna, syne_tune = peer_python(*OPTUNA), peer_python(*SYNE_TUNE)
        command = [str(tool / "run_syne_tune.py"), noop, *numbers]
        found += [
            Contender("limit: xargs, no Reporter", optuna, None, "-"),
            Contender(f"Optuna {OPTUNA[1]}, n_jobs", optuna, [str(tool / "run_optuna.py"), noop, *numbers], "-"),
            Contender("limit: xargs, Syne Tune's Reporter", syne_tune, None, "syne_tune"),
            Contender(f"Syne Tune {SYNE_TUNE[1]}, sleep_time=0.1", syne_tune, [*command, "0.1"], "syne_tune"),
            Contender(f"Syne Tune {SYNE_TUNE[1]}, defaults", syne_tune, command, "syne_tune"),
        ]
    return found


@dataclass(frozen=True)
class Run:
    """Seconds that the command took, trials that ran, and the median handover in seconds."""

    seconds: float
    trials: int
    handover: float


def run(contender: Contender, num_trials: int, n_workers: int) -> Run:
    """Runs the trials once."""
    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder) / "facts"
        facts.mkdir()
        environment = {
            **os.environ,
            ENV_FACTS: str(facts),
            "CLOUDTUNE_FOLDER": f"{folder}/cloudtune",
            "SYNETUNE_FOLDER": f"{folder}/syne-tune",
        }
        seconds = timed(_runner(contender, num_trials, n_workers, environment))
        lives = read_lives(facts)
    if len(lives) < num_trials:
        raise SystemExit(f"{contender.name} ran {len(lives)} trials instead of {num_trials}.")
    return Run(seconds, len(lives), quantile(handovers(lives, n_workers), 0.5))


def _runner(
    contender: Contender, num_trials: int, n_workers: int, environment: dict[str, str]
) -> Callable[[], object]:
    if contender.command is None:
        words = ["xargs", "-P", str(n_workers), "-n", "1", str(contender.python), str(NOOP)]
        command = [*words, "--reporter", contender.reporter, "--x"]
    else:
        command = [str(contender.python), *contender.command]

    def start() -> None:
        done = subprocess.run(
            command,
            env=environment,
            input="0.5\n" * num_trials,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{contender.name} ended with {done.returncode}:\n{done.stdout[-3000:]}")

    return start


if __name__ == "__main__":
    main()
