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
from cloudtune.errors import CloudtuneError, StoreError, Throttled, Unreachable
from cloudtune.experiment.events import Event
from cloudtune.paths import ExperimentPaths, S3Uri, write_atomic
from cloudtune.stores.file import FileStore

logger = logging.getLogger(__name__)

#: Segments are uploaded anew as they grow, so they are small.
SEGMENT_BYTES = 64 * 1024
#: Uploads begin this long after the first event of a batch, seconds.
_BATCH_S = 0.1
_RETRY_S = 1.0
#: Trials' output is uploaded this often, seconds.
_LOGS_S = 10.0
#: Larger ones are uploaded at the end alone.
_MAX_GROWING_LOG_BYTES = 16 << 20
#: How long the end of a session waits for S3, seconds.
_FLUSH_S = 60.0
#: Exists while journal and metadata are being fetched: what is here then may be a part.
_RESTORING = ".restoring"


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
        self._flushed = True
        self._logs_due = 0.0

    def open(self, holder: str) -> None:
        """Takes the experiment, restored if need be.

        Raises:
            AwsError: S3 does not let us read or write, which had better be known now than after hours.
        """
        self.restore()
        self._store.open(holder)
        try:
            self._try_to_write()
            self._durable = self._store.durable() if self._restored_all() else 0
        except BaseException:
            self._store.close()
            raise
        self._closing.clear()
        self._flushed = False
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
        """Uploads the rest, for a minute at most if S3 does not answer.

        Raises:
            StoreError: S3 lacks the end of the experiment: it must not look complete.
        """
        self._store.close()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing.set()
        self._news.set()
        thread.join(_FLUSH_S)
        if not self._flushed:
            raise StoreError(
                f"S3 did not take the last state of {self._paths.name} within {_FLUSH_S:.0f} s: {self._state} is "
                f"complete up to event {self._durable} only.",
                "Look for the reason in the job's log, and launch again: the experiment continues from there.",
            )

    def restore(self) -> None:
        """If this machine has nothing of the experiment, fetches journal and metadata from S3."""
        marker = self._paths.dir / _RESTORING
        if any(self._paths.journal.glob("*.jsonl")) and not marker.exists():
            return
        write_atomic(marker, "")
        fetched = self._objects.download_missing(
            self._state,
            self._paths.dir,
            include=lambda name: name == self._paths.metadata.name or _is_segment(name),
        )
        marker.unlink()
        if fetched:
            logger.info("Restored %d files of %s from %s.", len(fetched), self._paths.name, self._state)
            for path in fetched:
                self._uploaded[path] = _version(path)

    def _try_to_write(self) -> None:
        try:
            self._upload(self._paths.metadata, self._state / self._paths.metadata.name)
        except (Unreachable, Throttled) as error:
            logger.warning("S3 does not answer; tuning begins, and uploading is retried. %s", error)

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
            if not self._try_upload():
                self._closing.wait(_RETRY_S)
                self._news.set()
        deadline = self._clock.now() + _FLUSH_S
        self._logs_due = 0.0
        while not (flushed := self._try_upload(final=True)) and self._clock.now() < deadline:
            self._clock.sleep(_RETRY_S)
        self._flushed = flushed

    def _try_upload(self, final: bool = False) -> bool:
        """Whether S3 has the state as it is now. Whatever goes wrong is tried again: a thread that dies would
        leave the state here alone."""
        try:
            self._upload_journal()
            for path in (self._paths.metadata, self._paths.results, self._paths.snapshot):
                self._upload(path, self._state / path.name)
        except (CloudtuneError, OSError) as error:
            if not self._error_logged:
                logger.warning(
                    "S3 does not take the state now; tuning goes on, and uploading is retried. %s", error
                )
            self._error_logged = True
            return False
        except Exception:
            logger.exception("Uploading the state failed unexpectedly; it is retried.")
            return False
        if self._error_logged:
            logger.info("S3 has the state again.")
        self._error_logged = False
        self._try_upload_logs(final)
        return True

    def _upload_journal(self) -> None:
        for segment in self._store.segments():
            version = (segment.num_bytes, 0)
            if segment.num_bytes and self._uploaded.get(segment.path) != version:
                with segment.path.open("rb") as file:
                    content = file.read(segment.num_bytes)  # whole lines: what is being written is not seen
                self._objects.put(self._state / "journal" / segment.path.name, content)
                self._uploaded[segment.path] = version
            self._durable = max(self._durable, segment.first_event + segment.num_events)

    def _upload(self, path: Path, target: S3Uri) -> None:
        if not path.exists():
            return
        version = _version(path)
        if self._uploaded.get(path) != version:
            self._objects.upload(path, target)
            self._uploaded[path] = version

    def _try_upload_logs(self, final: bool) -> None:
        """Output is for people: it never keeps the state waiting."""
        now = self._clock.now()
        if self._logs is None or now < self._logs_due:
            return
        self._logs_due = now + _LOGS_S
        try:
            for path in _outputs(self._paths):
                self._upload_output(path, self._logs / path.parent.name / path.name, final)
                if self._news.is_set() and not final:
                    self._news.clear()
                    self._upload_journal()
        except (CloudtuneError, OSError) as error:
            logger.warning("The trials' output cannot be uploaded now: %s", error)

    def _upload_output(self, path: Path, target: S3Uri, final: bool) -> None:
        """What is there now of a file that grows."""
        version = _version(path)
        if self._uploaded.get(path) == version:
            return
        if version[0] <= _MAX_GROWING_LOG_BYTES:
            with path.open("rb") as file:
                self._objects.put(target, file.read(version[0]))
        elif final:
            self._objects.upload(path, target)
        else:
            return
        self._uploaded[path] = version


def _is_segment(name: str) -> bool:
    return name.startswith("journal/") and name.endswith(".jsonl")


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, 0 if path.suffix == ".jsonl" else status.st_mtime_ns


def _outputs(paths: ExperimentPaths) -> Iterator[Path]:
    for name in ("std.out", "std.err", "config.json"):
        yield from sorted((paths.trials_dir or paths.dir).glob(f"[0-9]*/{name}"))
