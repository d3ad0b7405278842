"""The launcher's study on spot instances, each taken away once without notice: is every report there once?

    python benchmarks/spot_study.py
    python benchmarks/spot_study.py --num_seeds 10

Runs ``launchers/launch_remote.py --spot --interrupt_after 5`` on the emulator, then fetches every experiment from
S3 into an empty folder and checks its journal. Exit code 1 if a report is missing or doubled, or an experiment has
not ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

from measuring import HERE, show, timed

from cloudtune.constants import ENV_FOLDER
from cloudtune.emulator.daemon import stop_daemon
from cloudtune.experiment import events as ev
from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.loading import load_experiments
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore
from cloudtune.testing.journal_checks import check_journal

_SECONDS_PER_SEED = 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_seeds", type=int, default=2)
    parser.add_argument("--interrupt_after", type=float, default=5.0, help="seconds of training")
    parser.add_argument("--benchmark", help="default: the launcher's")
    parser.add_argument("--method", help="default: all")
    args = parser.parse_args()
    tag = time.strftime("spot-%Y%m%d-%H%M%S")
    with tempfile.TemporaryDirectory() as folder:
        os.environ[ENV_FOLDER] = f"{folder}/launched"  # an emulator of its own lives there
        try:
            seconds = timed(lambda: launch(args, tag))
            experiments = load_experiments(tag, local_path=f"{folder}/fetched")
        finally:
            stop_daemon()
        definitions = real_benchmark_definitions()
        benchmark = definitions[args.benchmark] if args.benchmark else next(iter(definitions.values()))
        rows, problems = [], []
        for experiment in experiments:
            events = FileStore(ExperimentPaths(experiment.path)).read()
            found = check_journal(events, benchmark.resource_attr, benchmark.max_resource_attr)
            found += doubled(events)
            problems += [f"{experiment.name}: {problem}" for problem in found]
            rows.append(row_of(experiment.name.removeprefix(f"{tag}-"), events, found))
    rows.append(["all", *(sum(int(row[column]) for row in rows) for column in range(1, 9))])
    show(
        f"{len(experiments)} spot jobs, each interrupted once after {args.interrupt_after:g} s without notice",
        ["experiment", "sessions", "trials", "attempts", "interrupted", "before", "reports", "ended", "problems"],
        rows,
        [
            f"The whole command took {seconds:.0f} s. Journals were fetched from S3 after it. Checked: the",
            "experiment and every attempt ended, each (trial, attempt, number) once, the levels of each trial",
            "without gap or repetition, completed trials complete. A session is one life of a tuner;",
            "before: reports that survived the loss of the instance; interrupted: attempts recorded as lost with",
            "it (others were started again under the same number).",
            *problems,
        ],
    )
    uninterrupted = [row[0] for row in rows[:-1] if row[1] == 1]
    if uninterrupted:
        print(f"Ended before they could be interrupted: {', '.join(map(str, uninterrupted))}")
    return 1 if problems else 0


def launch(args: argparse.Namespace, tag: str) -> None:
    """Runs the launcher to its end; its output goes to standard error."""
    command = [sys.executable, str(HERE.parent / "launchers" / "launch_remote.py"), "--local", "--spot"]
    command += ["--experiment_tag", tag, "--num_seeds", str(args.num_seeds)]
    command += ["--interrupt_after", str(args.interrupt_after)]
    command += [
        word for name in ("benchmark", "method") if (v := getattr(args, name)) for word in (f"--{name}", v)
    ]
    timeout_s = _SECONDS_PER_SEED * args.num_seeds
    done = subprocess.run(command, stdout=sys.stderr, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise SystemExit(f"The launcher ended with {done.returncode}.")


def doubled(events: Sequence[ev.Event]) -> list[str]:
    """Reports that are recorded more than once."""
    reports = (event for event in events if isinstance(event, ev.TrialReported))
    counts = Counter((event.trial_id, event.attempt, event.seq) for event in reports)
    return [f"report {key} is recorded {count} times" for key, count in counts.items() if count > 1]


def row_of(name: str, events: Sequence[ev.Event], problems: Sequence[str]) -> list[object]:
    kinds = Counter(event.kind for event in events)
    trials = {event.trial_id for event in events if isinstance(event, ev.TrialStarted)}
    last_session = max(i for i, event in enumerate(events) if isinstance(event, ev.SessionStarted))
    before = sum(isinstance(event, ev.TrialReported) for event in events[:last_session])
    outcomes = Counter(event.outcome for event in events if isinstance(event, ev.TrialEnded))
    return [
        name,
        kinds["session_started"],
        len(trials),
        kinds["trial_started"],
        outcomes["interrupted"],
        before,
        kinds["trial_reported"],
        kinds["experiment_ended"],
        len(problems),
    ]


if __name__ == "__main__":
    sys.exit(main())
