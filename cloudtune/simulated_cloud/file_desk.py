"""S3, as :class:`~cloudtune.sagemaker_backend.ports.TrialFiles` wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from cloudtune.emulator.faults.calls import Call
from cloudtune.emulator.service_error import ServiceError
from cloudtune.paths import S3ExperimentPaths
from cloudtune.report_stream import object_name
from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.simulated_cloud.bucket import Bucket
from cloudtune.simulated_cloud.clocks import EventClock
from cloudtune.simulated_cloud.machines import Machines
from cloudtune.simulated_cloud.requests import Requests
from cloudtune.simulated_cloud.witness import Witness

T = TypeVar("T")
_PAGE = 1000


class FileDesk:
    """What one experiment's trials keep.

    Args:
        where: The experiment.
        requests: Every call is one.
        bucket: What there is.
        machines: Upload checkpoints.
        clock: The service's.
        witness: Sees what is deleted.
    """

    def __init__(
        self,
        where: S3ExperimentPaths,
        requests: Requests,
        bucket: Bucket,
        machines: Machines,
        clock: EventClock,
        witness: Witness,
    ) -> None:
        self._where = where
        self._requests = requests
        self._bucket = bucket
        self._machines = machines
        self._clock = clock
        self._witness = witness

    def report_objects(self) -> list[ReportObject]:
        """See :meth:`TrialFiles.report_objects`."""
        root = str(self._where.reports)
        found = self._list(lambda: self._bucket.reports(root).objects(self._clock.now()))
        for _ in range(_PAGE, len(found), _PAGE):
            self._list(lambda: None)
        return found

    def read_report(self, item: ReportObject, start: int) -> bytes:
        """See :meth:`TrialFiles.read_report`."""
        key = f"{self._where.reports.key}/{item.label}/{object_name(item.run, item.segment)}"

        def effect() -> bytes:
            stream = self._bucket.reports(str(self._where.reports)).get(item.label)
            content = None if stream is None else stream.content(item.run, item.segment, self._clock.now())
            if content is None:
                raise ServiceError("NoSuchKey", "The specified key does not exist.", 404)
            if start >= len(content):
                raise ServiceError("InvalidRange", "The requested range is not satisfiable", 416)
            return content[start:]

        return self._perform("GetObject", key, f"read {key}", effect)

    def delete_reports(self, labels: Sequence[str]) -> None:
        """See :meth:`TrialFiles.delete_reports`."""
        root = str(self._where.reports)

        def effect() -> None:
            for label in labels:
                self._witness.reports_go(root, label)
            self._bucket.reports(root).delete(frozenset(labels), self._clock.now())

        self._perform("DeleteObjects", self._where.reports.key, "delete reports", effect)

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> int | None:
        """See :meth:`TrialFiles.copy_checkpoint`."""
        source, target = self._folder(source_trial_id), self._folder(target_trial_id)

        def effect() -> int | None:
            self._witness.checkpoints_go(target)
            self._machines.sync_checkpoints(source)
            newest = max(self._bucket.levels(source), default=None)
            self._bucket.checkpoints[target] = set() if newest is None else {newest}
            return newest

        return self._perform("CopyObject", target, f"copy a checkpoint to {target}", effect)

    def delete_checkpoints(self, trial_ids: Sequence[int]) -> None:
        """See :meth:`TrialFiles.delete_checkpoints`."""

        def effect() -> None:
            for folder in map(self._folder, trial_ids):
                self._witness.checkpoints_go(folder)
                self._machines.sync_checkpoints(folder)
                self._bucket.levels(folder).clear()

        self._perform("DeleteObjects", self._where.checkpoints.key, "delete checkpoints", effect)

    def _folder(self, trial_id: int) -> str:
        return str(self._where.checkpoints / str(trial_id))

    def _list(self, effect: Callable[[], T]) -> T:
        return self._perform("ListObjectsV2", "", f"list {self._where.reports}", effect)

    def _perform(self, operation: str, key: str, doing: str, effect: Callable[[], T]) -> T:
        call = Call("s3", operation, bucket=self._where.root.bucket, key=key)
        return self._requests.perform(call, f"{doing} (s3:{operation})", effect)
