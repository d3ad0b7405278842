"""Who writes an experiment's state in S3: the session that came last.

A platform that restarts a job may lose sight of the old instance without ending it, and two jobs can be given one
state. Each session writes its claim when it begins, and looks whether it still holds before it uploads.
"""

from __future__ import annotations

import json
import uuid

from cloudtune.aws.objects import S3Objects
from cloudtune.errors import Conflict, ResourceNotFound
from cloudtune.paths import S3Uri

#: Beside the state; no part of the experiment.
CLAIM_NAME = ".writer.json"


class WriterClaim:
    """The claim of one session.

    Args:
        objects: Access to S3.
        state: The experiment's state there.
    """

    def __init__(self, objects: S3Objects, state: S3Uri) -> None:
        self._objects = objects
        self._uri = state / CLAIM_NAME
        self._state = state
        self._etag = ""

    @property
    def is_taken(self) -> bool:
        """Whether this session has written its claim."""
        return bool(self._etag)

    def take(self, holder: str) -> None:
        """From now on earlier sessions are refused, and this one is until the next comes."""
        text = json.dumps({"holder": holder, "session": uuid.uuid4().hex})
        self._etag = self._objects.put(self._uri, text.encode())

    def check(self) -> None:
        """Raises Conflict if another session has taken the experiment since."""
        found = self._objects.head(self._uri)
        if found is not None and found.etag != self._etag:
            raise Conflict(
                f"{self._holder()} has taken over the experiment in {self._state}: what happens here is no longer "
                "recorded.",
                "That session goes on by itself. Run one job of an experiment at a time; another experiment needs "
                "another tuner_name.",
            )

    def _holder(self) -> str:
        try:
            return f"The session {json.loads(self._objects.get(self._uri))['holder']}"
        except (ResourceNotFound, ValueError, KeyError, TypeError):
            return "Another session"
