"""On the other hosts of a job: follows up to which level the first one's reports are in S3."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloudtune.aws.objects import S3Objects
from cloudtune.paths import S3Uri
from cloudtune.remote.process1 import say
from cloudtune.report_stream import REPORT, decode_lines, level_of, parse_object_name

#: Checkpoints are pruned by what is found: there is no hurry.
_INTERVAL_S = 30.0


class LevelFollower:
    """Reads the stream that another host writes.

    Args:
        on_level: Told each level that S3 has a report of.
    """

    def __init__(
        self, objects: S3Objects, uri: S3Uri, resource_attr: str, on_level: Callable[[int], None]
    ) -> None:
        #: The stream has been read as it was at the beginning, or could not be.
        self.begun = threading.Event()
        self._objects = objects
        self._uri = uri
        self._resource_attr = resource_attr
        self._on_level = on_level
        self._etags: dict[str, str] = {}

    def start(self) -> None:
        threading.Thread(target=self._work, name="cloudtune-level", daemon=True).start()

    def look(self) -> None:
        """Reads what has changed."""
        for item in self._objects.list(self._uri):
            name = item.uri.key[len(self._uri.prefix) :]
            if parse_object_name(name) is None or self._etags.get(name) == item.etag:
                continue
            for record in decode_lines(self._objects.get(item.uri))[0]:
                if record.get("kind") == REPORT:
                    self._on_level(level_of(record["metrics"], self._resource_attr))
            self._etags[name] = item.etag

    def _work(self) -> None:
        has_told = False
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  a thread that dies would leave checkpoints to pile up
                if not has_told:
                    say(f"The level that is recorded in S3 cannot be read; this is retried. {error}")
                has_told = True
            self.begun.set()
            threading.Event().wait(_INTERVAL_S)
