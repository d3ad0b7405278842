"""``cloudtune logs``."""

from __future__ import annotations

import argparse

from cloudtune.cli.parsing import Commands
from cloudtune.cli.progress import doing
from cloudtune.experiments.launchers.arguments import at_least, text

_EPILOG = """\
examples:
  cloudtune logs my-experiment                       the end of the log of the job that tunes it
  cloudtune logs my-experiment --trial 3             what trial 3 has printed last, over all its attempts
  cloudtune logs my-experiment --trial 3 --tail 1000000 > trial3.log
  cloudtune logs my-experiment --trial 3 --follow    and what it prints from now on, until it ends

Of a trial with jobs of its own, their logs in CloudWatch; of a trial that was a process, std.out
and std.err: in the experiment's folder, or in S3 if it was launched with
store_logs_localbackend=True.

exit codes: 0 fine (also if there is no log yet), 3 not found, 7 AWS, 130 Ctrl-C
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add("logs", _logs, "what the tuner's job, or a trial, has printed", epilog=_EPILOG)
    parser.add_argument("name", type=text, metavar="NAME", help="the experiment, as 'cloudtune list' has it")
    parser.add_argument("--tag", type=text, help="study it belongs to, where several have one of that name")
    parser.add_argument(
        "--trial", type=at_least(0), metavar="N", help="of this trial; default: of the tuner's job"
    )
    parser.add_argument(
        "--tail",
        type=at_least(0),
        default=100,
        metavar="LINES",
        help="how many lines, from the end (default: 100)",
    )
    parser.add_argument("--follow", action="store_true", help="go on with the newest log until it ends")


def _logs(options: argparse.Namespace) -> int:
    import sys

    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.logs import follow, last_lines, trial_log, tuner_log
    from cloudtune.experiments.operations.subject import find_subject

    with doing(f"Looking for the log in {options.name}"):
        subject = find_subject(options.name, options.tag, Access())
        sources = tuner_log(subject) if options.trial is None else trial_log(subject, options.trial)
        found = [] if options.follow else last_lines(sources, options.tail)
    if options.follow:
        print(f"== {sources[-1].title}", file=sys.stderr)
        follow(sources[-1], options.tail, lambda line: print(line, flush=True), subject.access.clock)
        return 0
    for title, lines in found:
        if len(sources) > 1:
            print(f"== {title}")
        print("\n".join(lines))
    if not found and options.tail:
        print(f"Nothing was printed yet: {', '.join(source.title for source in sources)}.", file=sys.stderr)
    return 0
