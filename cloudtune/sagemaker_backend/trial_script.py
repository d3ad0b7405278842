"""Where the script of trials lies, and how it is called once its folder has travelled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtune.aws.code_archive import import_name
from cloudtune.backend.local.arguments import EntryPoint, check_entry_point, check_file
from cloudtune.errors import SpecError

if TYPE_CHECKING:
    from cloudtune.sagemaker_backend.template import TrialTemplate

_PYTHON = ".py"


def locate_script(entry_point: EntryPoint, source_dir: str | Path | None) -> tuple[Path, tuple[str, ...]]:
    """The folder that travels, and the command that runs inside it.

    Args:
        entry_point: A Python script, an executable file, or a command of several words, as LocalBackend has it.
            What of it is a file may be given relative to ``source_dir``, or to the working directory.
        source_dir: Default: the script's folder.

    Raises:
        SpecError: The script or its folder is missing, the one is not in the other, or the script cannot be run.
    """
    words = list(check_entry_point(entry_point))
    folder = None if source_dir is None else _folder(source_dir)
    position = _script_position(words, folder)
    if position is None:
        if folder is None:
            raise SpecError(
                f"entry_point={entry_point!r} names no file, so that nothing says which folder is to travel.",
                "Pass source_dir=... with the folder of the code.",
            )
        return folder, tuple(words)
    script = _script(words[position], folder)
    folder = folder or script.parent
    inner = _inside(script, folder)
    if position == 0 and script.suffix != _PYTHON:
        if not os.access(script, os.X_OK):
            raise SpecError(
                f"entry_point {str(script)!r} is neither a Python script (*.py) nor executable.",
                f'Make it executable (chmod +x), or name its interpreter: entry_point=("bash", "{words[0]}").',
            )
        inner = f"./{inner}"
    words[position] = inner
    return folder, tuple(words)


def script_path(template: TrialTemplate) -> Path:
    """The file that the trials run; of a command without any, its first word."""
    position = _script_position(template.command, template.source_dir)
    return template.source_dir / template.command[position or 0]


def moved(template: TrialTemplate, folder: Path, packages: Path) -> TrialTemplate:
    """The template whose ``source_dir`` is ``folder`` now, and whose dependencies are in ``packages``."""
    dependencies = tuple(packages / import_name(path) for path in template.dependencies)
    return replace(template, source_dir=folder, dependencies=dependencies)


def _folder(source_dir: str | Path) -> Path:
    text = os.fspath(source_dir)
    if "://" in text:
        raise SpecError(
            f"source_dir={text!r} is no folder on this machine: trials are given code from here.",
            "Download or clone it, and pass the folder's path.",
        )
    folder = Path(text.removeprefix("file://")).expanduser().absolute()
    if not folder.is_dir():
        raise SpecError(f"source_dir {str(folder)!r} is no folder.", "Mend the path.")
    return folder


def _script_position(words: Sequence[str], folder: Path | None) -> int | None:
    """Which word is the script: the first Python one, else the last file; the only word unless it is a program."""
    for position, word in enumerate(words):
        if word.endswith(_PYTHON) and not word.startswith("-"):
            return position
    places = [Path.cwd()] if folder is None else [folder, Path.cwd()]
    for position, word in reversed(list(enumerate(words))):
        if any((place / Path(word).expanduser()).is_file() for place in places):
            return position
    return 0 if len(words) == 1 and len(Path(words[0]).parts) > 1 else None


def _script(word: str, folder: Path | None) -> Path:
    path = Path(word).expanduser()
    if folder is not None and not (path.is_absolute() or (path.is_file() and not (folder / path).is_file())):
        path = folder / path
    check_file(path.absolute())
    return path.absolute()


def _inside(script: Path, folder: Path) -> str:
    """``script`` relative to ``folder``, links followed where they are in the way."""
    here = Path(os.path.normpath(script)), Path(os.path.normpath(folder))
    for one, other in (here, (script.resolve(), folder.resolve())):
        if one.is_relative_to(other):
            return one.relative_to(other).as_posix()
    raise SpecError(
        f"The script {str(script)!r} is not in source_dir {str(folder)!r}, which alone travels.",
        "Pass the folder that holds both as source_dir, or leave source_dir out.",
    )
