"""A cell of the fault matrix: one fault in one place, injected into one experiment after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fault_experiment import METHODS, Experiment, Method, Tally

#: Runs one experiment in a folder of its own, with faults.
Run = Callable[[Experiment, Path, Tally], None]

FAULTS = (
    "tuner killed",
    "tuner instance interrupted",
    "trial killed",
    "trial interrupted",
    "API throttled 30 %",
    "S3 errors 10 %",
    "listing delayed",
    "quota halved midway",
    "checkpoint truncated",
    "report file torn",
    "two tuners",
    "clock jump",
)
PLACES = ("local", "SageMaker", "remote")
#: How long scripts may take to end by themselves: processes here, and jobs.
_PATIENCE_S, _PATIENCE_OF_JOBS_S = 10.0, 3600.0


@dataclass(frozen=True)
class Cell:
    """One fault in one place.

    Args:
        fault: One of :data:`FAULTS`.
        place: One of :data:`PLACES`.
        run: Of one experiment; None: there is no such fault.
        note: What exactly goes wrong, or why it cannot.
        jobs: Whether trials are jobs.
        quick: Whether it is part of the quick matrix.
    """

    fault: str
    place: str
    run: Run | None
    note: str
    jobs: bool = True
    quick: bool = False

    @property
    def name(self) -> str:
        return f"{self.place}: {self.fault}"

    def experiments(self, seeds: int) -> Iterator[Experiment]:
        """All methods, with each seed."""
        for seed in range(seeds):
            for method in METHODS:
                yield self._experiment(method, seed)

    def quick_experiment(self) -> Experiment:
        """A small one."""
        return replace(self._experiment(METHODS[1], 0), max_trials=6)

    def _experiment(self, method: Method, seed: int) -> Experiment:
        patience_s = _PATIENCE_OF_JOBS_S if self.jobs else _PATIENCE_S
        return Experiment(method, seed, patience_s, trials_elsewhere=self.jobs)


def play(cell: Cell, experiment: Experiment, tally: Tally) -> None:
    """One experiment. What ends it untimely is a flaw like others."""
    if cell.run is None:
        return
    where = f"{experiment.method.name}, seed {experiment.seed}"
    before = len(tally.losses.all())
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        try:
            cell.run(experiment, Path(folder) / "run", tally)
        except Exception as error:  # noqa: BLE001  counted and shown; the others are to be played all the same
            tally.losses.other_flaws.append(f"did not come to an end: {type(error).__name__}: {error}")
    tally.failed += [f"{where}: {what}" for what in tally.losses.all()[before:][:3]]
