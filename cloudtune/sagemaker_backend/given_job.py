"""What a user has given as the job of all trials, before it is looked at more closely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudtune.backend.local.arguments import EntryPoint
from cloudtune.job_spec import TrainingJobSpec

#: As RemoteLauncher has it.
REQUIREMENTS = "requirements*.txt"


@dataclass(frozen=True)
class GivenJob:
    """A job as plain data, and its code as it was named.

    Args:
        spec: Everything but the code; its hyperparameters are those of every trial.
        entry_point: As LocalBackend has it; None: not named.
        source_dir: Folder that travels; default: that of the script.
        dependencies: Folders of packages, or modules, that travel as well.
        requirements: Pattern of the files that the job installs from; None: there are none.
        framework_version, py_version: Choose the PyTorch image where ``spec.image`` is empty.
    """

    spec: TrainingJobSpec
    entry_point: EntryPoint | None = None
    source_dir: str | Path | None = None
    dependencies: Sequence[str | Path] = ()
    requirements: str | None = REQUIREMENTS
    framework_version: str | None = None
    py_version: str | None = None
