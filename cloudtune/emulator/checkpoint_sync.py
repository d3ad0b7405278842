"""The platform's copy of a job's checkpoint folder in S3, kept up to date while the job runs.

What is uploaded is a snapshot: a file that changes while it is read is left for the next round, so that an object
is never torn. A file deleted locally is deleted in S3. Nothing is copied in after the start.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from cloudtune.emulator.channels import download, prefix_parts
from cloudtune.emulator.ml_folder import regular_files
from cloudtune.emulator.object_store import ObjectStore, StoreFailed, is_legal_key, split_uri

_log = logging.getLogger(__name__)
# Files younger than this are left for the next round: their writers may be between two writes, and two changes
# within one tick of the file system's clock cannot be told apart.
_QUIET_S = 0.1
Version = tuple[int, int, int]  # size, time of last change in ns, inode


class CheckpointSync:
    """Synchronises one folder with one prefix.

    Args:
        store: Where the prefix is.
        uri: S3 URI of the prefix.
        folder: Local folder; created by :meth:`restore`.
        interval_s: Between two rounds.
    """

    def __init__(self, store: ObjectStore, uri: str, folder: Path, interval_s: float) -> None:
        self._store = store
        self._uri = uri
        bucket, key = split_uri(uri)
        self._bucket = bucket
        self._prefix = f"{key.rstrip('/')}/" if key else ""
        self._folder = folder
        self._interval_s = interval_s
        self._uploaded: dict[str, Version] = {}
        self._refused: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint-sync", daemon=True)

    def restore(self) -> None:
        """Copies the prefix into the folder. Raises StoreFailed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        parts = prefix_parts(self._store, f"s3://{self._bucket}/{self._prefix}")
        download(self._store, parts, self._folder)
        for path in regular_files(self._folder):
            self._uploaded[self._name(path)] = _version(path.stat())

    def start(self) -> None:
        self._thread.start()

    def finish(self, complete: bool) -> None:
        """Ends the synchronisation.

        Args:
            complete: One last round, after the job's processes have ended; False as when the machine is lost.

        Raises:
            StoreFailed: In that round.
        """
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if complete:
            self._round(at_rest=True)

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self._round(at_rest=False)
            except (StoreFailed, OSError) as error:
                _log.warning("checkpoints of %s: %s; trying again", self._uri, error)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _round(self, at_rest: bool) -> None:
        """Brings the prefix up to date; ``at_rest`` when nobody writes any more."""
        present = set()
        for path in regular_files(self._folder):
            if self._ended.is_set() and not at_rest:
                return
            name = self._name(path)
            if not is_legal_key(self._prefix + name):
                self._refuse(name)
                continue
            present.add(name)
            try:
                self._upload(path, name, at_rest)
            except FileNotFoundError:
                present.discard(name)
        for name in sorted(set(self._uploaded) - present):
            self._store.delete(self._bucket, self._prefix + name)
            del self._uploaded[name]

    def _refuse(self, name: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            _log.warning("checkpoints of %s: %r cannot be the name of an object; left out", self._uri, name)

    def _upload(self, path: Path, name: str, at_rest: bool) -> None:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            before = _version(stat)
            if self._uploaded.get(name) == before:
                return
            if not at_rest and 0 <= time.time() - stat.st_ctime < _QUIET_S:
                return
            content = file.read()
            after = _version(os.fstat(file.fileno()))
        if before != after or len(content) != before[0]:
            return  # being written: the next round, at the latest the last one, finds it at rest
        self._store.put(self._bucket, self._prefix + name, content)
        self._uploaded[name] = before


def _version(stat: os.stat_result) -> Version:
    # The time of change, since programs set the time of modification as they like.
    return stat.st_size, stat.st_ctime_ns, stat.st_ino
