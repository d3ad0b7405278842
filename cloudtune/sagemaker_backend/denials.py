"""Credentials that have expired are waited for; one trial that is not allowed what others are is not."""

from __future__ import annotations

from dataclasses import dataclass

from cloudtune.errors import AccessDenied
from cloudtune.experiment.ports import AttemptKey

#: Denials of one trial, each followed by the creation of another trial's job, after which it is given up.
_MAX_DENIALS = 3
#: It is given up after so long in any case, seconds, if the permission is what is missing.
_PATIENCE_S = 3600.0
#: Credentials that are missing, wrong or too old have other codes.
_NO_PERMISSION = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized")


@dataclass
class _Denied:
    since: float
    count: int = 0
    #: How many jobs had been created by then.
    created: int = -1


class Denials:
    """Of one session."""

    def __init__(self) -> None:
        #: Jobs created.
        self.created = 0
        self._denied: dict[AttemptKey, _Denied] = {}

    def was_created(self, key: AttemptKey) -> None:
        """A job of the attempt."""
        self.created += 1
        self._denied.pop(key, None)

    def is_last(self, key: AttemptKey, error: AccessDenied, now: float) -> bool:
        """Whether this denial of a job of the attempt is one too many."""
        denied = self._denied.setdefault(key, _Denied(now))
        if self.created > denied.created:
            denied.count, denied.created = denied.count + 1, self.created
        is_overdue = error.code in _NO_PERMISSION and now - denied.since >= _PATIENCE_S
        if denied.count < _MAX_DENIALS and not is_overdue:
            return False
        del self._denied[key]
        return True
