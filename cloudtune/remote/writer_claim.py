"""Who writes an experiment's state in S3: one session at a time.

Inside jobs the session that came last wins: a platform that restarts a job may lose sight of the old instance
without ending it, and two jobs can be given one state. Elsewhere the first one does, see
:mod:`cloudtune.remote.polite_claim`. Each session writes its claim when it begins, shows signs of life by renewing
it, and looks whether it still holds before it uploads.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import replace

from cloudtune.aws.objects import ObjectChanged, S3Objects
from cloudtune.clock import Clock
from cloudtune.errors import Conflict, ResourceNotFound
from cloudtune.paths import S3Uri
from cloudtune.remote.claim_record import ClaimRecord

#: Beside the state; no part of the experiment.
CLAIM_NAME = ".writer.json"
#: A claim is renewed this often, seconds.
RENEWAL_S = 20.0


class WriterClaim(ABC):
    """The claim of one session; when it may be taken is up to the subclass.

    Args:
        objects: Access to S3, which decides between sessions.
        state: The experiment's state there.
        clock: For the pace of renewals. That it is wrong does not matter.
    """

    #: Whether tuning may begin before S3 has answered.
    may_come_later = False

    def __init__(self, objects: S3Objects, state: S3Uri, clock: Clock) -> None:
        self._objects = objects
        self._uri = state / CLAIM_NAME
        self._state = state
        self._clock = clock
        self._record = ClaimRecord()
        self._etag = ""
        #: When the claim was known to be ours, by our clock.
        self._confirmed = clock.now()

    @property
    def is_taken(self) -> bool:
        """Whether this session has written its claim."""
        return bool(self._etag)

    def take(self, holder: str, takeover: bool = False) -> None:
        """Becomes the one who writes.

        Args:
            holder: Names this session to others.
            takeover: Also from a session that has not let go, if it shows no sign of life.

        Raises:
            Conflict: Another session has it.
        """
        record = ClaimRecord.of_this_process(holder, self._clock.now())
        record.live()
        try:
            self._take(record, takeover)
        except BaseException:
            record.die()
            raise

    @abstractmethod
    def _take(self, record: ClaimRecord, takeover: bool) -> None:
        """As :meth:`take`."""

    def needs_confirmation(self) -> bool:
        """Whether so much time has passed since the last renewal that somebody else may have it."""
        return False

    def check(self) -> None:
        """Raises Conflict if another session has taken the experiment since."""
        found = self._objects.head(self._uri)
        if found is None or found.etag == self._etag:
            return
        record = self._read()
        if record is not None and record.session != self._record.session:
            raise Conflict(
                f"The session {record.holder} has taken over the experiment in {self._state}: what happens here "
                "is no longer recorded.",
                "That session goes on by itself. Run one tuner of an experiment at a time; another experiment "
                "needs another tuner_name.",
            )
        self._etag = found.etag  # our own writing, whose answer was lost

    def renew_if_due(self) -> None:
        """A sign of life.

        Raises:
            Conflict: As :meth:`check`.
        """
        now = self._clock.now()
        if now - self._confirmed < RENEWAL_S:
            return
        record = replace(self._record, renewals=self._record.renewals + 1)
        try:
            self._write(record, now, if_match=self._etag)
        except ObjectChanged:
            if self._objects.head(self._uri) is None:  # removed with the state, which is uploaded anew
                self._write(record, now, if_match=None)
            else:
                self.check()

    def release(self) -> None:
        """Lets the next session begin at once."""
        record, self._record = self._record, ClaimRecord()
        if not self.is_taken:
            return
        record.die()
        with contextlib.suppress(ObjectChanged):  # it belongs to somebody else
            self._objects.put(self._uri, replace(record, released=True).encode(), if_match=self._etag)
        self._etag = ""

    def drop(self) -> None:
        """What remains of it when a process dies: it stands in S3, and nobody renews it."""
        self._record.die()

    def _write(self, record: ClaimRecord, now: float, *, if_match: str | None, replacing: bool = False) -> None:
        """Replaces the object that has the etag ``if_match``; without one, writes where there is none, or, if
        ``replacing``, whatever there is.

        Raises:
            AlreadyExists, ObjectChanged: Another session was faster.
        """
        if_absent = if_match is None and not replacing
        self._etag = self._objects.put(self._uri, record.encode(), if_absent=if_absent, if_match=if_match)
        self._record, self._confirmed = record, now

    def _read(self) -> ClaimRecord | None:
        try:
            return ClaimRecord.parse(self._objects.get(self._uri))
        except ResourceNotFound:
            return None


class NewestClaim(WriterClaim):
    """From now on earlier sessions are refused. So is this one, once the next has come."""

    may_come_later = True

    def _take(self, record: ClaimRecord, takeover: bool) -> None:
        self._write(record, self._clock.now(), if_match=None, replacing=True)
