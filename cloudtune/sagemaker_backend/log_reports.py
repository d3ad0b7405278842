"""Reports of a job read from its log, where S3 has not all of them."""

from __future__ import annotations

from typing import Any

from cloudtune.report import parse_report
from cloudtune.report_stream import RepetitionFilter
from cloudtune.sagemaker_backend.ports import LogPage


class LogReports:
    """Follows one job's log; each line costs once.

    Args:
        resource_attr: As the job has it: reports are numbered, and repetitions dropped, as the job does it.
    """

    def __init__(self, resource_attr: str | None) -> None:
        #: Where to go on; None: from the beginning.
        self.cursor: str | None = None
        #: Nothing more was there when it was last looked at.
        self.at_end = False
        #: Whether the service does not give it.
        self.is_refused = False
        #: When it was last read, seconds on the tuner's clock.
        self.read_at = float("-inf")
        self._filter = RepetitionFilter(resource_attr)
        self._run: int | None = None

    def take(self, page: LogPage, count: int) -> list[dict[str, Any]]:
        """Reports in ``page`` from number ``count`` on, in order."""
        self.cursor, self.at_end = page.cursor, page.at_end
        reports = []
        for run, line in page.lines:
            if self._run is not None and run != self._run:
                self._filter.next_run()
            self._run = run
            metrics = parse_report(line)
            number = None if metrics is None else self._filter.number(metrics)
            if metrics is not None and number is not None and number >= count:
                reports.append(metrics)
        return reports
