"""Faults of every kind, in every place where tuners and trials run: what is lost, doubled, left over or decided wrongly?

    python benchmarks/fault_matrix.py                       # some minutes
    python benchmarks/fault_matrix.py --write               # and puts the table into docs/reliability.md
    python benchmarks/fault_matrix.py --only "SageMaker: clock jump" --seeds 20

Each cell runs small experiments (random search, ASHA promotion with reduction factors 3 and 2), counts the faults that
have really struck, and holds the journal against what the world has seen: processes, jobs, reports. Exit code 1 if a
count is not zero.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from fault_cell import PLACES, Cell, play
from fault_cells import all_cells
from fault_experiment import METHODS, Tally
from faults_remote import running_s3
from measuring import HERE, machine, show
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PAGE = HERE.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"
#: Seeds of each method, by place: those with real processes or a real S3 take longer.
_SEEDS = {"local": 2, "SageMaker": 3, "remote": 1}
COUNTS = ("lost reports", "doubled reports", "doubled jobs", "orphans", "wrong decisions", "other flaws")
COLUMNS = ("fault", "where", "faults", "experiments", "reports", *COUNTS)

Results = list[tuple[Cell, Tally]]


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
        (cell, list(cell.experiments(1, METHODS[1:2]) if quick else cell.experiments(seeds or _SEEDS[cell.place])))
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


def row(cell: Cell, tally: Tally) -> list[object]:
    """What the table says of a cell."""
    if cell.run is None:
        return [cell.fault, cell.place, *["-"] * (len(COLUMNS) - 2)]
    counts = tally.losses.counts()
    return [cell.fault, cell.place, tally.faults, tally.experiments, tally.reports, *counts]


def summary(results: Results) -> list[str]:
    """In one line."""
    faults, experiments, reports = (
        sum(getattr(tally, name) for _, tally in results) for name in ("faults", "experiments", "reports")
    )
    counts = [sum(column) for column in zip(*(tally.losses.counts() for _, tally in results), strict=True)]
    said = ", ".join(f"{count} {name}" for count, name in zip(counts, COUNTS, strict=True))
    return [f"{faults:,} faults in {experiments:,} experiments with {reports:,} reports: {said}."]


def markdown(results: Results) -> str:
    """The table, and what each cell's fault is."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    lines += ["| " + " | ".join(map(str, row(cell, tally))) + " |" for cell, tally in results]
    lines += ["", f"**{summary(results)[0]}** {machine()}", ""]
    for place in PLACES:
        notes = "; ".join(f"*{cell.fault}*: {cell.note}" for cell, _ in results if cell.place == place)
        lines += [f"{place}. {notes}.", ""]
    return "\n".join(lines)


def write(page: Path, results: Results) -> None:
    """Replaces what is between the markers."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise SystemExit(f"{page} has no lines {BEGIN} and {END}: put them where the table belongs.")
    page.write_text(f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
