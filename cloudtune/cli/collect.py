"""``cloudtune collect``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloudtune.cli.parsing import Commands, add_which
from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console, plural, sayer
from cloudtune.experiments.launchers.arguments import text
from cloudtune.experiments.progress_bar import progress_bar

_EPILOG = """\
examples:
  cloudtune collect my-experiment                       journal, results, snapshot, output of trials
  cloudtune collect my-experiment --checkpoints best    and the checkpoints of the best trial
  cloudtune collect --tag my-study --to /data/studies   a whole study, into another folder

Only what is missing or has changed is fetched, so an interrupted command is continued by repeating
it. Checkpoints are put where the trial would have them here: NAME/TRIAL/checkpoints. Nothing is
unpickled.

exit codes: 0 all is here, 2 wrong arguments, 3 not found, 5 the folder cannot be written to, 7 AWS
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add(
        "collect",
        _collect,
        "bring results and checkpoints from S3 to this machine",
        "Brings an experiment from S3 to this machine: state, results, output, and checkpoints on request.",
        _EPILOG,
    )
    add_which(parser)
    parser.add_argument(
        "--to", type=text, metavar="DIR", help="make the experiment's folder there; default: where 'show' finds it"
    )
    parser.add_argument(
        "--checkpoints", type=text, metavar="best|all|N", help="of the best trial, of all, or of trials: 3 or 3,7"
    )


def _collect(options: argparse.Namespace) -> int:
    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.collecting import collect
    from cloudtune.experiments.operations.subject import find_subjects

    say = sayer(console())
    to = Path(options.to).expanduser() if options.to else None
    with doing(f"Looking for {options.name or options.tag}"):
        subjects = find_subjects(options.name, options.tag, Access())
    for subject in subjects:
        with progress_bar(f"Fetching {subject.name}") as shown:
            found = collect(subject, to, options.checkpoints, shown)
        say(f"{subject.name}: {plural(found.num_files, 'file')} fetched; it is in {found.folder}")
        for trial_id, folder in found.checkpoints.items():
            say(f"  checkpoints of trial {trial_id}: {folder}")
    return 0
