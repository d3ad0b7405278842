"""``cloudtune resume``."""

from __future__ import annotations

import argparse

from cloudtune.cli.parsing import Commands
from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console, sayer
from cloudtune.experiments.launchers.arguments import text

_EPILOG = """\
examples:
  cloudtune resume my-experiment             goes on here, in the foreground; or in a job like the last one
  cloudtune resume my-experiment --takeover  although S3 says that somebody else may still tune it
  cloudtune resume my-experiment --trust     one that was begun on another machine, with jobs for its trials

What was tuned on this machine goes on in this process. What was launched as a job goes on in
another job, called NAME-r2, NAME-r3, ..., made from the description of the last one. Trials that
still run are adopted, others resume from their checkpoints, no report is counted twice. The command
that began the experiment does the same.

exit codes: 0 it goes on, or has ended well, 2 it is over or cannot go on here, 3 not found, 4 it is
being tuned, 6 too many trials failed, 7 AWS, 8 too many of its jobs have failed, 130 Ctrl-C
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add(
        "resume",
        _resume,
        "continue an experiment that nobody tunes",
        "Continues an experiment that was stopped, or whose tuner has died.",
        _EPILOG,
    )
    parser.add_argument("name", type=text, metavar="NAME", help="the experiment, as 'cloudtune list' has it")
    parser.add_argument("--tag", type=text, help="study it belongs to, where several have one of that name")
    parser.add_argument(
        "--takeover", action="store_true", help="also from a tuner on another machine that gives no sign of life"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="unpickle a tuner from S3, which can run any code of who wrote it there",
    )


def _resume(options: argparse.Namespace) -> int:
    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.resuming import load_to_resume, resume_in_job
    from cloudtune.experiments.operations.subject import find_subject

    say = sayer(console())
    with doing(f"Looking at {options.name}"):
        subject = find_subject(options.name, options.tag, Access())
        job = resume_in_job(subject, options.takeover)
    if job is not None:
        say(f"{subject.name} goes on in job {job}.\n  -> cloudtune status {subject.name} --watch")
        return 0
    load_to_resume(subject, options.trust, options.takeover).run(takeover=options.takeover)
    say(f"{subject.name} has ended.\n  -> cloudtune show {subject.name}")
    return 0
