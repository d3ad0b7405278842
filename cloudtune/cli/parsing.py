"""What the parsers of all commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from cloudtune.experiments.launchers.arguments import Parser, text

Run = Callable[[argparse.Namespace], int]


class Commands:
    """The commands of ``cloudtune``, to which each module adds its own."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._added: Any = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def add(self, name: str, run: Run, summary: str, description: str = "", epilog: str = "") -> Parser:
        """A command that calls ``run`` and ends with the exit code that it returns.

        Args:
            summary: For the list of commands.
            description: Default: that it shows ``summary``.
            epilog: Examples, exit codes.
        """
        added: Parser = self._added.add_parser(
            name,
            help=summary,
            description=description or f"Shows {summary}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.add_argument("--verbose", action="store_true", help="say what is done meanwhile")
        added.set_defaults(run=run, parser=added)
        return added

    def add_foreign(self, name: str, summary: str) -> None:
        """A command that reads its arguments itself."""
        self._added.add_parser(name, help=summary, add_help=False)


def add_which(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """``NAME`` or ``--tag TAG``: what a command is about."""
    parser.add_argument(
        "name", nargs="?", type=text, metavar="NAME", help="the experiment, as 'cloudtune list' has it"
    )
    parser.add_argument(
        "--tag", type=text, help="all experiments of this study; with NAME: the study it belongs to"
    )
    parser.set_defaults(needs_which=not optional)


def check_which(options: argparse.Namespace) -> None:
    """Raises SpecError if neither a name nor a tag is given where one is needed."""
    if getattr(options, "needs_which", False) and not options.name and not options.tag:
        options.parser.error("name an experiment, or a study with --tag TAG")


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")


def confirm(question: str, options: argparse.Namespace) -> bool:
    """Whether the person agrees.

    Raises:
        SpecError: There is nobody to ask, and no ``--yes``.
    """
    import sys

    from cloudtune.errors import SpecError

    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise SpecError(f"{question} There is no terminal to answer in.", "Pass --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
