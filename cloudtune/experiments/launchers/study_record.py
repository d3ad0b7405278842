"""Remembers under which tag a command was run, so that the same command continues what is not finished."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cloudtune.clock import WallClock
from cloudtune.errors import StoreError
from cloudtune.paths import experiments_root

#: How a study is looked at; not what it is.
_NOT_THE_STUDY = ("experiment_tag", "wait", "yes", "dry_run", "verbose", "interrupt_after")


@dataclass(frozen=True)
class StudyRecord:
    """One launch of one command.

    Args:
        tag: The study's name.
        path: Where this is written down; removed when the study is done.
        begun: Seconds since the epoch.
        continued: Whether an earlier launch has begun it.
    """

    tag: str
    path: Path
    begun: float
    continued: bool = False

    def done(self) -> None:
        """The next launch of the same command begins a new study."""
        self.path.unlink(missing_ok=True)


def open_study(program: Path, arguments: argparse.Namespace) -> StudyRecord:
    """The unfinished study of this command, or a new one. Two processes at once get the same one.

    Args:
        program: The script that is run.
        arguments: Of the command line; options that say only how to look at a study make no difference.
    """
    command = {key: value for key, value in vars(arguments).items() if key not in _NOT_THE_STUDY}
    text = json.dumps([str(program.resolve()), command], sort_keys=True, default=str)
    path = experiments_root() / ".studies" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    now = WallClock().now()
    while True:
        known = _read(path)
        if known is not None:
            return known
        tag = new_tag(now)
        if _create(path, {"tag": tag, "begun": now, "command": text}):
            return StudyRecord(tag, path, now)


def new_tag(now: float) -> str:
    """``study-1121-0820-3f``: the time in UTC, and two random digits since studies may begin within a minute."""
    while True:
        tag = f"study-{datetime.fromtimestamp(now, tz=timezone.utc):%m%d-%H%M}-{os.urandom(1).hex()}"
        if not (experiments_root() / tag).exists():
            return tag


def require_writable_root() -> None:
    """Refuses to begin where nothing can be written down.

    Raises:
        StoreError: Naming the folder.
    """
    root = experiments_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise StoreError(
            f"The folder of experiments, {root}, cannot be written to: {error.strerror or error}.",
            "Set CLOUDTUNE_FOLDER to a folder that can.",
        ) from error


def _read(path: Path) -> StudyRecord | None:
    """None if there is none; one that cannot be understood is removed."""
    try:
        record = json.loads(path.read_bytes())
        return StudyRecord(str(record["tag"]), path, float(record["begun"]), continued=True)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        path.unlink(missing_ok=True)
        return None


def _create(path: Path, record: dict[str, Any]) -> bool:
    """Whether the file is new: it appears with its content, and never replaces another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(json.dumps(record).encode())
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return False
    return True
