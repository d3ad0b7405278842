"""Reading what jobs report: one listing, and a read for each object that has grown; logs where that is not all."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cloudtune.aws.job_end import JobEnd, why
from cloudtune.errors import AccessDenied, AwsError, InvalidRequest, ResourceNotFound
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.log_reports import LogReports
from cloudtune.sagemaker_backend.patience import each_in_turn
from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.sagemaker_backend.trial_run import TrialRun

logger = logging.getLogger(__name__)

#: A job that trains and has written nothing to S3 for so long may not write there, seconds: its log is read.
_SILENT_S = 60.0
#: How long after a job's end its log is waited for, seconds; less where nothing is known to be missing; more where
#: the log cannot be read now.
_LOG_PATIENCE_S, _LOG_SHORT_PATIENCE_S, _LOG_LONG_PATIENCE_S = 120.0, 30.0, 3600.0
#: Of such jobs, the last words are missing if they have not been written.
_ENDS_IN_ORDER = (JobEnd.completed, JobEnd.user_code, JobEnd.stopped, JobEnd.max_runtime)
#: Errors that do not pass by themselves.
_REFUSALS = (AccessDenied, InvalidRequest, ResourceNotFound)


class Reader:
    """Delivers the reports of runs: each once, in order."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reading = Activity("read reports", desk.pace.reports_s)
        self._logs = Activity("read logs", desk.pace.jobs_s)
        self._log_reports: dict[str, LogReports] = {}
        #: Whether any job has written to S3: then all may.
        self._jobs_may_write = False

    def step(self, runs: Sequence[TrialRun], now: float) -> None:
        """Reads what is due; ``runs`` are those that have jobs."""
        if any(run.terminal_at is not None and not run.is_read_to_end for run in runs):
            self._reading.due = 0.0
        if runs and self._reading.is_due(now):
            self._reading.attempt(now, lambda: self._read(runs, now))
        if self._logs.is_due(now) and (silent := [run for run in runs if self._needs_log(run, now)]):
            self._logs.attempt(now, lambda: self._read_logs(silent, now))

    def next_at(self, runs: Sequence[TrialRun], now: float) -> float:
        times = [self._reading.next_at()]
        if any(self._needs_log(run, now) for run in runs):
            times.append(self._logs.next_at())
        return min(times)

    def is_done(self, run: TrialRun, now: float) -> bool:
        """Whether all reports of a run, whose job has ended, have been read, as far as that is possible."""
        if run.terminal_at is None or not run.is_read_to_end:
            return False
        if not self._lacks_reports(run):
            return True
        log = self._log_reports.get(run.job, LogReports(None))
        is_missed = not run.reports.is_whole
        patience_s = _LOG_PATIENCE_S if is_missed or log.is_refused else _LOG_SHORT_PATIENCE_S
        if not log.at_end and not log.is_refused:
            patience_s = _LOG_LONG_PATIENCE_S
        if now < run.terminal_at + patience_s:
            return False
        if is_missed or not log.at_end:
            logger.warning(
                "Of job %s, reports may be missing in S3 and in its log; %d are known.", run.job, run.reports.count
            )
        return True

    def forget(self, job: str) -> None:
        self._log_reports.pop(job, None)

    # -- S3

    def _read(self, runs: Sequence[TrialRun], now: float) -> None:
        listed: dict[str, list[ReportObject]] = defaultdict(list)
        for item in self._desk.files.report_objects():
            listed[item.label].append(item)
        wanted = [(run, item) for run in runs for item in run.reports.changed(listed.get(run.label, ()))]
        failed: dict[str, AwsError] = {}
        has_read = False
        for (run, item), content in zip(wanted, self._desk.map(self._fetch, wanted), strict=True):
            if isinstance(content, AwsError):
                failed[run.job] = content
            elif run.job not in failed:
                has_read = self._jobs_may_write = True
                self._deliver(run, run.reports.take(item, content))
        for run in runs:
            if run.terminal_at is None:
                continue
            error = failed.get(run.job)
            if isinstance(error, _REFUSALS) and now >= run.terminal_at + _LOG_PATIENCE_S:
                logger.warning("The reports of job %s cannot be read; its log is. %s", run.job, error.message)
                run.reports.give_up()
            if error is None or not run.reports.is_whole:
                run.is_read_to_end = True
        errors = [error for error in failed.values() if not isinstance(error, ResourceNotFound)]
        if errors and not has_read:
            raise errors[0]

    def _fetch(self, wanted: tuple[TrialRun, ReportObject]) -> bytes | AwsError:
        run, item = wanted
        try:
            return self._desk.files.read_report(item, run.reports.offset(item))
        except AwsError as error:
            return error

    def _deliver(self, run: TrialRun, reports: list[dict[str, Any]]) -> None:
        for metrics in reports:
            self._desk.outbox.report(run.key, metrics)

    # -- logs

    def _needs_log(self, run: TrialRun, now: float) -> bool:
        if run.terminal_at is not None:
            return run.is_read_to_end and run.has_details and self._lacks_reports(run)
        trains = run.status is not None and run.status.phase == "Training"
        return trains and not run.reports.exists and now - run.created_at > _SILENT_S

    def _read_logs(self, runs: Sequence[TrialRun], now: float) -> None:
        """Those first whose trials wait for their end, then those that were not read for longest."""
        for run in runs:
            self._log_reports.setdefault(run.job, LogReports(self._desk.place.resource_attr))
        order = sorted(runs, key=lambda run: (run.terminal_at is None, self._log_reports[run.job].read_at))
        each_in_turn(order, lambda run: run.logging, now, lambda run: self._read_log(run, now))

    def _read_log(self, run: TrialRun, now: float) -> bool:
        if not self._desk.log_budget.try_take():
            return False
        log = self._log_reports[run.job]
        log.read_at = now
        try:
            page = self._desk.jobs.log_page(run.job, log.cursor)
        except _REFUSALS:
            log.is_refused = True
            raise
        log.is_refused = False
        reports = log.take(page, run.reports.count)
        run.reports.skip(run.reports.count + len(reports))
        self._deliver(run, reports)
        return True

    def _lacks_reports(self, run: TrialRun) -> bool:
        """Whether S3 may not have all that a job that has ended has reported."""
        status = run.status
        if status is None or not run.reports.is_whole:
            return not run.reports.is_whole
        if run.reports.exists:
            return run.reports.end is None and why(status) in _ENDS_IN_ORDER
        if status.started is None:
            return False
        # A script begins when S3 has had a first word of its job, or has not taken it for a minute.
        has_begun = status.ended is None or status.ended - status.started >= _SILENT_S
        return has_begun or not self._jobs_may_write
