"""Faults of every kind, wherever tuners and trials run: what is lost, doubled, left over or decided wrongly?

    python benchmarks/fault_matrix.py                       # some minutes
    python benchmarks/fault_matrix.py --write               # and puts the table into docs/reliability.md
    python benchmarks/fault_matrix.py --only "SageMaker: clock jump" --seeds 20

Each cell runs small experiments (random search, ASHA promotion with reduction factors 3 and 2), counts the faults
that have really struck, and holds the journal against what the world has seen: processes, jobs, reports. Exit code
1 if a count is not zero.
"""

from __future__ import annotations

import argparse
import logging
import sys

from fault_cell import Cell, play
from fault_cells import all_cells
from fault_experiment import Tally
from fault_table import COLUMNS, Results, row, summary, write
from faults_remote import running_s3
from measuring import HERE, show
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PAGE = HERE.parent / "docs" / "reliability.md"
#: Seeds of each method, by place: those with real processes or a real S3 take longer.
_SEEDS = {"local": 2, "SageMaker": 3, "remote": 1}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, help="seeds of each method in each cell; default: by place")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cells whose 'place: fault' has this text")
    parser.add_argument("--quick", action="store_true", help="one seed of one method, and not all cells")
    parser.add_argument("--write", action="store_true", help=f"replace the table in {PAGE.name}")
    args = parser.parse_args()
    if args.write and (args.only or args.quick):
        parser.error("--write wants the whole matrix")
    logging.disable(logging.WARNING)  # tuners that die have much to say
    with running_s3() as bucket:
        cells = [cell for cell in all_cells(bucket) if args.only in cell.name and (cell.quick or not args.quick)]
        results = run(cells, args.seeds, args.quick)
    rows = [row(cell, tally) for cell, tally in results]
    show("Fault matrix", COLUMNS, rows, summary(results))
    for cell, tally in results:
        for what in tally.failed:
            print(f"{cell.name}, {what}", file=sys.stderr)
    if args.write:
        write(PAGE, results)
    return 1 if any(sum(tally.losses.counts()) for _, tally in results) else 0


def run(cells: list[Cell], seeds: int | None, quick: bool) -> Results:
    """Plays all cells, and shows how far it is."""
    planned = [
        (cell, [cell.quick_experiment()] if quick else list(cell.experiments(seeds or _SEEDS[cell.place])))
        for cell in cells
    ]
    results: Results = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        total = sum(len(experiments) for cell, experiments in planned if cell.run is not None)
        task = progress.add_task("", total=total)
        for cell, experiments in planned:
            tally = Tally()
            progress.update(task, description=f"{cell.name:<38}")
            for experiment in experiments if cell.run is not None else ():
                play(cell, experiment, tally)
                progress.advance(task)
            results.append((cell, tally))
    return results


if __name__ == "__main__":
    sys.exit(main())
