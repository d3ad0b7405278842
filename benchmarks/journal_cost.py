"""What the journal, the results and the snapshot cost as an experiment grows.

    python benchmarks/journal_cost.py

A study is played through the pure core (ASHA or random search, no processes), so that its journal is a real one of
any length. Then: appending it, reading it, replaying it, and writing ``results.csv.zip`` and ``tuner.dill``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import median_time, show, timed

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.config_space import loguniform, uniform
from cloudtune.constants import ENV_FOLDER
from cloudtune.experiment.core import ExperimentCore, Moment
from cloudtune.experiment.events import Event, encode
from cloudtune.experiment.ports import AttemptEnded, ReportSeen
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths
from cloudtune.results.frame import ResultsBuilder
from cloudtune.snapshot import write_snapshot
from cloudtune.stores import FileStore
from cloudtune.trial import Outcome

EPOCHS, N_WORKERS = 27, 8
SPACE = {"lr": loguniform(1e-5, 1.0), "momentum": uniform(0.0, 0.99), "epochs": EPOCHS}
_SINGLE_APPENDS = 500


def make_scheduler(method: str) -> Scheduler:
    common = {"metric": "loss", "resource_attr": "epoch", "max_resource_attr": "epochs", "random_seed": 0}
    return RandomSearch(SPACE, **common) if method == "random" else ASHA(SPACE, type="stopping", **common)


def make_tuner(method: str) -> Tuner:
    backend = LocalBackend(str(Path(__file__).with_name("noop.py")))
    criterion = StoppingCriterion(max_wallclock_time=1e9)
    name = f"cost-{method}"
    return Tuner(backend, make_scheduler(method), criterion, N_WORKERS, tuner_name=name, suffix_tuner_name=False)


def make_core(tuner: Tuner) -> ExperimentCore:
    """The core that ``tuner`` would run; it belongs to the tuner's snapshot from now on."""
    tuner._core = tuner._new_core()
    return tuner._core


def play(core: ExperimentCore, num_reports: int) -> list[Event]:
    """Events of a study with ``num_reports`` reports: all running trials report in turn, once a second."""
    events: list[Event] = []
    moment = Moment(1.7e9, 0.0)

    def take(event: Event | None) -> None:
        if event is not None:
            core.apply(event)
            events.append(event)

    reported = 0
    while reported < num_reports:
        moment = Moment(moment.time + 1.0, moment.elapsed_s + 1.0)
        while (event := core.plan(moment)) is not None:
            take(event)
        for key, seq in core.state.cursors().items():
            state = core.state.trials[key.trial_id]
            config = state.trial.config
            if state.stop_requested:
                take(core.interpret(AttemptEnded(key.trial_id, key.attempt, Outcome.stopped), moment))
            elif seq == EPOCHS:
                take(core.interpret(AttemptEnded(key.trial_id, key.attempt, Outcome.completed), moment))
            elif reported < num_reports:
                loss = config["momentum"] + 1 / (seq + 1)
                times = {"st_worker_iter": seq, "st_worker_time": seq + 1.0, "st_worker_timestamp": moment.time}
                metrics = {"loss": loss, "epoch": seq + 1, **times}
                take(core.interpret(ReportSeen(key.trial_id, key.attempt, seq, metrics), moment))
                reported += 1
    return events


@dataclass(frozen=True)
class Costs:
    """Seconds, and bytes, for one size."""

    num_reports: int
    num_events: int
    journal_bytes: int
    append: float
    read: float
    replay: float
    results_first: float
    results_again: float
    snapshot: float
    snapshot_bytes: int

    @property
    def resume(self) -> float:
        """What the tuner does before its first new trial: read, replay, collect results."""
        return self.read + self.replay


