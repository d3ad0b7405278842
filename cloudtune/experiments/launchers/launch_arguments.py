"""The command line of ``launch_remote_local``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.experiments.launchers import arguments as cli

_DESCRIPTION = """\
Compare tuning methods: one SageMaker training job per method and seed, each running several trials at a
time on its instance. State goes to S3 all the while: interrupted jobs continue where they were, and so does
this command when it is run again. It waits for the jobs, prints a table and draws a picture.

Without AWS credentials, jobs really run, on the emulator on this machine."""

_EXAMPLES = """\
examples:
  {prog} --num_seeds 10                         all methods, ten repetitions each
  {prog} --num_seeds 10 --dry_run               look first: plan, requests, highest cost
  {prog} --experiment_tag demo --num_seeds 20   a study with a name; with more seeds, only new ones run
  {prog} --method ASHA --benchmark train_height --max_wallclock_time 10
  {prog} --spot --interrupt_after 5 --local     watch jobs survive the loss of their instances
  {prog} --instance_type ml.g4dn.12xlarge --n_workers 4 --spot --yes --no_wait

Ctrl-C leaves submitted jobs running. Exit code: 0 all completed, 2 bad input, 7 AWS refused, 8 a job failed.
"""


def launch_parser(
    extra_args: Sequence[Mapping[str, Any]] | None, methods: Iterable[str], benchmarks: Iterable[str]
) -> tuple[cli.Parser, list[str]]:
    """The parser, and the names of the study's own arguments."""
    program = Path(sys.argv[0]).name or "launch_remote.py"
    parser = cli.experiment_parser(program, _DESCRIPTION, methods, benchmarks, _EXAMPLES)
    jobs = parser.add_argument_group("the jobs")
    jobs.add_argument(
        "--instance_type", type=cli.text, metavar="TYPE", help="such as ml.g4dn.12xlarge; default: the benchmark's"
    )
    jobs.add_argument("--spot", action="store_true", help="use spot instances; interrupted jobs continue")
    jobs.add_argument(
        "--role", type=cli.text, help="IAM role of the jobs; default: $AWS_ROLE, else the account's SageMaker role"
    )
    jobs.add_argument("--bucket", type=cli.text, help="S3 bucket; default: sagemaker-REGION-ACCOUNT")
    jobs.add_argument(
        "--image_uri", type=cli.text, metavar="URI", help="container image; default: SageMaker's PyTorch image"
    )
    jobs.add_argument(
        "--max_run",
        type=cli.at_least(1),
        metavar="SECONDS",
        help="limit of a job; default: 1.2 x max_wallclock_time + 900",
    )
    jobs.add_argument(
        "--volume_size", type=cli.at_least(1), metavar="GB", help="disk of a job; default: the benchmark's, or 30"
    )
    jobs.add_argument("--store_logs", action="store_true", help="upload what the trials print")
    launch = parser.add_argument_group("the launch")
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
    return parser, cli.add_extra_arguments(parser, extra_args)


def check(arguments: argparse.Namespace, seconds: float) -> None:
    """Raises SpecError for options that do not go together.

    Args:
        arguments: Of the command line.
        seconds: How long each experiment tunes.
    """
    if arguments.interrupt_after is not None and not arguments.spot:
        raise SpecError("--interrupt_after needs --spot: only spot jobs are interrupted.", "Add --spot.")
    if arguments.interrupt_after is not None and arguments.interrupt_after >= seconds:
        raise SpecError(
            f"--interrupt_after {arguments.interrupt_after:g} would interrupt nothing: each experiment tunes for "
            f"{seconds:g} s.",
            "Interrupt earlier, or raise --max_wallclock_time.",
        )
    if arguments.max_run is not None and arguments.max_run <= seconds:
        raise SpecError(
            f"--max_run {arguments.max_run} would end each job before it has tuned for {seconds:g} s.",
            "Leave --max_run out, or allow for some minutes of setup besides; or lower --max_wallclock_time.",
        )
