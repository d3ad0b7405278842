"""The fault matrix as a table."""

from __future__ import annotations

from pathlib import Path

from fault_cell import PLACES, Cell
from fault_experiment import Tally
from measuring import machine

#: Between these, a page has the table.
BEGIN, END = "<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"
COUNTS = ("lost reports", "doubled reports", "doubled jobs", "orphans", "wrong decisions", "other flaws")
COLUMNS = ("where: fault", "faults", "runs", "reports", *COUNTS)

Results = list[tuple[Cell, Tally]]


def row(cell: Cell, tally: Tally) -> list[object]:
    """What the table says of a cell."""
    if cell.run is None:
        return [cell.name, *["-"] * (len(COLUMNS) - 1)]
    counts = tally.losses.counts()
    return [cell.name, tally.faults, tally.experiments, tally.reports, *counts]


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
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
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
