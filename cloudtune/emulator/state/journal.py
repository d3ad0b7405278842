"""Documents that outlive the process: a dictionary kept in an append-only file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import StoreError
from cloudtune.paths import write_atomic

Key = tuple[str, ...]
_SPARE_BYTES = 32 << 20  # that say nothing any more, before the file is written anew


class _Place(NamedTuple):
    """Where in the file a key's newest line is, and what it says."""

    offset: int
    size: int
    digest: bytes


class Journal:
    """JSON documents by key, in the order in which their keys came. Thread-safe. Memory holds the keys alone.

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
        self._places: dict[Key, _Place] = {}
        self._descriptor = -1
        if path.exists():
            self._read()
        self._rewrite()

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def all_keys(self) -> list[Key]:
        with self._lock:
            return list(self._places)

    def items(self) -> Iterator[tuple[Key, JsonObject]]:
        """Of this moment."""
        with self._lock:
            content = self._path.read_bytes()
            found = list(self._places.items())
        for key, place in found:
            yield key, json.loads(content[place.offset : place.offset + place.size])[1]

    def apply(self, changes: Mapping[Key, JsonObject | None]) -> None:
        """Replaces documents, all at once; None removes one. What is new comes last.

        Raises:
            OSError: They could not be written; nothing has changed.
        """
        lines = {key: _line(key, document) for key, document in changes.items()}
        with self._lock:
            news = [(key, line) for key, line in lines.items() if self._is_news(key, line, changes[key] is None)]
            if not news:
                return
            self._append(b"".join(line for _, line in news))
            for key, line in news:
                if changes[key] is None:
                    self._live_bytes -= self._places.pop(key).size
                else:
                    self._note(key, line, self._bytes)
                self._bytes += len(line)
            if self._bytes > 2 * self._live_bytes + _SPARE_BYTES:
                self._rewrite()

    def close(self) -> None:
        """Nothing can be applied any more."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _is_news(self, key: Key, line: bytes, is_removal: bool) -> bool:
        place = self._places.get(key)
        if is_removal or place is None:
            return is_removal == (place is not None)
        return place.digest != _digest(line)

    def _note(self, key: Key, line: bytes, offset: int) -> None:
        if key in self._places:
            self._live_bytes -= self._places[key].size
        self._places[key] = _Place(offset, len(line), _digest(line))
        self._live_bytes += len(line)

    def _append(self, content: bytes) -> None:
        if self._descriptor < 0:
            raise OSError(f"{self._path} has been closed")
        try:
            if os.write(self._descriptor, content) != len(content):
                raise OSError(f"{self._path} could not be written as a whole: is the disk full?")
        except OSError:
            os.ftruncate(self._descriptor, self._bytes)  # half a line would spoil the next one
            raise

    def _rewrite(self) -> None:
        old = self._path.read_bytes() if self._places else b""
        lines = {key: old[place.offset : place.offset + place.size] for key, place in self._places.items()}
        write_atomic(self._path, b"".join(lines.values()))
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._bytes = self._live_bytes = 0
        self._places.clear()
        for key, line in lines.items():
            self._note(key, line, self._bytes)
            self._bytes += len(line)

    def _read(self) -> None:
        self._live_bytes = offset = 0
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
                self._places.pop(key, None)
            else:
                self._note(key, line + b"\n", offset)
            offset += len(line) + 1


def _line(key: Key, document: JsonObject | None) -> bytes:
    return f"[{json.dumps(key)}, {json.dumps(document)}]\n".encode()


def _digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=16).digest()
