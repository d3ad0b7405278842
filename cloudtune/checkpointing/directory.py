"""Checkpoints on disk: directories ``{st_checkpoint_dir}/{resource:08d}/``, each with a manifest written last.

The manifest lists sizes and digests; what it does not vouch for is never read. A process may be killed, and the
directory be copied, at any moment.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloudtune.errors import CheckpointError

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_SCHEMA = 1
# "00000009", and before it is published ".00000009.{pid}.tmp"
_NAME = re.compile(r"(?P<spare>\.)?(?P<level>\d{8,})(?(spare)\.\d+\.tmp)")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A directory that may hold a checkpoint.

    ``is_published``: under its own name; else a crash has left it, complete perhaps.
    """

    path: Path
    level: int
    is_published: bool


def find(directory: Path) -> list[Checkpoint]:
    """What may be a checkpoint, the newest first, and of one level the published one first."""
    found = []
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found.append(Checkpoint(path, int(match["level"]), is_published=not match["spare"]))
    return sorted(found, key=lambda c: (-c.level, not c.is_published, c.path.name))


def is_good(checkpoint: Checkpoint) -> bool:
    """Whether all is there that its manifest lists, byte for byte."""
    problem = _problem(checkpoint)
    if problem and checkpoint.is_published:
        logger.warning("checkpoint %s is not used: %s; trying the one before", checkpoint.path, problem)
    return not problem


def write(directory: Path, level: int, save: Callable[[str], None]) -> None:
    """Adds or replaces the checkpoint of ``level``: complete under its name, or not there at all.

    Args:
        save: Called with the path of an empty directory, which it fills.
    """
    temporary = directory / f".{level:08d}.{os.getpid()}.tmp"
    directory.mkdir(parents=True, exist_ok=True)
    if temporary.exists():  # of a process that died; in containers process ids come again
        remove(temporary)
    temporary.mkdir()
    try:
        save(str(temporary))
        _write_manifest(temporary, level)
        publish(Checkpoint(temporary, level, is_published=False))
    finally:
        if temporary.exists():
            remove(temporary)


def publish(spare: Checkpoint) -> Checkpoint:
    """Gives a complete checkpoint its name; another of that name goes. Killed between the two, :func:`find` and
    :func:`is_good` still have the complete one."""
    final = spare.path.parent / f"{spare.level:08d}"
    if final.exists():
        remove(final)
    spare.path.rename(final)
    _fsync(final.parent)
    return Checkpoint(final, spare.level, is_published=True)


def prune(directory: Path, seen: int | None) -> None:
    """Keeps the newest, the newest that is safe to resume from, and the next to become safe; at least two.

    Without the third, a trial that is always a few levels ahead of ``seen`` would never get a newer safe one.
    """
    levels = {c.level: c.path for c in find(directory) if c.is_published}
    newest_first = sorted(levels, reverse=True)
    keep = set(newest_first[:1])
    if seen is not None:
        keep.update([level for level in newest_first if level <= seen][:1])
        keep.update([level for level in newest_first if level > seen][-1:])
    if len(keep) < 2:
        keep.update(newest_first[:2])
    for level in newest_first:
        if level not in keep:
            remove(levels[level])


def remove(path: Path) -> None:
    """Removes a checkpoint. Half removed, it is none: its manifest lists what is missing."""
    shutil.rmtree(path)


def _problem(checkpoint: Checkpoint) -> str:
    try:
        manifest = json.loads((checkpoint.path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] != _SCHEMA or manifest["resource"] != checkpoint.level:
            return f"its manifest is of schema {manifest['schema']} and level {manifest['resource']}"
        for name, entry in manifest["files"].items():
            file = checkpoint.path / name
            size = file.stat().st_size
            if size != entry["size"]:
                return f"{name} has {size} bytes, not {entry['size']}"
            if _digest(file) != entry["sha256"]:
                return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest is damaged ({type(error).__name__})"
    return ""


def sizes_in_manifest(text: str | bytes, level: int) -> dict[str, int] | None:
    """Bytes of each file of a checkpoint, by its name there, as its manifest's ``text`` lists them; None if that
    is no manifest of that level."""
    try:
        manifest = json.loads(text)
        if manifest["schema"] != _SCHEMA or manifest["resource"] != level:
            return None
        return {str(name): int(entry["size"]) for name, entry in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_manifest(folder: Path, level: int) -> None:
    paths = sorted(folder.rglob("*"))
    files = [path for path in paths if path.is_file()]
    if not files or folder / MANIFEST in files:
        what = f"wrote {MANIFEST}, a name that is reserved" if files else "wrote nothing"
        raise CheckpointError(
            f"save_model_fn {what}.",
            "It must write at least one file of another name into the directory it is given.",
        )
    entries = {}
    for file in files:
        _fsync(file)
        entries[file.relative_to(folder).as_posix()] = {"size": file.stat().st_size, "sha256": _digest(file)}
    manifest = {"schema": _SCHEMA, "resource": level, "files": entries, "created_by": "cloudtune"}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in [folder / MANIFEST, *(path for path in paths if path.is_dir()), folder]:
        _fsync(path)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
