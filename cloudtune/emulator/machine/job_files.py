"""What a job has made of its folders, read without trust: links lead anywhere, and there is no end to depth."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# Neither a link nor, without waiting for its other end, a pipe: what was a file a moment ago may be either.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def is_own(path: Path, root: Path) -> bool:
    """Whether no link stands at ``path``, nor on the way there from ``root``."""
    return Path(os.path.realpath(path)) == Path(os.path.realpath(root)) / path.relative_to(root)


def make_folder(path: Path) -> None:
    """As ``path.mkdir(parents=True, exist_ok=True)``, which recurses, and so fails at a thousand parents."""
    folder = str(path)  # text, since a Path of a thousand parts takes its time
    missing = []
    while not os.path.isdir(folder):  # noqa: PTH112
        missing.append(folder)
        folder = os.path.dirname(folder)  # noqa: PTH120
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # made meanwhile, or a file
            os.mkdir(folder)  # noqa: PTH102
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def open_file(path: Path) -> int:
    """A descriptor for reading a regular file. Raises OSError for anything else."""
    descriptor = os.open(path, _OPEN)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(f"{path} is no regular file")


def entries(folder: Path, hidden: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below ``folder`` with its relative path; links are not followed.

    Args:
        folder: Must not be a link itself; see :func:`is_own`.
        hidden: Gets the folders that cannot be looked into.
    """
    folders = [""]
    while folders:
        parent = folders.pop()
        try:
            with os.scandir(folder / parent) as found:
                for entry in found:
                    name = f"{parent}/{entry.name}" if parent else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    yield name, entry
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile, or replaced
        except OSError:  # forbidden, or deeper than a path can be
            hidden.append(parent)
