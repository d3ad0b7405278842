"""``cloudtune stop``."""

from __future__ import annotations

import argparse

from cloudtune.cli.parsing import Commands, add_which, add_yes, confirm
from cloudtune.cli.progress import doing
from cloudtune.cli.tables import console, sayer

_EPILOG = """\
examples:
  cloudtune stop my-experiment            its tuner, then the jobs of its trials; waits for their ends
  cloudtune stop --tag my-study --yes     all experiments of a study, without asking

Nothing is lost: what was reported is recorded, checkpoints stay, and 'cloudtune resume NAME'
continues. A tuner on this machine gets SIGTERM, one in a job StopTrainingJob. Where the tuner is
dead, the jobs that it has left are stopped. Repeating does no harm.

exit codes: 0 nothing runs any more, 1 you said no, 2 nobody to ask and no --yes, 3 not found, 4 the
tuner is out of reach, 7 AWS
"""


def add(commands: Commands) -> None:
    """Declares the command."""
    parser = commands.add(
        "stop",
        _stop,
        "stop an experiment: its tuner and its trials' jobs",
        "Stops the tuner of an experiment, and then every job of its trials that still runs.",
        _EPILOG,
    )
    add_which(parser)
    add_yes(parser)


def _stop(options: argparse.Namespace) -> int:
    from cloudtune.errors import CloudtuneError
    from cloudtune.experiments.operations.account import Access
    from cloudtune.experiments.operations.stopping import stop, what_to_stop
    from cloudtune.experiments.operations.subject import find_subjects

    say = sayer(console())
    with doing(f"Looking at {options.name or options.tag}"):
        subjects = find_subjects(options.name, options.tag, Access())
        wanted = {subject.name: what_to_stop(subject) for subject in subjects}
    for name, parts in wanted.items():
        if parts:
            say(f"{name}: {', '.join(parts)}")
    if any(wanted.values()) and not confirm("Stop this?", options):
        say("Nothing was stopped.")
        return 1
    failed: list[CloudtuneError] = []
    for subject in subjects:
        try:
            done = stop(subject, say).done
        except CloudtuneError as error:  # the others are stopped all the same
            failed.append(error)
            continue
        if not done:
            say(f"{subject.name}: nothing runs.")
            continue
        say(f"{subject.name}: stopped {', '.join(done)}.")
        if subject.ended is None:
            say(f"  -> cloudtune resume {subject.name}")
    for other in failed[1:]:
        say(str(other))
    if failed:
        raise failed[0]
    return 0
