"""CloudWatch Logs that outlive the process: a journal of groups and streams, a file of events for each stream."""

from __future__ import annotations

import json
import os
import secrets
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.state import moto_state
from cloudtune.emulator.state.journal import Journal, Key

_GROUP, _STREAM = "group", "stream"


@dataclass
class _Kept:
    path: Path
    events: int  # in the file


class LogState:
    """What is in moto's CloudWatch Logs, in a folder; loaded into moto when constructed, a stream's events when
    somebody asks for them.

    Args:
        folder: Of the emulator's state.

    Raises:
        StoreError: What is there is damaged.
    """

    FILES = ("logs.jsonl", "logs")

    def __init__(self, folder: Path) -> None:
        journal, events = self.FILES
        self._folder = folder / events
        self._folder.mkdir(exist_ok=True)
        self._journal = Journal(folder / journal)
        self._lock = threading.Lock()
        self._kept: dict[Key, _Kept] = {}
        for key, document in self._journal.items():
            if key[0] == _GROUP:
                moto_state.restore_group(key[1], key[2], document)
            else:
                self._restore_stream(key, document)
        names = {kept.path.name for kept in self._kept.values()}
        for left in [path for path in self._folder.iterdir() if path.name not in names]:
            left.unlink()

    def _restore_stream(self, key: Key, document: JsonObject) -> None:
        kept = self._kept[key] = _Kept(self._folder / document["file"], 0)
        moto_state.restore_stream(key[1], key[2], key[3], document["created"], partial(_load, kept))

    def keep_region(self, region: str) -> None:
        """To be called when somebody may have changed something there. Raises OSError."""
        with self._lock:
            groups = dict(moto_state.logs(region).groups)
            known = [key for key in self._journal.all_keys() if key[1] == region]
            changes: dict[Key, JsonObject | None] = {}
            for key in known:
                if key[2] not in groups or (key[0] == _STREAM and key[3] not in groups[key[2]].streams):
                    changes[key] = None
            changes |= {
                (_GROUP, region, name): moto_state.group_document(region, group) for name, group in groups.items()
            }
            self._journal.apply(changes)
            for key in [key for key, change in changes.items() if change is None and key[0] == _STREAM]:
                self._kept.pop(key).path.unlink(missing_ok=True)
            for name, group in groups.items():
                for stream_name, stream in dict(group.streams).items():
                    self._keep_stream((_STREAM, region, name, stream_name), stream)

    def keep_stream(self, region: str, group: str, stream: str) -> None:
        """To be called when events were added, or the stream was created. Raises OSError."""
        with self._lock:
            found = moto_state.logs(region).groups.get(group)
            if found is None or stream not in found.streams:
                return  # a user has just deleted it
            if (_GROUP, region, group) not in self._journal:
                self._journal.apply({(_GROUP, region, group): moto_state.group_document(region, found)})
            self._keep_stream((_STREAM, region, group, stream), found.streams[stream])

    def close(self) -> None:
        self._journal.close()

    def _keep_stream(self, key: Key, stream: Any) -> None:
        if moto_state.is_unread(stream):
            return
        kept = self._kept.get(key)
        if kept is None:
            kept = _Kept(self._folder / f"{secrets.token_hex(16)}.jsonl", 0)
            kept.path.touch()
            self._journal.apply({key: {"file": kept.path.name, "created": moto_state.stream_created(stream)}})
            self._kept[key] = kept
        events = moto_state.events_from(stream, kept.events)
        if events:
            _append(kept.path, "".join(f"{json.dumps(event)}\n" for event in events).encode())
            kept.events += len(events)


def _append(path: Path, content: bytes) -> None:
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError:
        os.truncate(path, size)  # half a line would spoil the next one
        raise


def _load(kept: _Kept) -> list[moto_state.Event]:
    """The events of a stream; half a line, whose writer was killed, is cut off."""
    content = kept.path.read_bytes() if kept.path.exists() else b""
    *lines, half = content.split(b"\n")
    if half:
        with kept.path.open("rb+") as file:
            file.truncate(len(content) - len(half))
    kept.events = len(lines)
    return [(ingested, happened, message) for ingested, happened, message in map(json.loads, lines)]
