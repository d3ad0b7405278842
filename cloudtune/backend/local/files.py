"""Files of trials, written whole. Not flushed to disk: they matter while this machine is up."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudtune.errors import StoreError


def replace(path: Path, text: str) -> None:
    """``path`` holds ``text`` or, until then, what it held before.

    Raises:
        StoreError: It cannot be written.
    """
    with _errors_of(path):
        _replace(path, text)


def create(path: Path, text: str) -> bool:
    """Like :func:`replace`, unless ``path`` exists; whether it did not. Of several that try, one succeeds."""
    with _errors_of(path):
        return _create(path, text)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Cannot write {str(path)!r}: {error.strerror or error}.",
            "Make room or mend its permissions, then run the same command again.",
        ) from error


def _replace(path: Path, text: str) -> None:
    temporary = _temporary(path, text)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path, text: str) -> bool:
    temporary = _temporary(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with path.open("x") as file:
                file.write(text)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def copy_tree(source: Path, target: Path, num_tries: int = 5) -> None:
    """Makes ``target`` a copy of the folder ``source``, as a whole, though ``source`` may be changing."""
    temporary = target.with_name(f".{target.name}.copy")
    for attempt in range(1, num_tries + 1):
        remove_tree(temporary)
        before = _fingerprint(source)
        try:
            shutil.copytree(source, temporary, symlinks=True)
        except (shutil.Error, FileNotFoundError):  # a file has been replaced or removed meanwhile
            if attempt == num_tries:
                raise
            continue
        if _fingerprint(source) == before:
            break
    remove_tree(target)
    temporary.replace(target)


def remove_tree(path: Path) -> None:
    """Removes the folder ``path``; nothing there is no error."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if path.exists():  # a file in it vanished while we were at it
            shutil.rmtree(path, ignore_errors=True)


def _fingerprint(folder: Path) -> list[tuple[str, int, int]]:
    entries = []
    for path in sorted(folder.rglob("*")):
        try:
            stat = path.lstat()
        except FileNotFoundError:
            continue
        entries.append((str(path), stat.st_size, stat.st_mtime_ns))
    return entries


def _temporary(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_text(text, encoding="utf-8")
    return temporary
