"""The first session keeps an experiment until it lets go, or a person says that it is gone."""

from __future__ import annotations

import logging

from cloudtune.aws.objects import ObjectChanged
from cloudtune.errors import AlreadyExists, Conflict
from cloudtune.remote.claim_record import ClaimRecord
from cloudtune.remote.writer_claim import RENEWAL_S, WriterClaim

logger = logging.getLogger(__name__)

#: A holder that was not heard of for so long may be gone, seconds by S3's clock.
SILENT_S = 90.0
#: A person who wants to take over knows more: two missed renewals are enough, and a bit for slow ones.
_MISSED_S = 2 * RENEWAL_S + 5.0
#: While making sure that it is gone, S3 is asked this often, seconds.
_LOOK_S = 5.0
#: After so long without a renewal, nothing is recorded before S3 was asked, seconds: a laptop has slept.
_LEASE_S = 60.0


class PoliteClaim(WriterClaim):
    """Refused while another session has the experiment. All ages are by S3's clock, and S3 decides who of several
    wins: machines need not agree on the time."""

    def needs_confirmation(self) -> bool:
        return self._clock.now() - self._confirmed > _LEASE_S

    def _take(self, record: ClaimRecord, takeover: bool) -> None:
        while not self._try_to_take(record, takeover):
            pass  # somebody else was faster, which is looked at anew

    def _try_to_take(self, record: ClaimRecord, takeover: bool) -> bool:
        now = self._clock.now()
        found = self._objects.head(self._uri)
        if found is not None:
            holder = self._read()
            if holder is None:
                return False
            if not holder.released:
                self._refuse_unless_gone(holder, found.etag, takeover)
        try:
            self._write(record, now, if_match=found.etag if found else None)
        except (AlreadyExists, ObjectChanged):
            return False
        return True

    def _refuse_unless_gone(self, holder: ClaimRecord, etag: str, takeover: bool) -> None:
        if holder.has_died_here():
            logger.warning("%s has ended without letting go of %s; taking over.", holder.holder, self._state)
            return
        age = self._objects.age_s(self._uri)
        if age is None:
            return
        if takeover:
            self._make_sure_it_is_gone(holder, etag)
            logger.warning("Taking over %s from %s.", self._state, holder.holder)
            return
        held = f"The experiment in {self._state} is held by {holder.holder}{holder.began}"
        if age > SILENT_S:
            raise Conflict(
                f"{held}, which has shown no sign of life for {_duration(age)}.",
                "If it sleeps or has no network, wake it up: it goes on by itself. If it is gone, take over with "
                "--takeover, or Tuner.run(takeover=True); what it has not uploaded is lost then.",
            )
        raise Conflict(
            f"{held}. Its last sign of life was {_duration(age)} ago.",
            "Stop it there, or wait until it has ended.",
        )

    def _make_sure_it_is_gone(self, holder: ClaimRecord, etag: str) -> None:
        """Returns when two renewals are missing.

        Raises:
            Conflict: At the first renewal.
        """
        told = False
        while True:
            age = self._objects.age_s(self._uri)
            found = self._objects.head(self._uri)
            if age is None or found is None:
                return
            if found.etag != etag:
                raise Conflict(
                    f"{holder.holder} has just shown a sign of life: it runs the experiment in {self._state}, "
                    "which is not taken over.",
                    "Stop it there, or wait until it has ended.",
                )
            if age >= _MISSED_S:
                return
            if not told:
                told = True
                logger.warning(
                    "Making sure that %s is gone: its last sign of life was %s ago. This takes up to %.0f s.",
                    holder.holder,
                    _duration(age),
                    _MISSED_S - age,
                )
            self._clock.sleep(min(_LOOK_S, _MISSED_S - age))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
