"""A journal on disk, with a copy in S3 that is at most about a second behind.

The platform's own checkpoint sync is not trusted with the state: it has been known to stop silently, and an
interruption may come without notice. A thread uploads whole lines only, verified by digest, and the store says how
many events are safely away; the loop never waits for S3.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudtune.aws.objects import S3Objects
from cloudtune.clock import Clock, WallClock
from cloudtune.errors import AwsError
from cloudtune.experiment.events import Event
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.stores.file import FileStore

logger = logging.getLogger(__name__)

#: Segments are uploaded anew as they grow, so they are small.
SEGMENT_BYTES = 64 * 1024
#: Uploads begin this long after the first event of a batch, seconds.
_BATCH_S = 0.1
_RETRY_S = 1.0
#: Trials' output is uploaded this often, seconds.
_LOGS_S = 10.0
#: How long the end of a session waits for S3, seconds.
_FLUSH_S = 60.0


class MirroredStore:
    """An :class:`~cloudtune.experiment.ports.ExperimentStore` whose :meth:`durable` counts what S3 has.

    Args:
        paths: Of the experiment on disk.
        objects: Access to S3.
        state: Prefix for journal, snapshot, results and metadata; names are those on disk.
        logs: Prefix for the trials' ``std.out`` and ``std.err``; None: they are not uploaded.
        clock: For the pace of uploads.
    """

    def __init__(
        self,
        paths: ExperimentPaths,
        objects: S3Objects,
        state: S3Uri,
        logs: S3Uri | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._paths = paths
        self._objects = objects
        self._state = state
        self._logs = logs
        self._clock = clock or WallClock()
        self._store = FileStore(paths, segment_bytes=SEGMENT_BYTES)
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        #: What S3 has of each file: (size, mtime in ns).
        self._uploaded: dict[Path, tuple[int, int]] = {}
        self._durable = 0
        self._error_logged = False
        self._logs_due = 0.0

    def open(self, holder: str) -> None:
        """Takes the experiment, restored if need be."""
        self.restore()
        self._store.open(holder)
        self._durable = self._store.durable() if self._restored_all() else 0
        self._closing.clear()
        self._thread = threading.Thread(target=self._upload_until_closed, name="cloudtune-mirror", daemon=True)
        self._thread.start()

    def append(self, events: Sequence[Event]) -> None:
        self._store.append(events)
        self._news.set()

    def read(self, since: int = 0) -> list[Event]:
        return self._store.read(since)

    def durable(self) -> int:
        """Number of events that S3 has confirmed."""
        return self._durable

    def close(self) -> None:
        """Uploads the rest, for a minute at most if S3 does not answer."""
        self._store.close()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._closing.set()
            self._news.set()
            thread.join(_FLUSH_S)
            if thread.is_alive():
                logger.error("S3 did not take the last state within %.0f s: %s", _FLUSH_S, self._state)

    def restore(self) -> None:
        """If this machine has nothing of the experiment, fetches journal and metadata from S3."""
        if any(self._paths.journal.glob("*.jsonl")):
            return
        fetched = self._objects.download_missing(
            self._state,
            self._paths.dir,
            include=lambda name: name == self._paths.metadata.name or _is_segment(name),
        )
        if fetched:
            logger.info("Restored %d files of %s from %s.", len(fetched), self._paths.name, self._state)
            for path in fetched:
                self._uploaded[path] = _version(path)

    def _restored_all(self) -> bool:
        """Whether S3 has every event that is on disk: what has just been fetched, and nothing else."""
        return all(segment.path in self._uploaded for segment in self._store.segments())

    # -- the thread

    def _upload_until_closed(self) -> None:
        while not self._closing.is_set():
            self._news.wait(timeout=1.0)
            if not self._closing.is_set():
                self._closing.wait(_BATCH_S)
            self._news.clear()
            if not self._try_upload(final=False):
                self._closing.wait(_RETRY_S)
                self._news.set()
        deadline = self._clock.now() + _FLUSH_S
        while not self._try_upload(final=True) and self._clock.now() < deadline:
            self._clock.sleep(_RETRY_S)

    def _try_upload(self, final: bool) -> bool:
        try:
            self._upload_journal()
            for path in (self._paths.metadata, self._paths.results, self._paths.snapshot):
                self._upload(path, self._state / path.name)
            self._upload_logs(final)
        except (AwsError, OSError) as error:
            if not self._error_logged:
                logger.warning(
                    "S3 does not take the state now; tuning goes on, and uploading is retried. %s", error
                )
            self._error_logged = True
            return False
        if self._error_logged:
            logger.info("S3 has the state again.")
        self._error_logged = False
        return True

    def _upload_journal(self) -> None:
        for segment in self._store.segments():
            version = (segment.num_bytes, 0)
            if segment.num_bytes and self._uploaded.get(segment.path) != version:
                with segment.path.open("rb") as file:
                    content = file.read(segment.num_bytes)  # whole lines: what is being written is not seen
                self._objects.put(self._state / "journal" / segment.path.name, content)
                self._uploaded[segment.path] = version
            self._durable = segment.first_event + segment.num_events

    def _upload(self, path: Path, target: S3Uri) -> None:
        if not path.exists():
            return
        version = _version(path)
        if self._uploaded.get(path) != version:
            self._objects.upload(path, target)
            self._uploaded[path] = version

    def _upload_logs(self, final: bool) -> None:
        now = self._clock.now()
        if self._logs is None or (now < self._logs_due and not final):
            return
        for path in _outputs(self._paths):
            self._upload(path, self._logs / path.parent.name / path.name)
        self._logs_due = now + _LOGS_S


def _is_segment(name: str) -> bool:
    return name.startswith("journal/") and name.endswith(".jsonl")


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, 0 if path.suffix == ".jsonl" else status.st_mtime_ns


def _outputs(paths: ExperimentPaths) -> Iterator[Path]:
    for name in ("std.out", "std.err", "config.json"):
        yield from sorted((paths.trials_dir or paths.dir).glob(f"[0-9]*/{name}"))
