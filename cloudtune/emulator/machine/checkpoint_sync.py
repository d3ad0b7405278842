"""The platform's copy of a job's checkpoint folder in S3, kept up to date while the job runs.

What is uploaded is a snapshot: a file that changes while it is read is left for the next round, so that an object
is never torn. A file deleted locally is deleted in S3. Nothing is copied in after the start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloudtune.aws.snapshot import wait_for_write
from cloudtune.emulator.machine.channels import Between, download, go_on, prefix_parts
from cloudtune.emulator.machine.job_files import entries, make_folder, open_file
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import ObjectStore, StoreFailed, is_legal_key, split_uri

_log = logging.getLogger(__name__)
# Files younger than this are left for the next round: their writers may be between two writes, and two changes
# within one tick of the file system's clock cannot be told apart.
_QUIET_S = 0.1
_CHUNK_BYTES = 1 << 20
# Where nothing happens, rounds become rarer, up to so many intervals; and looking at a folder of very many files
# takes at most one part in so many of a thread's time.
_MAX_INTERVALS = 4
_GROWTH = 1.5
_IDLE_PARTS = 20
Version = tuple[int, int, int]  # size, time of last change in ns, inode


class _Unstable(Exception):
    """A file has changed while it was read, or there is no time left to read it."""


class CheckpointSync:
    """Synchronises one folder with one prefix.

    Args:
        store: Where the prefix is.
        uri: S3 URI of the prefix.
        folder: Local folder; created by :meth:`restore`.
        interval_s: Between two rounds while files change; up to four times that while none does.
        threads: Do the work.
        is_lost: Asked for the key of each upload: whether the platform forgets it, without noticing.
    """

    def __init__(
        self,
        store: ObjectStore,
        uri: str,
        folder: Path,
        interval_s: float,
        threads: SharedThreads,
        is_lost: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._uri = uri
        bucket, key = split_uri(uri)
        self._bucket = bucket
        self._prefix = f"{key.rstrip('/')}/" if key else ""
        self._folder = folder
        self._place = os.path.realpath(folder)
        self._interval_s = interval_s
        self._wait_s = interval_s
        self._scan_s = 0.0
        self._threads = threads
        self._is_lost = is_lost
        self._uploaded: dict[str, Version] = {}
        self._left_out: set[str] = set()
        self._in_round = threading.Lock()
        self._ended = threading.Event()

    def restore(self, between: Between = go_on) -> None:
        """Copies the prefix into the folder. Raises StoreFailed."""
        try:
            make_folder(self._folder)
        except OSError as error:
            raise StoreFailed(f"the folder of the checkpoints cannot be made: {error.strerror}") from error
        self._place = os.path.realpath(self._folder)
        parts = prefix_parts(self._store, f"s3://{self._bucket}/{self._prefix}")
        download(self._store, parts, self._folder, between)
        self._uploaded, _ = _scan(self._folder)

    def start(self) -> None:
        self._next_round(self._interval_s)

    def _next_round(self, wait_s: float) -> None:
        self._threads.call_later(wait_s, lambda: self._threads.copy(self._run))

    def finish(self, complete: bool) -> None:
        """Ends the synchronisation. May be called again, which does nothing more.

        Args:
            complete: One last round, after the job's processes have ended; False as when the machine is lost.

        Raises:
            StoreFailed: In that round.
        """
        self._ended.set()
        with self._in_round:
            if complete:
                self._round(at_rest=True)

    def _run(self) -> None:
        changed = False
        with self._in_round:
            if self._ended.is_set():
                return
            try:
                changed = self._round(at_rest=False)
            except (StoreFailed, OSError) as error:
                _log.warning("checkpoints of %s: %s; trying again", self._uri, error)
        longest = _MAX_INTERVALS * self._interval_s
        self._wait_s = self._interval_s if changed else min(_GROWTH * self._wait_s, longest)
        self._next_round(max(self._wait_s, _IDLE_PARTS * self._scan_s))

    def _round(self, at_rest: bool) -> bool:
        """Brings the prefix up to date, and returns whether something has changed since the last round.

        Args:
            at_rest: Nobody writes any more, and there is time.
        """
        began = time.monotonic()
        if os.path.realpath(self._folder) == self._place:
            found, unreadable = _scan(self._folder)
        else:  # the job has put a link in its place
            found, unreadable = {}, [""]
        self._scan_s = time.monotonic() - began
        for name in unreadable:
            self._leave_out(name, "cannot be read")
        changed = [name for name in sorted(found) if self._uploaded.get(name) != found[name]]
        for name in changed:
            if self._ended.is_set() and not at_rest:
                return True
            if not is_legal_key(self._prefix + name):
                self._leave_out(name, "cannot be the name of an object")
            elif at_rest or not 0 <= time.time() - found[name][1] / 1e9 < _QUIET_S:
                self._upload(name, found[name], at_rest)
        # What is in a folder that cannot be read is not gone.
        hidden = tuple(f"{name}/" if name else "" for name in unreadable)
        gone = [name for name in sorted(set(self._uploaded) - set(found)) if not name.startswith(hidden)]
        for name in gone:
            self._store.delete(self._bucket, self._prefix + name)
            del self._uploaded[name]
        return bool(changed or gone)

    def _leave_out(self, name: str, reason: str) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            _log.warning("checkpoints of %s: %r %s; left out", self._uri, name, reason)

    def _upload(self, name: str, version: Version, at_rest: bool) -> None:
        key = self._prefix + name
        try:
            if not self._is_lost(key):
                self._store.put_chunks(self._bucket, key, self._snapshot(name, version, at_rest))
        except (FileNotFoundError, _Unstable):
            return  # being written: a later round, at the latest the last one, finds it at rest
        except PermissionError:
            self._leave_out(name, "cannot be read")
        self._uploaded[name] = version

    def _snapshot(self, name: str, version: Version, at_rest: bool) -> Iterator[bytes]:
        """The content of a file, in pieces. Raises _Unstable where it is not, or not all, of that version."""
        with os.fdopen(open_file(self._folder / name), "rb") as file:
            size = 0
            wait_for_write(file.fileno())
            while chunk := file.read(_CHUNK_BYTES):
                if self._ended.is_set() and not at_rest:
                    raise _Unstable
                size += len(chunk)
                yield chunk
            wait_for_write(file.fileno())
            if size != version[0] or _version(os.fstat(file.fileno())) != version:
                raise _Unstable


def _scan(folder: Path) -> tuple[dict[str, Version], list[str]]:
    """Versions of all files below ``folder``, and the folders that cannot be read; by relative path."""
    found: dict[str, Version] = {}
    unreadable: list[str] = []
    for name, entry in entries(folder, unreadable):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if entry.is_file(follow_symlinks=False):
                found[name] = _version(entry.stat(follow_symlinks=False))
    return found, unreadable


def _version(stat: os.stat_result) -> Version:
    # The time of change, since programs set the time of modification as they like.
    return stat.st_size, stat.st_ctime_ns, stat.st_ino
