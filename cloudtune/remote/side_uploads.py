"""What nobody waits for: results, snapshot and the output of trials, brought to S3 beside the journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from cloudtune.aws.objects import S3Objects
from cloudtune.clock import Clock
from cloudtune.errors import CloudtuneError
from cloudtune.paths import ExperimentPaths, S3Uri

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
#: Trials' output is uploaded this often, seconds.
_LOGS_S = 10.0
#: Larger output is uploaded at the end alone.
_MAX_GROWING_LOG_BYTES = 16 << 20
#: Output beyond this size is uploaded anew when it has grown by a tenth: all uploads of a file together are then
#: about ten times its size, however long it grows.
_EAGER_LOG_BYTES = 256 << 10
_GROWTH = 1.1

#: Size and time of change (ns).
_Version = tuple[int, int]


class SideUploads:
    """Uploads in a thread of its own, so that the journal never queues behind megabytes.

    Args:
        paths: Of the experiment on disk.
        objects: Access to S3.
        state: Prefix for results and snapshot.
        logs: Prefix for the trials' output; None: it is not uploaded.
        clock: For the pace.
    """

    def __init__(
        self, paths: ExperimentPaths, objects: S3Objects, state: S3Uri, logs: S3Uri | None, clock: Clock
    ) -> None:
        self._paths = paths
        self._objects = objects
        self._state = state
        self._logs = logs
        self._clock = clock
        self._uploaded: dict[Path, _Version] = {}
        #: Output of earlier machines, which is not to be replaced; None: not looked for yet.
        self._earlier: set[S3Uri] | None = None
        self._logs_due = 0.0
        self._warned = False
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._ending.clear()
        self._earlier, self._uploaded = None, {}
        self._thread = threading.Thread(target=self._run, name="cloudtune-side-uploads", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """Nothing more is uploaded after what is under way."""
        self._thread = None
        self._ending.set()

    def end(self, timeout_s: float) -> None:
        """Uploads the rest. What is missing then is told, and is no error: the journal has the facts."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.warning("S3 lacks the last results, snapshot or output of trials; the journal is there.")
        self._thread = None

    def _run(self) -> None:
        while not self._ending.wait(_INTERVAL_S):
            self._try_all(final=False)
        if self._thread is not None:  # not abandoned
            self._try_all(final=True)

    def _try_all(self, final: bool) -> None:
        try:
            for path in (self._paths.results, self._paths.snapshot):
                if path.exists() and self._uploaded.get(path) != (version := _version(path)):
                    self._objects.upload(path, self._state / path.name)
                    self._uploaded[path] = version
            if self._logs is not None and (final or self._clock.now() >= self._logs_due):
                self._upload_outputs(self._logs, final)
                self._logs_due = self._clock.now() + _LOGS_S
        except (CloudtuneError, OSError) as error:
            if not self._warned or final:
                logger.warning("Results or output of trials cannot be uploaded now: %s", error)
            self._warned = True
        except Exception:
            logger.exception("Uploading results or output failed unexpectedly; it is tried again.")
        else:
            self._warned = False

    def _upload_outputs(self, logs: S3Uri, final: bool) -> None:
        if self._earlier is None:
            self._earlier = {item.uri for item in self._objects.list(logs)}
        for path in _outputs(self._paths):
            if self._ending.is_set() and not final:
                return  # the end comes first to results and snapshot
            version = _version(path)
            known = self._uploaded.get(path)
            if known == version or not (final or _is_worth_it(version[0], known)):
                continue
            target = self._free_name(logs / path.parent.name / path.name)
            if version[0] <= _MAX_GROWING_LOG_BYTES:
                with path.open("rb") as file:
                    self._objects.put(target, file.read(version[0]))
            else:
                self._objects.upload(path, target)
            self._uploaded[path] = version

    def _free_name(self, wanted: S3Uri) -> S3Uri:
        """``std.out``, or ``std.out.2`` where an earlier machine has left its ``std.out``."""
        number, found = 2, wanted
        while found in (self._earlier or ()) and not wanted.key.endswith(".json"):
            found = S3Uri(wanted.bucket, f"{wanted.key}.{number}")
            number += 1
        return found


def _is_worth_it(size: int, known: _Version | None) -> bool:
    if size > _MAX_GROWING_LOG_BYTES:
        return False
    return known is None or size <= _EAGER_LOG_BYTES or not known[0] <= size < _GROWTH * known[0]


def _version(path: Path) -> _Version:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _outputs(paths: ExperimentPaths) -> Iterator[Path]:
    for name in ("std.out", "std.err", "config.json"):
        yield from sorted((paths.trials_dir or paths.dir).glob(f"[0-9]*/{name}"))
