"""The command of a trial in its job, as LocalBackend would make it. Standard library alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cloudtune import constants
from cloudtune.remote import job_layout as layout
from cloudtune.remote import trial_layout
from cloudtune.remote.job_configuration import JobConfiguration
from cloudtune.script_args import argument_words


def script_folder() -> Path:
    """Where the script is, and runs."""
    return layout.code_folder() / trial_layout.SCRIPT_FOLDER


def resolve(words: Sequence[str]) -> list[str]:
    """The command that runs ``words``: the first is a Python script in :func:`script_folder`, or a program.

    Raises:
        ValueError: There is no such thing here.
    """
    first = script_folder() / words[0]
    if words[0].endswith(".py"):
        if not first.is_file():
            raise ValueError(f"the code archive has no {trial_layout.SCRIPT_FOLDER}/{words[0]}.")
        return [sys.executable, str(first), *words[1:]]
    if first.is_file():
        if not os.access(first, os.X_OK):
            raise ValueError(
                f"{words[0]} is neither a Python script (*.py) nor executable: make it so (chmod +x), or name its "
                f'interpreter, as in ("bash", "{words[0]}").'
            )
        return [str(first), *words[1:]]
    program = shutil.which(words[0])
    if program is None:
        raise ValueError(f"the image has no program {words[0]!r}, and the code archive no such file.")
    return [program, *words[1:]]


def arguments(job: JobConfiguration) -> list[str]:
    """The hyperparameters as words, or the file that holds them, and the folder for checkpoints."""
    values = dict(job.hyperparameters)
    if os.environ.get(trial_layout.ENV_CONFIG_AS_JSON) == "1":
        path = layout.ml_root() / "cloudtune" / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")
        values = {constants.ST_CONFIG_JSON_FNAME_ARG: str(path)}
    # The platform copies the folder of every host to the same place: names must be distinct.
    checkpoints = layout.checkpoints_folder() / ("" if job.is_first_host else job.host)
    checkpoints.mkdir(parents=True, exist_ok=True)
    return argument_words({**values, constants.ST_CHECKPOINT_DIR: str(checkpoints)})
