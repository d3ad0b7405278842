"""``cloudtune cost``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from cloudtune.cli.parsing import Commands, add_which
from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console as make_console
from cloudtune.cli.tables import dollars, fitting, plural, sayer, table

if TYPE_CHECKING:
    from rich.console import Console

    from cloudtune.experiments.operations.costs import CostReport

_EPILOG = """\
examples:
  cloudtune cost my-experiment          each job: seconds billed, instance, price, dollars
  cloudtune cost --tag my-study         a study: each experiment, and the sum
  cloudtune cost my-experiment --json

Seconds are those that SageMaker bills, as the tuner has recorded them or as the job's description
tells; prices are those of the table in the package, of CLOUDTUNE_PRICES, or of the price list if
that was looked up. Rows marked with ~ are estimates: of what still runs, or whose seconds the
service does not tell. Volumes, S3 and transfer are not included: the bill is AWS's.

exit codes: 0 fine, 3 not found, 7 AWS
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add("cost", _cost, "what an experiment has cost, job by job", epilog=_EPILOG)
    add_which(parser)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON document")


def _cost(options: argparse.Namespace) -> int:
    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.costs import cost_report
    from cloudtune.experiments.operations.subject import find_subjects
    from cloudtune.experiments.progress_bar import progress_bar

    with doing(f"Looking for {options.name or options.tag}"):
        subjects = find_subjects(options.name, options.tag, Access())
    reports = []
    for subject in subjects:
        with progress_bar(f"Asking for the jobs of {subject.name}") as shown:
            reports.append(cost_report(subject, shown))
    if options.json:
        documents = [_document(report) for report in reports]
        print(json.dumps(documents[0] if options.name else documents))
        return 0
    console = make_console()
    if options.name:
        _show_rows(reports[0], console)
    else:
        _show_sums(reports, console)
    _show_total(reports, console)
    return 0


def _document(report: CostReport) -> dict[str, object]:
    from dataclasses import asdict

    sums = {"usd": report.usd, "estimated_usd": report.estimated_usd, "num_unknown": report.num_unknown}
    return {**asdict(report), **sums}


def _show_rows(report: CostReport, console: Console) -> None:
    if not report.rows:
        return
    lines = [[">trial", ">attempt", "what", "instance", ">$/h", ">seconds", ">cost"]]
    for row in report.rows:
        lines.append(
            [
                "" if row.trial_id is None else str(row.trial_id),
                "" if row.attempt is None else str(row.attempt),
                row.source,
                row.instance,
                "" if row.usd_per_hour is None else f"{row.usd_per_hour:.3f}",
                f"{row.billed_s:.0f}",
                "unknown price" if row.usd is None else f"{'' if row.final else '~'}{dollars(row.usd)}",
            ]
        )
    console.print(
        fitting(console, *(table(lines, chosen) for chosen in (range(7), (0, 1, 3, 5, 6), (0, 1, 5, 6), (0, 6))))
    )


def _show_sums(reports: list[CostReport], console: Console) -> None:
    lines = [["experiment", ">rows", ">seconds", ">cost"]]
    for report in reports:
        seconds = sum(row.billed_s for row in report.rows)
        mark = "~" if report.estimated_usd else ""
        lines.append([report.name, str(len(report.rows)), f"{seconds:.0f}", f"{mark}{dollars(report.usd)}"])
    console.print(fitting(console, table(lines), table(lines, (0, 3))))


def _show_total(reports: list[CostReport], console: Console) -> None:
    say = sayer(console)
    rows = [row for report in reports for row in report.rows]
    if not rows:
        say("Nothing is paid for: no jobs are known, and trials ran on this machine.")
        return
    estimated = sum(report.estimated_usd for report in reports)
    unknown = sum(report.num_unknown for report in reports)
    text = f"total: {dollars(sum(report.usd for report in reports))}"
    if estimated:
        text += f", of which ~{dollars(estimated)} is estimated"
    if unknown:
        text += (
            f", and {plural(unknown, 'row')} whose price is not known (CLOUDTUNE_PRICES names a file of prices)"
        )
    say(f"\n{text}")
    say(f"Prices of {reports[0].prices}, on demand; storage and transfer not included.")
