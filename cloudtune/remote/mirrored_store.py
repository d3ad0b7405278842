"""A journal on disk, with a copy in S3 that is at most about a second behind.

The platform's own checkpoint sync is not trusted with the state: it has been known to stop silently, and an
interruption may come without notice. A thread uploads whole lines only, verified by digest, and the store says how
many events are safely away; the loop never waits for S3. Whatever else is uploaded goes its own way.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.retry import Retry, Wait
from cloudtune.clock import Clock, SleeplessClock
from cloudtune.errors import AwsError, CloudtuneError, Conflict, StoreError, Throttled, Unreachable
from cloudtune.experiment.events import Event, ExperimentEnded
from cloudtune.paths import ExperimentPaths, S3Uri, write_atomic
from cloudtune.remote.journal_comparison import compare
from cloudtune.remote.side_uploads import SideUploads
from cloudtune.remote.writer_claim import NewestClaim, WriterClaim
from cloudtune.stores.file import FileStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Segments are uploaded anew as they grow, so they are small.
SEGMENT_BYTES = 64 * 1024
#: Uploads begin this long after the first event of a batch, seconds.
_BATCH_S = 0.1
#: From the beginning of one upload to that of the next, seconds: requests are paid for one by one.
_PACE_S = 0.4
_RETRY_S = 1.0
#: After a sleep, recording waits for S3 to say whether somebody has taken over: so many attempts of so many
#: seconds at most, since networks take a while to wake up. Then tuning goes on, and S3 is asked again later.
_CONFIRM_TRIES = 10
_CONFIRM_S = 5.0
_CONFIRM_AGAIN_S = 60.0
#: How often S3 is asked whether it still has what it has confirmed, seconds.
CHECK_S = 60.0
#: A lasting failure is told this often, seconds.
_REMIND_S = 600.0
#: How long the end of a session waits for S3, seconds: what SIGTERM leaves of two minutes, or, where an experiment
#: has come to its end, as long as it takes S3 to recover from most of its troubles.
_FLUSH_S = 60.0
_PATIENT_FLUSH_S = 600.0
#: A machine that has just been started, and is paid for, waits for S3: pauses, besides those of the client itself.
_RESTORE_WAITS: dict[type[AwsError], Wait] = dict.fromkeys(
    (Throttled, Unreachable), Wait(base_s=1.0, cap_s=15.0, give_up_after_s=60.0)
)
#: Exists while journal and metadata are being fetched: what is here then may be a part.
_RESTORING = ".restoring"


class MirroredStore:
    """An :class:`~cloudtune.experiment.ports.ExperimentStore` whose :meth:`durable` counts what S3 has.

    One session at a time writes to ``state``; which one, ``claim`` says. One that has lost it, since its machine
    should be gone, raises Conflict from its next :meth:`append` or :meth:`close`.

    While S3 is out of reach, events are recorded here, and uploaded later.

    Args:
        paths: Of the experiment on disk.
        objects: Access to S3.
        state: Prefix for journal, snapshot, results and metadata; names are those on disk.
        logs: Prefix for the trials' ``std.out`` and ``std.err``; None: they are not uploaded.
        clock: For the pace of uploads and renewals.
        claim: The session that came last (inside jobs), or the first one until it lets go
            (:class:`~cloudtune.remote.polite_claim.PoliteClaim`).

    Attributes:
        takeover: :meth:`open` takes the experiment also from a holder that shows no sign of life.
    """

    def __init__(
        self,
        paths: ExperimentPaths,
        objects: S3Objects,
        state: S3Uri,
        logs: S3Uri | None = None,
        clock: Clock | None = None,
        claim: Callable[[S3Objects, S3Uri, Clock], WriterClaim] = NewestClaim,
    ) -> None:
        self._paths = paths
        self._objects = objects
        self._state = state
        self._clock = clock or SleeplessClock()
        self._store = FileStore(paths, segment_bytes=SEGMENT_BYTES)
        self.takeover = False
        self._make_claim = claim
        self._claim = claim(objects, state, self._clock)
        self._side = SideUploads(paths, objects, state, logs, self._clock)
        self._holder = ""
        self._news = threading.Event()
        self._closing = threading.Event()
        self._abandoned = False
        self._thread: threading.Thread | None = None
        #: What S3 has of each file: (size, mtime in ns).
        self._uploaded: dict[Path, tuple[int, int]] = {}
        #: Etags there, as far as they are known.
        self._etags: dict[Path, str] = {}
        self._durable = 0
        self._check_at = 0.0
        self._remind_at: float | None = None
        self._flushed = True
        self._conflict: Conflict | None = None
        #: Set at the end of each attempt to upload.
        self._attempted = threading.Event()
        #: Until then, S3 is not asked again whether somebody has taken over.
        self._trusted_until = 0.0
        #: Seconds for the last uploads.
        self._patience_s = _FLUSH_S

    def open(self, holder: str) -> None:
        """Takes the experiment, restored if need be.

        Raises:
            Conflict: Another process of this machine has it, or another session that the claim does not pass over.
            StoreError: Another session has gone on from the same beginning.
            AwsError: S3 does not let us read or write, which had better be known now than after hours.
        """
        self.restore()
        self._store.open(holder)
        try:
            self._holder, self._conflict, self._etags = holder, None, {}
            self._claim = self._make_claim(self._objects, self._state, self._clock)
            if self._try_to_claim() and self._fetch_rest():
                self._store.close()
                self._store.open(holder)  # what it knew has been replaced
            self._durable = self._store.durable() if self._restored_all() else 0
        except BaseException:
            self._store.close()
            self._let_go()
            raise
        self._closing.clear()
        self._abandoned = False
        self._flushed, self._patience_s = False, _FLUSH_S
        self._check_at = self._clock.now() + CHECK_S
        self._thread = threading.Thread(target=self._upload_until_closed, name="cloudtune-mirror", daemon=True)
        self._thread.start()
        self._side.start()

    def append(self, events: Sequence[Event]) -> None:
        """Raises Conflict if another session has taken over."""
        self._confirm_claim()
        if self._conflict is not None:
            raise self._conflict
        self._store.append(events)
        if events:
            self._patience_s = _PATIENT_FLUSH_S if isinstance(events[-1], ExperimentEnded) else _FLUSH_S
        self._news.set()

    def read(self, since: int = 0) -> list[Event]:
        return self._store.read(since)

    def durable(self) -> int:
        """Number of events that S3 has confirmed."""
        return self._durable

    def close(self) -> None:
        """Uploads the rest. If S3 does not answer: for a minute, or ten if the experiment has ended.

        Raises:
            StoreError: S3 lacks the end of the experiment: it must not look complete.
            Conflict: Another session has taken over.
        """
        self._store.close()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        deadline = self._clock.now() + self._patience_s
        self._closing.set()
        self._news.set()
        thread.join(self._patience_s)
        if self._conflict is not None:
            self._claim.drop()
            raise self._conflict
        self._side.end(max(0.0, deadline - self._clock.now()))
        if self._flushed:
            self._let_go()
        else:
            self._claim.drop()  # not released: who goes on elsewhere should know that something is missing
            raise StoreError(
                f"S3 did not take the last state of {self._paths.name} within {self._patience_s:.0f} s: "
                f"{self._state} is complete up to event {self._durable} only.",
                "Look for the reason in the job's log, and launch again: the experiment continues from there.",
            )

    def abandon(self) -> None:
        """What is left of the writer after SIGKILL: S3 has what it has. Waits for an upload that is under way."""
        self._abandoned = True
        self._claim.drop()
        self._side.abandon()
        self._closing.set()
        self._news.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self._store.abandon()

    def restore(self) -> None:
        """If this machine has nothing of the experiment, fetches journal and metadata from S3.

        Raises:
            AwsError: S3 refuses, or has not answered for minutes.
        """
        if any(self._paths.journal.glob("*.jsonl")) and not self._restoring.exists():
            return
        fetched = self._fetch()
        if fetched:
            logger.info("Restored %d files of %s from %s.", len(fetched), self._paths.name, self._state)

    @property
    def _restoring(self) -> Path:
        return self._paths.dir / _RESTORING

    def _fetch(self) -> list[Path]:
        """What S3 has and this machine, which has nothing else, lacks."""
        write_atomic(self._restoring, "")
        fetched = self._patiently(self._download)
        self._restoring.unlink(missing_ok=True)  # another process of this machine may have fetched it, too
        # Of the journal, also what an earlier attempt had fetched before it was cut short.
        for path in (*fetched, *self._paths.journal.glob("*.jsonl")):
            self._uploaded[path] = _version(path)
        return fetched

    def _patiently(self, function: Callable[[], T]) -> T:
        return Retry(self._clock, _RESTORE_WAITS, on_wait=_tell_of_wait).call(function)

    def _download(self) -> list[Path]:
        return self._objects.download_missing(
            self._state,
            self._paths.dir,
            include=lambda name: name == self._paths.metadata.name or _is_segment(name),
        )

    def _fetch_rest(self) -> bool:
        """Fetches what other sessions have written since this machine had it all; whether there was any."""
        segments = self._store.segments()
        found = self._patiently(lambda: compare(segments, self._objects, self._state / "journal"))
        for path in (segment.path for segment in segments):
            self._uploaded.pop(path, None)  # what an earlier session knew of S3 need not be true any more
            if path in found.same:
                self._uploaded[path] = _version(path)
        self._etags = dict(found.same)
        return found.is_behind and bool(self._fetch())

    def _confirm_claim(self) -> None:
        """After a sleep: waits until S3 has said whether somebody has taken over, or until it is clear that it
        does not answer."""
        if not self._claim.needs_confirmation() or self._clock.now() < self._trusted_until:
            return
        for _ in range(_CONFIRM_TRIES):
            self._attempted.clear()
            self._news.set()
            self._attempted.wait(_CONFIRM_S)
            if self._conflict is not None or not self._claim.needs_confirmation():
                return
        self._trusted_until = self._clock.now() + _CONFIRM_AGAIN_S

    def _let_go(self) -> None:
        try:
            self._claim.release()
        except AwsError as error:
            logger.warning("%s still names this session as the one that writes: %s", self._state, error.message)

    def _try_to_claim(self) -> bool:
        try:
            self._claim.take(self._holder, self.takeover)
        except (Unreachable, Throttled) as error:
            if not self._claim.may_come_later:
                raise
            logger.warning("S3 does not answer; tuning begins, and uploading is retried. %s", error)
        return self._claim.is_taken

    def _restored_all(self) -> bool:
        """Whether S3 has every event that is on disk: what has just been fetched, and nothing else."""
        return all(self._uploaded.get(part.path) == (part.num_bytes, 0) for part in self._store.segments())

    # -- the thread

    def _upload_until_closed(self) -> None:
        while not self._closing.is_set():
            self._news.wait(timeout=1.0)
            if not self._closing.is_set():
                self._closing.wait(_BATCH_S)
            self._news.clear()
            begin = self._clock.now()
            if not self._try_upload():
                self._closing.wait(_RETRY_S)
                self._news.set()
            self._closing.wait(max(0.0, begin + _PACE_S - self._clock.now()))
        if self._abandoned:
            return
        deadline = self._clock.now() + self._patience_s
        while not (flushed := self._try_upload()) and self._conflict is None and self._clock.now() < deadline:
            self._clock.sleep(_RETRY_S)
        self._flushed = flushed

    def _try_upload(self) -> bool:
        try:
            return self._upload()
        finally:
            self._attempted.set()

    def _upload(self) -> bool:
        """Whether S3 has journal and metadata as they are now. Whatever goes wrong is tried again: a thread that
        dies would leave the state here alone."""
        if self._conflict is not None:
            return False
        try:
            if self._claim.is_taken:
                self._claim.renew_if_due()
            self._upload_metadata()
            self._upload_journal()
            if self._closing.is_set() or self._clock.now() >= self._check_at:
                self._look()
                self._upload_metadata()
                self._upload_journal()
                self._check_at = self._clock.now() + CHECK_S
        except Conflict as error:
            logger.error("%s", error)
            self._side.abandon()
            self._conflict = error
            return False
        except (CloudtuneError, OSError) as error:
            now = self._clock.now()
            if self._remind_at is None or now >= self._remind_at:
                self._remind_at = now + _REMIND_S
                logger.warning(
                    "S3 does not take the state now; tuning goes on, and uploading is retried. %s", error
                )
            return False
        except Exception:
            logger.exception("Uploading the state failed unexpectedly; it is retried.")
            return False
        if self._remind_at is not None:
            logger.info("S3 has the state again.")
        self._remind_at = None
        return True

    def _look(self) -> None:
        """Forgets what S3 has no longer. Somebody may have removed it; and the last upload of a session that was
        given up for dead, sent before it knew of this one, may arrive after it has been read, and replace it."""
        if self._claim.is_taken:
            self._claim.check()
        there = {item.uri: item for item in self._objects.list(self._state)}
        for path, (size, _) in list(self._uploaded.items()):
            found = there.get(self._state / path.relative_to(self._paths.dir).as_posix())
            if found is None or found.size != size or found.etag != self._etags.get(path, found.etag):
                logger.warning("S3 has %s of %s no longer; it is uploaded again.", path.name, self._state)
                del self._uploaded[path]

    def _check_claim(self) -> None:
        if self._claim.is_taken:
            self._claim.check()
        else:
            self._claim.take(self._holder)

    def _upload_journal(self) -> None:
        for segment in self._store.segments():
            version = (segment.num_bytes, 0)
            if segment.num_bytes and self._uploaded.get(segment.path) != version:
                with segment.path.open("rb") as file:
                    content = file.read(segment.num_bytes)  # whole lines: what is being written is not seen
                self._check_claim()
                uri = self._state / "journal" / segment.path.name
                self._etags[segment.path] = self._objects.put(uri, content)
                self._check_claim()  # else it may have arrived after a successor had read the journal
                self._uploaded[segment.path] = version
            self._durable = max(self._durable, segment.first_event + segment.num_events)

    def _upload_metadata(self) -> None:
        path = self._paths.metadata
        if path.exists() and self._uploaded.get(path) != (version := _version(path)):
            self._check_claim()
            self._etags[path] = self._objects.upload(path, self._state / path.name)
            self._uploaded[path] = version


def _is_segment(name: str) -> bool:
    return name.startswith("journal/") and name.endswith(".jsonl")


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, 0 if path.suffix == ".jsonl" else status.st_mtime_ns


def _tell_of_wait(error: AwsError, pause_s: float) -> None:
    logger.warning("Waiting for the experiment's state, %.0f s. %s", pause_s, error.message)
