"""What must be known of an attempt to find it again; written before its process is started, once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cloudtune.backend.local import files


@dataclass(frozen=True)
class StartRecord:
    #: Marks the attempt's processes.
    token: str
    #: Bytes in ``std.out`` and ``std.err`` before the attempt.
    stdout_offset: int = 0
    stderr_offset: int = 0
    #: Entries of ``CUDA_VISIBLE_DEVICES``.
    gpus: tuple[str, ...] = ()


def read(path: Path) -> StartRecord | None:
    """The record, None if it is missing or damaged (as it may be when the machine has lost power)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return StartRecord(
            str(raw["token"]), int(raw["stdout_offset"]), int(raw["stderr_offset"]), tuple(map(str, raw["gpus"]))
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def create(path: Path, record: StartRecord) -> StartRecord:
    """Writes ``record``, unless there is one. Returns the one that is there."""
    text = json.dumps(asdict(record))
    if files.create(path, text):
        return record
    existing = read(path)
    if existing is None:
        files.replace(path, text)
    return existing or record
