"""Documents that outlive the process: a dictionary kept in an append-only file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import StoreError
from cloudtune.paths import write_atomic

Key = tuple[str, ...]
_SPARE_LINES = 20_000  # that say nothing any more, before the file is written anew


class Journal:
    """JSON documents by key, in the order in which their keys came. Thread-safe.

    Each line of the file is a key with its newest document, or with null once it is removed. What was applied is
    in the file: killing the process loses nothing, losing the machine's power may (the file is not synced). A last
    line without an end was never answered, and is dropped.

    Args:
        path: The file; made where there is none, and written anew without its history.

    Raises:
        StoreError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._texts: dict[Key, str] = {}
        self._lines = 0
        if path.exists():
            self._read()
        self._descriptor = -1
        self._rewrite()

    def __contains__(self, key: Key) -> bool:
        return key in self._texts

    def all_keys(self) -> list[Key]:
        with self._lock:
            return list(self._texts)

    def items(self) -> Iterator[tuple[Key, JsonObject]]:
        """Of this moment."""
        with self._lock:
            found = list(self._texts.items())
        return ((key, json.loads(text)) for key, text in found)

    def apply(self, changes: Mapping[Key, JsonObject | None]) -> None:
        """Replaces documents, all at once; None removes one. What is new comes last.

        Raises:
            OSError: They could not be written; nothing has changed.
        """
        texts = {key: None if value is None else json.dumps(value) for key, value in changes.items()}
        with self._lock:
            texts = {key: text for key, text in texts.items() if self._texts.get(key) != text}
            if not texts:
                return
            self._append("".join(_line(key, text) for key, text in texts.items()).encode())
            for key, text in texts.items():
                if text is None:
                    del self._texts[key]
                else:
                    self._texts[key] = text
            self._lines += len(texts)
            if self._lines > 2 * len(self._texts) + _SPARE_LINES:
                self._rewrite()

    def close(self) -> None:
        """Nothing can be applied any more."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _append(self, content: bytes) -> None:
        if self._descriptor < 0:
            raise OSError(f"{self._path} has been closed")
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, content) != len(content):
                raise OSError(f"{self._path} could not be written as a whole: is the disk full?")
        except OSError:
            os.ftruncate(self._descriptor, size)  # half a line would spoil the next one
            raise

    def _rewrite(self) -> None:
        write_atomic(self._path, "".join(_line(key, text) for key, text in self._texts.items()))
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._lines = len(self._texts)

    def _read(self) -> None:
        *lines, _ = self._path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                parts, document = json.loads(line)
                key = tuple(map(str, parts))
            except (ValueError, TypeError) as error:
                raise StoreError(
                    f"Line {number} of {self._path} is damaged.",
                    "Remove that line, or start with another folder.",
                ) from error
            if document is None:
                self._texts.pop(key, None)
            else:
                self._texts[key] = json.dumps(document)


def _line(key: Key, text: str | None) -> str:
    return f"[{json.dumps(key)}, {'null' if text is None else text}]\n"
