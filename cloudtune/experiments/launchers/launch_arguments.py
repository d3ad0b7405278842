"""The command lines of ``launch_remote_local`` and ``launch_remote_sagemaker``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.trials import Trials

_END = """
Ctrl-C leaves submitted jobs running. Exit code: 0 all completed, 2 bad input, 7 AWS refused, 8 a job failed.
"""


def add_launch_arguments(
    parser: cli.Parser, kind: type[Trials], extra_args: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """Returns the names of the study's own arguments."""
    parser.epilog = f"{parser.epilog}{_END}"
    kind.add_job_arguments(parser)
    launch = parser.add_argument_group("the launch")
    launch.add_argument(
        "--role",
        type=cli.text,
        help="IAM role of the launched jobs; default: $AWS_ROLE, else the account's SageMaker role",
    )
    launch.add_argument(
        "--dry_run", action="store_true", help="print plan, first request and highest cost; send nothing"
    )
    launch.add_argument("--yes", action="store_true", help="do not ask before spending money on AWS")
    wait = launch.add_mutually_exclusive_group()
    wait.add_argument("--wait", dest="wait", action="store_true", default=True, help="wait and compare (default)")
    wait.add_argument("--no_wait", dest="wait", action="store_false", help="return when all jobs are submitted")
    launch.add_argument("--local", action="store_true", help="use the emulator even if there are AWS credentials")
    launch.add_argument(
        "--interrupt_after",
        type=cli.positive,
        metavar="SECONDS",
        help="emulator only, with --spot: take the instance of each job away once, without notice",
    )
    return cli.add_extra_arguments(parser, extra_args)


def check(arguments: argparse.Namespace, trials: Trials) -> None:
    """Raises SpecError for options that do not go together."""
    seconds = trials.benchmark.max_wallclock_time
    trials.check()
    if arguments.interrupt_after is None:
        return
    if not trials.interrupted_names("any"):
        raise SpecError("--interrupt_after needs --spot: only spot jobs are interrupted.", "Add --spot.")
    if arguments.interrupt_after >= seconds:
        raise SpecError(
            f"--interrupt_after {arguments.interrupt_after:g} would interrupt nothing: each experiment tunes for "
            f"{seconds:g} s.",
            "Interrupt earlier, or raise --max_wallclock_time.",
        )
