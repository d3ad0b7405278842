"""kill -9 of a local tuner at random moments; the same command continues. What is lost, doubled or left over?

    python benchmarks/kill_tuner.py --kills 50

Real processes: LocalBackend, four workers, a training script with checkpoints and short epochs; both kinds of ASHA
and random search. Some kills take all trials with them, as the loss of a machine does. Exit code 1 if anything is
lost, doubled or left.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from measuring import HERE, show

from cloudtune.constants import ENV_FOLDER
from cloudtune.experiment import events as ev
from cloudtune.experiments.training_scripts.checkpoint_example.checkpoint_example import (
    MAX_RESOURCE_ATTR,
    METRIC_NAME,
    RESOURCE_ATTR,
)
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore
from cloudtune.testing.kill_tuner import KillOptions, run_with_kills

METHODS = ("promotion", "stopping", "random")
_MAX_KILLS_EACH = 10


@dataclass
class Tally:
    """What happened with one method."""

    experiments: int = 0
    kills: int = 0
    machines: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    trials: int = 0
    interrupted: int = 0
    problems: list[str] = field(default_factory=list)

    def add_journal(self, events: list[ev.Event]) -> None:
        self.problems += wrong_values(events)
        self.counts.update(event.kind for event in events)
        self.trials += len({event.trial_id for event in events if isinstance(event, ev.TrialStarted)})
        ended = [event for event in events if isinstance(event, ev.TrialEnded)]
        self.interrupted += sum(event.outcome == "interrupted" for event in ended)


def wrong_values(events: list[ev.Event]) -> list[str]:
    """Reports whose value is not what the script computes without any interruption."""
    configs = {event.trial_id: event.config for event in events if isinstance(event, ev.TrialStarted)}
    wrong = []
    for event in events:
        if isinstance(event, ev.TrialReported):
            value = 0.0
            for _ in range(event.metrics[RESOURCE_ATTR]):
                value = (value + 1) * configs[event.trial_id]["multiplier"]
            if event.metrics[METRIC_NAME] != value:
                wrong.append(f"{ev.encode(event)}: the value should be {value!r}")
    return wrong


def experiment(method: str, kills: int, seed: int, args: argparse.Namespace, tally: Tally) -> None:
    """One experiment from its beginning to its end, killed up to ``kills`` times."""
    with tempfile.TemporaryDirectory() as folder:
        state_dir = Path(folder) / "killed"
        script = HERE / "peers" / "tune_checkpointed.py"
        try:
            report = run_with_kills(
                [sys.executable, str(script), method, str(args.trials), str(args.epoch_s)],
                {**os.environ, ENV_FOLDER: folder},
                kills,
                seed,
                state_dir,
                KillOptions(
                    resource_attr=RESOURCE_ATTR,
                    max_resource_attr=MAX_RESOURCE_ATTR,
                    events_per_life=args.events_per_life,
                    machine=args.machine,
                ),
            )
        except AssertionError as error:
            tally.problems.append(f"{method}, seed {seed}: {error}")
            return
        finally:
            tally.experiments += 1
            tally.add_journal(FileStore(ExperimentPaths(state_dir)).read())
        tally.kills += report.kills
        tally.machines += report.machines_lost
        tally.seconds += report.wall_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each method (default: 50)")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--machine", type=float, default=0.2, help="share of kills that take the trials with them")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epoch_s", type=float, default=0.05)
    parser.add_argument("--events_per_life", type=float, default=12.0, help="mean number of events between kills")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tallies = {method: Tally() for method in args.method}
    for method, tally in tallies.items():
        seed = args.seed
        while tally.kills < args.kills and not tally.problems:
            experiment(method, min(_MAX_KILLS_EACH, args.kills - tally.kills), seed, args, tally)
            seed += 1
    rows = [
        [
            method,
            tally.experiments,
            tally.kills,
            tally.machines,
            tally.trials,
            tally.counts["trial_started"],
            tally.interrupted,
            tally.counts["trial_reported"],
            len(tally.problems),
            f"{tally.seconds:.0f}",
        ]
        for method, tally in tallies.items()
    ]
    show(
        "kill -9 of a local tuner, each time continued by the same command",
        ["method", "studies", "kills", "with trials", "trials", "attempts", "interrupted", "reports",
         "problems", "seconds"],
        rows,
        [
            "Checked in every journal: each report once and in order, each level of a trial once and without a",
            "gap, with the value that only a run from the right checkpoint has; every attempt ended, completed",
            "trials complete; no process left. 'with trials': the kill took all trials with it.",
            *(problem for tally in tallies.values() for problem in tally.problems),
        ],
    )  # fmt: skip
    return 1 if any(tally.problems for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
