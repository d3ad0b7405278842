"""Which files of a folder are what S3 has: a small index, and names that stay inside the folder."""

from __future__ import annotations

import json
import threading
from pathlib import Path, PurePosixPath

from cloudtune.paths import write_atomic

INDEX_FILENAME = ".s3index.json"


class FolderIndex:
    """Remembers size and etag of each file as it was downloaded. A damaged or missing index means that
    everything is fetched again, nothing worse."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / INDEX_FILENAME
        self._lock = threading.Lock()
        self._entries = _load(self._path)
        self._changed = False

    def is_current(self, name: str, size: int, etag: str) -> bool:
        """Whether the file ``name`` here is the object of that size and etag."""
        if self._entries.get(name) != [size, etag]:
            return False
        try:
            return (self._folder / name).stat().st_size == size
        except OSError:
            return False

    def record(self, name: str, etag: str) -> None:
        """The file ``name`` has just been downloaded and had that etag."""
        size = (self._folder / name).stat().st_size
        with self._lock:
            self._entries[name] = [size, etag]
            self._changed = True

    def save(self) -> None:
        with self._lock:
            if self._changed or not self._path.exists():
                write_atomic(self._path, json.dumps(self._entries, sort_keys=True))
                self._changed = False


def _load(path: Path) -> dict[str, list[object]]:
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def is_safe_name(name: str) -> bool:
    """Whether ``name`` (relative, with slashes) stays inside whatever folder it is put in, on any system."""
    if not name or name.endswith("/") or "\\" in name or "\0" in name or ":" in name.split("/")[0]:
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def target_in(folder: Path, name: str) -> Path | None:
    """Where the object called ``name`` belongs below ``folder``; None if that would be elsewhere, by its name
    or through a symbolic link, or if it would replace the index."""
    if not is_safe_name(name) or name == INDEX_FILENAME:
        return None
    target = folder / PurePosixPath(name)
    root = folder.resolve()
    return target if target.parent.resolve().is_relative_to(root) else None
