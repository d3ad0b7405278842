"""Remembers under which tag a command was run, so that the same command continues what was interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudtune import names
from cloudtune.clock import WallClock
from cloudtune.experiments.launchers.arguments import MAX_TAG_LENGTH
from cloudtune.paths import experiments_root, write_atomic


@dataclass(frozen=True)
class StudyRecord:
    """One launch of one command.

    Args:
        tag: The study's name.
        path: Where this is written down; removed when the study is done.
        continued: Whether an earlier launch was interrupted.
    """

    tag: str
    path: Path
    continued: bool = False

    def done(self) -> None:
        """The next launch of the same command begins a new study."""
        self.path.unlink(missing_ok=True)


def open_study(program: str, arguments: Sequence[str]) -> StudyRecord:
    """The unfinished study of this very command line, or a new one with a tag made from the time."""
    digest = hashlib.sha256(json.dumps([program, *arguments]).encode()).hexdigest()[:16]
    path = experiments_root() / ".studies" / f"{digest}.json"
    try:
        return StudyRecord(str(json.loads(path.read_bytes())["tag"]), path, continued=True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    tag = names.legal_name(f"{program}-{names.timestamp_suffix(WallClock().now())}", MAX_TAG_LENGTH)
    write_atomic(path, json.dumps({"tag": tag, "command": [program, *arguments]}))
    return StudyRecord(tag, path)
