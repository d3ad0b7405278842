"""What commands that run studies have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.trials import Trials


@dataclass(frozen=True)
class StudyCommand:
    """A function of a user's script.

    Args:
        kind: Where trials run.
        description, examples: For ``--help``.
    """

    kind: type[Trials]
    description: str
    examples: str

    @staticmethod
    def program() -> Path:
        """The user's script."""
        return Path(sys.argv[0])

    def parser(self, methods: Iterable[str], benchmarks: Iterable[str]) -> cli.Parser:
        """With the arguments that say what is run, and how trials are."""
        program = self.program().name or "python"
        parser = cli.experiment_parser(program, self.description, methods, benchmarks, self.examples)
        self.kind.add_arguments(parser)
        return parser
