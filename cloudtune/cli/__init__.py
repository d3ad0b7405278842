"""The command ``cloudtune``: experiments looked at, operated and cleaned up; the emulator started and stopped.

Each command imports what it needs when it runs: ``cloudtune --help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cloudtune import __version__
from cloudtune.cli import clean, collect, cost, logs, looking, resume, status, stop
from cloudtune.cli.parsing import Commands, check_which
from cloudtune.experiments.launchers.arguments import Parser
from cloudtune.experiments.launchers.command_line import configure_logging, run_command

_EPILOG = """\
examples:
  cloudtune emulator                 AWS for rehearsals, until Ctrl-C
  cloudtune list                     what has been tuned here
  cloudtune show my-experiment       its best configuration and its trials
  cloudtune compare my-study -o comparison.png
  cloudtune status                   what runs now, here and in the account; what needs attention
  cloudtune stop my-experiment       its tuner and its jobs; 'resume' continues it
  cloudtune clean --all --dry_run    what dead experiments have left, and what it costs

Experiments are looked for in $CLOUDTUNE_FOLDER (default: ~/cloudtune), then in S3: with AWS
credentials in the account's SageMaker bucket, else in the emulator's if it runs.

exit codes: 0 fine, 1 you said no, 2 wrong arguments, 3 not found, 4 somebody else has it, 5
unreadable state, 7 AWS, 9 something needs attention, 130 Ctrl-C
"""
_MODULES = (looking, status, stop, resume, logs, collect, cost, clean)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (default: the process's) and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["emulator"]:
        return run_command(lambda: _emulator(arguments[1:]))

    def command() -> int:
        parser = _parser()
        options, unknown = parser.parse_known_args(arguments)
        if unknown:  # said by the subcommand, which knows what may have been meant
            getattr(options, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
        if options.command is None:
            parser.print_help()
            return 2
        check_which(options)
        configure_logging(options.verbose)
        return int(options.run(options))

    return run_command(command)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="cloudtune",
        description="Hyperparameter tuning on SageMaker: see experiments, operate them, rehearse without AWS.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cloudtune {__version__}")
    commands = Commands(parser)
    commands.add_foreign("emulator", "start, show or stop the emulator of AWS")
    for module in _MODULES:
        module.add(commands)
    return parser


def _emulator(arguments: Sequence[str]) -> int:
    from cloudtune.emulator.__main__ import main as run

    return run(arguments, "cloudtune emulator")
