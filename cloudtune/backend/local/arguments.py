"""What a trial is started with: its command, as a vector, never as text for a shell."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cloudtune import constants, script_args
from cloudtune.errors import SpecError
from cloudtune.paths import TrialPaths

#: A Python script, an executable, or a command of several words such as ``("torchrun", "train.py")``.
EntryPoint: TypeAlias = "str | os.PathLike[str] | Sequence[str]"

_PYTHON = ".py"


def check_entry_point(entry_point: EntryPoint) -> tuple[str, ...]:
    """The words of ``entry_point``; whether they exist is left to :func:`resolve`.

    Raises:
        SpecError: It is empty or no text.
    """
    words = (entry_point,) if isinstance(entry_point, (str, os.PathLike)) else tuple(entry_point)
    if not words or not all(isinstance(word, (str, os.PathLike)) and os.fspath(word) for word in words):
        raise SpecError(
            f"entry_point={entry_point!r} names no script.",
            'Give the path of a script ("train.py"), or a command as a tuple ("torchrun", "train.py").',
        )
    return tuple(os.fspath(word) for word in words)


def script_of(words: Sequence[str]) -> Path:
    """What the experiment is named after: the first Python script, else the last file, else the program."""
    scripts = [word for word in words if word.endswith(_PYTHON)]
    files = [word for word in words if Path(word).is_file()]
    return Path(scripts[0] if scripts else files[-1] if files else words[0])


def resolve(words: Sequence[str]) -> list[str]:
    """The command that runs the entry point.

    Raises:
        SpecError: A script or program of it does not exist or cannot be run; names what is there instead.
    """
    if len(words) > 1:
        _check_program(words[0])
        for word in words[1:]:
            if word.endswith(_PYTHON) and not word.startswith("-"):
                check_file(Path(word))
        return list(words)
    script = Path(words[0]).expanduser().absolute()
    if script.suffix != _PYTHON and len(Path(words[0]).parts) == 1 and not script.exists():
        _check_program(words[0])
        return list(words)
    check_file(script)
    if script.suffix == _PYTHON:
        return [sys.executable, str(script)]
    if not os.access(script, os.X_OK):
        raise SpecError(
            f"entry_point {str(script)!r} is neither a Python script (*.py) nor executable.",
            f'Make it executable (chmod +x), or name its interpreter: entry_point=("bash", "{words[0]}").',
        )
    return [str(script)]


def _check_program(program: str) -> None:
    if shutil.which(program) is None:
        raise SpecError(
            f"entry_point: there is no program {program!r} on PATH.",
            "Give the path of a script, or install the program.",
        )


def check_file(path: Path) -> None:
    """Raises SpecError unless ``path`` is a file; names what is there instead."""
    if path.is_file():
        return
    if path.is_dir():
        raise SpecError(f"entry_point {str(path)!r} is a folder.", "Give the script in it.")
    parent = path.parent
    if not parent.is_dir():
        raise SpecError(f"entry_point {str(path)!r} does not exist, nor does its folder.", "Mend the path.")
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_file())
    near = (
        difflib.get_close_matches(path.name, names, n=3, cutoff=0.4)
        or [n for n in names if n.endswith(_PYTHON)][:5]
    )
    raise SpecError(
        f"entry_point {str(path)!r} does not exist.",
        f"{str(parent)!r} has: {', '.join(near)}" if near else f"{str(parent)!r} holds no script.",
    )


def config_text(config: Mapping[str, Any]) -> str:
    """``config`` as JSON.

    Raises:
        TypeError: JSON cannot hold a value.
    """
    return json.dumps({key: plain(value) for key, value in config.items()}, indent=1)


def arguments(config: Mapping[str, Any], paths: TrialPaths, as_json: bool) -> list[str]:
    """The arguments of one attempt: ``--{name} {value}`` for each hyperparameter and ``--st_checkpoint_dir``, or,
    with ``as_json``, the name of the file that holds the configuration instead.

    None is left out: a command line has no word for it.

    Raises:
        TypeError: JSON cannot hold a list or dict among the values.
    """
    values: dict[str, Any] = {constants.ST_CONFIG_JSON_FNAME_ARG: str(paths.config)} if as_json else dict(config)
    values[constants.ST_CHECKPOINT_DIR] = str(paths.checkpoints)
    return script_args.argument_words({key: plain(value) for key, value in values.items()})


def plain(value: Any) -> Any:
    """``value`` without NumPy types and tuples."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
