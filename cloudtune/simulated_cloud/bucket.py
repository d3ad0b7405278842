"""What jobs keep in S3: reports, and checkpoints."""

from __future__ import annotations

from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.simulated_cloud.report_objects import JobStream


class ExperimentReports:
    """Reports of one experiment. Those of jobs that have ended are listed without looking at them again."""

    def __init__(self) -> None:
        self._live: dict[str, JobStream] = {}
        self._ended: dict[str, JobStream] = {}
        self._listed: list[ReportObject] = []

    def begin(self, stream: JobStream, now: float) -> None:
        """A run of the job begins."""
        if self._ended.pop(stream.label, None) is not None:
            self._list_ended(now)
        self._live[stream.label] = stream

    def end(self, label: str, now: float) -> None:
        """A run of the job has ended."""
        stream = self._live.pop(label, None)
        if stream is not None:
            self._ended[label] = stream
            self._listed += stream.objects(now)

    def get(self, label: str) -> JobStream | None:
        return self._live.get(label) or self._ended.get(label)

    def delete(self, labels: frozenset[str], now: float) -> None:
        for label in labels:
            self._live.pop(label, None)
            self._ended.pop(label, None)
        self._list_ended(now)

    def objects(self, now: float) -> list[ReportObject]:
        return [*self._listed, *(item for stream in self._live.values() for item in stream.objects(now))]

    def _list_ended(self, now: float) -> None:
        self._listed = [item for stream in self._ended.values() for item in stream.objects(now)]


class Bucket:
    """By S3 URI; names of buckets are part of it."""

    def __init__(self) -> None:
        self._experiments: dict[str, ExperimentReports] = {}
        #: Levels of the checkpoints of each trial, by the URI of its folder.
        self.checkpoints: dict[str, set[int]] = {}

    def reports(self, root: str) -> ExperimentReports:
        """Of the experiment whose reports are below ``root``."""
        return self._experiments.setdefault(root, ExperimentReports())

    def levels(self, folder: str) -> set[int]:
        """To be changed by who uploads and deletes."""
        return self.checkpoints.setdefault(folder, set())
