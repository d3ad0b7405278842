"""What all trial jobs of an experiment have in common: made once, from what the user gives, and plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudtune.job_spec import TrainingJobSpec


@dataclass(frozen=True)
class TrialTemplate:
    """A job and its script.

    Args:
        spec: Of every trial job. ``name``, ``entrypoint``, ``arguments``, code channel, checkpoints and what else
            belongs to one trial are filled in later; ``role_arn``, ``image`` and ``output_s3_uri`` may be empty,
            and are then found when a session begins.
        command: What runs; the first word a Python script relative to ``source_dir``, or a program.
        source_dir: Folder that travels, with all it holds.
        dependencies: Folders of packages, or modules, that travel as well.
        hyperparameters: Given to every trial unless its configuration has them.
        framework_version, py_version: Choose the image where ``spec.image`` is empty.
    """

    spec: TrainingJobSpec
    command: tuple[str, ...]
    source_dir: Path
    dependencies: tuple[Path, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    framework_version: str | None = None
    py_version: str | None = None


def as_template(given: object, dependencies: Sequence[str | Path] = ()) -> TrialTemplate:
    """The template that ``given`` stands for."""
    raise NotImplementedError(given)
