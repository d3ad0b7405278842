"""The launchers' command line: names and defaults of Syne Tune, each with help."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from cloudtune import names
from cloudtune.errors import SpecError
from cloudtune.script_args import parse_bool

MAX_SEED = 2**31 - 1
#: A tag must leave room for benchmark, method and seed in the job's name.
MAX_TAG_LENGTH = 40

#: Arguments of Syne Tune's launchers that are not needed here.
_SYNE_TUNE_ONLY = {
    "--estimator_fit_backoff_wait_time": "Leave it out: a launch waits for its quota by itself.",
    "--use_long_tuner_name_prefix": "Leave it out: names are made of tag, benchmark, method and seed.",
    "--remote_tuning_metrics": "Leave it out: this command shows the best values while jobs run.",
    "--max_size_data_for_model": "Leave it out: no method here fits a model.",
}

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """Complains through SpecError, and proposes what was probably meant."""

    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        hint = f"{self.prog} --help lists all arguments."
        if message.startswith(prefix):
            unknown = message.removeprefix(prefix).split()[0].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown, known, n=1)
            hint = f"Did you mean {near[0]}? {hint}" if near else hint
            hint = _SYNE_TUNE_ONLY.get(unknown, hint)
        raise SpecError(f"{self.prog}: {message}", hint)


def experiment_parser(
    prog: str, description: str, methods: Iterable[str], benchmarks: Iterable[str], examples: str
) -> Parser:
    """Arguments that both launchers have; ``{prog}`` in ``examples`` is replaced."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s [options]",
        description=f"{description}\n\nmethods: {', '.join(methods)}\nbenchmarks: {', '.join(benchmarks)}",
        epilog=examples.replace("{prog}", prog),
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    what = parser.add_argument_group("what is run")
    what.add_argument(
        "--experiment_tag",
        type=text,
        metavar="NAME",
        help="name of this study: letters, digits and hyphens, at most "
        f"{MAX_TAG_LENGTH}. The same name continues the same study; default: study-DATE-TIME-XX",
    )
    what.add_argument("--benchmark", type=text, metavar="NAME", help="what is tuned; default: the first")
    what.add_argument("--method", type=text, metavar="NAME", help="run this method only; default: all")
    what.add_argument(
        "--num_seeds",
        type=at_least(1),
        default=1,
        metavar="N",
        help="end of the range of seeds: start_seed, ..., N - 1 are run (default: 1)",
    )
    what.add_argument("--start_seed", type=at_least(0), default=0, metavar="N", help="first seed (default: 0)")
    what.add_argument(
        "--random_seed",
        type=at_least(0),
        metavar="N",
        help="master seed: seed k draws from N + k; default: a function of experiment_tag",
    )
    limits = parser.add_argument_group("how long, how many")
    limits.add_argument(
        "--n_workers", type=at_least(1), metavar="N", help="trials in parallel; default: the benchmark's"
    )
    limits.add_argument(
        "--max_wallclock_time",
        type=positive,
        metavar="SECONDS",
        help="how long each experiment tunes; default: the benchmark's",
    )
    limits.add_argument(
        "--scale_max_wallclock_time",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="with fewer workers than the benchmark's default, tune proportionally longer (default: no)",
    )
    limits.add_argument(
        "--max_failures",
        type=at_least(0),
        default=3,
        metavar="N",
        help="failed trials that an experiment survives (default: 3)",
    )
    output = parser.add_argument_group("what is kept and shown")
    output.add_argument(
        "--save_tuner", type=parse_bool, default=True, metavar="BOOL", help="write tuner.dill (default: yes)"
    )
    output.add_argument(
        "--delete_checkpoints",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="remove checkpoints that are not needed any more (default: no)",
    )
    output.add_argument(
        "--verbose",
        type=parse_bool,
        nargs="?",
        const=True,
        default=False,
        metavar="BOOL",
        help="show everything: log, requests, files",
    )
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Paragraphs as they are written; one line for an option where it fits."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=38)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def add_extra_arguments(
    parser: argparse.ArgumentParser, extra_args: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """Adds the arguments of a user's own study; each a dict with ``name`` and what argparse takes.

    Returns:
        Their names.
    """
    added: list[str] = []
    if not extra_args:
        return added
    group = parser.add_argument_group("of this study")
    for entry in extra_args:
        keywords = dict(entry)
        name = str(keywords.pop("name")).lstrip("-")
        group.add_argument(f"--{name}", **keywords)
        added.append(name)
    return added


def add_instance_arguments(group: argparse._ArgumentGroup, spot: str) -> None:
    """What the jobs in which trials run are like; ``spot`` says what comes of interruptions."""
    group.add_argument(
        "--instance_type", type=text, metavar="TYPE", help="such as ml.g4dn.12xlarge; default: the benchmark's"
    )
    group.add_argument(
        "--spot",
        type=parse_bool,
        nargs="?",
        const=True,
        default=False,
        metavar="BOOL",
        help=f"use spot instances; {spot}",
    )
    group.add_argument(
        "--image_uri", type=text, metavar="URI", help="container image; default: SageMaker's PyTorch image"
    )
    group.add_argument(
        "--volume_size", type=at_least(1), metavar="GB", help="disk of a job; default: the benchmark's, or 30"
    )


def choose(kind: str, table: Mapping[str, T], name: str | None) -> dict[str, T]:
    """The entries meant by ``--method``/``--benchmark``; all of them without a name.

    Raises:
        SpecError: Naming the valid ones.
    """
    if not table:
        raise SpecError(f"There is no {kind} to choose from.")
    if name is None:
        return dict(table)
    if name not in table:
        lower = {key.lower(): key for key in table}
        near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.4)
        meant = f"Did you mean {lower[near[0]]}? " if near else ""
        raise SpecError(f"--{kind} {name}: unknown {kind}.", f"{meant}Valid are: {', '.join(table)}.")
    return {name: table[name]}


def seeds_of(arguments: argparse.Namespace) -> range:
    """Raises SpecError if the range is empty."""
    seeds = range(arguments.start_seed, arguments.num_seeds)
    if not seeds:
        raise SpecError(
            f"--start_seed {arguments.start_seed} --num_seeds {arguments.num_seeds} leaves no seed to run.",
            "num_seeds is the end of the range: seeds start_seed, ..., num_seeds - 1 are run.",
        )
    return seeds


def master_seed(arguments: argparse.Namespace) -> int:
    """``--random_seed``, else a number made from the tag: the same study has the same seeds."""
    if arguments.random_seed is not None:
        return int(arguments.random_seed) % MAX_SEED
    digest = hashlib.sha256(str(arguments.experiment_tag).encode()).digest()
    return int.from_bytes(digest[:4], "big") % MAX_SEED


def run_seed(master: int, seed: int) -> int:
    return (master + seed) % MAX_SEED


def check_tag(tag: str) -> str:
    return names.check_name(tag, "--experiment_tag", MAX_TAG_LENGTH)


def at_least(minimum: int) -> Any:
    def integer(given: str) -> int:
        try:
            value = int(given)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{given!r} is not an integer") from None
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is less than {minimum}")
        return value

    return integer


def positive(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r} is not a number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{given} is not positive")
    return value


def text(given: str) -> str:
    """Refuses what a shell makes of a variable that is not set: it is not the same as leaving the option out."""
    if not given.strip():
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return given