def measure(method: str, num_reports: int, folder: Path) -> Costs:
    events = play(make_core(make_tuner(method)), num_reports)
    paths = ExperimentPaths(folder / f"{method}-{num_reports}")
    store = FileStore(paths)
    store.open("benchmark")
    append = timed(lambda: [store.append(events[i : i + 100]) for i in range(0, len(events), 100)])
    store.close()
    past: list[Event] = []
    read = timed(lambda: past.extend(FileStore(paths).read()))
    tuner = make_tuner(method)
    core, results = make_core(tuner), ResultsBuilder()
    replay = timed(lambda: _replay(core, results, past))
    first = timed(lambda: results.write(paths.results))
    again = median_time(lambda: results.write(paths.results), 3)
    snapshot = timed(lambda: write_snapshot(paths.snapshot, tuner, len(events)))
    return Costs(
        num_reports,
        len(events),
        sum(path.stat().st_size for path in paths.journal.iterdir()),
        append,
        read,
        replay,
        first,
        again,
        snapshot,
        paths.snapshot.stat().st_size,
    )


def _replay(core: ExperimentCore, results: ResultsBuilder, past: Sequence[Event]) -> None:
    for event in past:
        core.replay(event)
    for event in past:
        results.add(event)


def single_appends(folder: Path) -> list[list[object]]:
    """One event at a time, beside what the disk can do: a write and an fdatasync of the same bytes."""
    events = play(make_core(make_tuner("random")), _SINGLE_APPENDS)[:_SINGLE_APPENDS]
    store = FileStore(ExperimentPaths(folder / "single"))
    store.open("benchmark")
    handle = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has the latter only
    ours, bare = [], []
    for event in events:  # in turns: what else uses the disk disturbs both alike
        line = f"{encode(event)}\n".encode()
        ours.append(timed(lambda: store.append([event])))  # noqa: B023  called at once
        bare.append(timed(lambda: (os.write(handle, line), sync(handle))))  # noqa: B023
    os.close(handle)
    store.close()
    limit = statistics.median(bare)
    rows: list[list[object]] = []
    for name, seconds in (("limit: write and fdatasync of the line", bare), ("FileStore.append", ours)):
        median = statistics.median(seconds)
        rows.append([name, f"{1 / median:,.0f}", f"{1e6 * median:.0f}", f"{median / limit:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--method", nargs="+", choices=["random", "asha"], default=["asha", "random"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[ENV_FOLDER] = name
        show("One event at a time", ["", "events/s", "µs (median)", "/ limit"], single_appends(folder))
        for method in args.method:
            show_growth(method, [measure(method, number, folder) for number in args.reports])


def show_growth(method: str, costs: Sequence[Costs]) -> None:
    rows = [
        [
            f"{cost.num_reports:,}",
            f"{cost.journal_bytes / 1e6:.2f}",
            f"{cost.num_events / cost.append:,.0f}",
            f"{cost.num_events / cost.read:,.0f}",
            f"{cost.num_events / cost.replay:,.0f}",
            f"{cost.resume:.3f}",
            f"{cost.results_first:.3f}",
            f"{cost.results_again:.3f}",
            f"{cost.snapshot:.3f}",
            f"{cost.snapshot_bytes / 1e6:.2f}",
        ]
        for cost in costs
    ]
    columns = [
        "reports", "journal MB", "append ev/s", "read ev/s", "replay ev/s", "resume s",
        "results first s", "again s", "dill s", "dill MB",
    ]  # fmt: skip
    growth = [
        f"{after.num_reports // before.num_reports} times the reports: "
        f"resume x {after.resume / before.resume:.1f}, "
        f"results again x {after.results_again / before.results_again:.1f}, "
        f"tuner.dill x {after.snapshot / before.snapshot:.1f} (linear: "
        f"x {after.num_events / before.num_events:.1f})."
        for before, after in itertools.pairwise(costs)
    ]
    notes = [
        "Appended by hundreds, fdatasync each. resume: read, replay through a fresh scheduler, collect results.",
        *growth,
    ]
    show(f"Growth of one experiment, {method}", columns, rows, notes)


if __name__ == "__main__":
    main()
