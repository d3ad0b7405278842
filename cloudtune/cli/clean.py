"""``cloudtune clean``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cloudtune.cli.parsing import Commands, add_which, add_yes, confirm
from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console as make_console
from cloudtune.cli.tables import dollars, fitting, plural, sayer, size, table
from cloudtune.experiments.launchers.arguments import positive

if TYPE_CHECKING:
    from rich.console import Console

    from cloudtune.experiments.operations.cleaning import Leftovers, Plan

#: Some experiments could not be cleaned.
_PARTLY = 9
_EPILOG = """\
examples:
  cloudtune clean --all --dry_run                   what experiments that nobody tunes have left in the account
  cloudtune clean my-experiment --checkpoints       once its results are all that is needed
  cloudtune clean --all --checkpoints --older_than 30
  cloudtune clean --tag my-study --everything       the whole study, results included

By default: jobs of trials whose tuner is dead are stopped, instances kept warm are given back, and
reports of experiments that are over are deleted (they are in the journal). --checkpoints: also
checkpoints of experiments that are over; results stay. --everything: also results; of interrupted
experiments only if they are named, or --older_than is given. First all of it is shown, with sizes
and what it costs to keep.

Never touched: experiments with a living tuner (a process here, a job, or a sign in S3 within three
minutes), and anything in the bucket that is not below cloudtune/. Files on this machine stay.

exit codes: 0 fine, 1 you said no, 2 wrong arguments, or nobody to ask and no --yes, 3 not found, 7
AWS, 9 some were left as they are (said why); with --all, that others are tuned is fine
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add(
        "clean",
        _clean,
        "stop and delete what dead experiments have left in the account",
        "Stops jobs, gives instances back and deletes files of experiments that nobody tunes.",
        _EPILOG,
    )
    add_which(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="all experiments in the account's bucket")
    parser.add_argument(
        "--older_than", type=positive, metavar="DAYS", help="only if the tuner wrote nothing for so many days"
    )
    parser.add_argument("--checkpoints", action="store_true", help="also checkpoints of experiments that are over")
    parser.add_argument("--everything", action="store_true", help="also results: nothing is left in S3")
    parser.add_argument("--dry_run", action="store_true", help="show what would be done, and do nothing")
    add_yes(parser)


def _clean(options: argparse.Namespace) -> int:
    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.cleaning import Wanted, plan
    from cloudtune.experiments.operations.cleaning_up import clean_up

    if bool(options.name or options.tag) == options.all:
        options.parser.error("name an experiment, or a study with --tag TAG, or use --all")
    older_than_s = None if options.older_than is None else options.older_than * 86400
    wanted = Wanted(options.checkpoints, options.everything, older_than_s)
    access, console = Access(), make_console()
    with doing(f"Looking at what {options.name or options.tag or 'there is'} has left"):
        found = plan(access.required("clean up"), options.name, options.tag, wanted)
    say = sayer(console)
    _show(found, console, verbose=options.verbose or not options.all)
    # Of all there is, some may well be tuned; what was named is wanted clean.
    code = 0 if options.all or not any(item.is_tuned for item in found.left_alone) else _PARTLY
    if not found.leftovers:
        say("Nothing to clean.")
        return code
    if options.dry_run:
        say("Nothing was done (--dry_run).")
        return code
    if not confirm(f"Do this? {_warning(options)}".rstrip(), options):
        say("Nothing was done.")
        return 1
    done = clean_up(found, access, say)
    say(
        f"{plural(done.num_jobs, 'job')} stopped, {plural(done.num_pools, 'warm pool')} ended, "
        f"{plural(done.num_objects, 'object')} deleted ({size(done.num_bytes)})."
    )
    return _PARTLY if done.num_failed else code


def _warning(options: argparse.Namespace) -> str:
    if options.everything:
        return "Results are deleted, too; it cannot be undone."
    return "Checkpoints cannot be brought back." if options.checkpoints else ""


def _show(found: Plan, console: Console, verbose: bool) -> None:
    from cloudtune.experiments.operations.cleaning import S3_PRICE_DATE

    say = sayer(console)
    if found.leftovers:
        lines = [["experiment", "tag", "state", ">stop", ">warm", "delete", ">size"]]
        lines += [_line(item) for item in found.leftovers]
        console.print(
            fitting(console, *(table(lines, columns) for columns in (range(7), (0, 3, 4, 5, 6), (0, 6))))
        )
    if found.num_bytes:
        say(
            f"Keeping these {size(found.num_bytes)} in S3 costs {dollars(found.usd_per_month)} a month "
            f"(standard class, us-east-1, {S3_PRICE_DATE})."
        )
    if any(item.jobs or item.warm for item in found.leftovers):
        say("Jobs that run and instances kept warm are paid for by the second.")
    if verbose:
        for item in found.left_alone:
            say(f"{item.name} is left alone: {item.reason}.")
            if item.is_tuned:
                say(f"  -> cloudtune stop {item.name}")
    elif found.left_alone:
        say(f"{plural(len(found.left_alone), 'experiment')} left alone; --verbose says why.")


def _line(item: Leftovers) -> list[str]:
    parts = [f"{len(objects)} in {part}/" for part, objects in item.objects.items()]
    return [
        item.stored.name,
        item.stored.tag or "",
        item.state,
        plural(len(item.jobs), "job") if item.jobs else "",
        str(len(item.warm)) if item.warm else "",
        ", ".join(parts),
        size(item.num_bytes) if item.objects else "",
    ]
