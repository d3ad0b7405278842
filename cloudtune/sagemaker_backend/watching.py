"""How jobs go, and what they report: read with a number of calls that does not grow with the number of trials."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

from cloudtune import names
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.errors import AccessDenied, AwsError, ResourceNotFound
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.log_reports import LogReports
from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun

logger = logging.getLogger(__name__)

#: Listings are asked for what has changed since so long before the newest change known, seconds: they lag.
_OVERLAP_S = 180.0
#: A job whose status was not heard of for so long is looked at by itself, one at a time, seconds.
_STALE_S = 120.0
#: For so long, a job may run that no run is known of, seconds: its creation may not have been answered yet.
_STRAY_S = 60.0
#: A job that is not to be found so long after it was created is gone, seconds.
_GONE_S = 300.0
#: A job that trains and has written nothing to S3 for so long may not write there, seconds: its log is read.
_SILENT_S = 60.0
#: How long after a job's end its log is waited for, seconds; less where nothing speaks for reports.
_LOG_PATIENCE_S, _LOG_SHORT_PATIENCE_S = 120.0, 30.0
#: What no waiting helps against: a role that may not read logs. Credentials that have expired have other codes.
_FORBIDDEN = ("AccessDenied", "AccessDeniedException")


class Watcher:
    """Keeps status and reports of the runs up to date."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listing = Activity("list training jobs", desk.pace.jobs_s)
        self._describing = Activity("describe training jobs")
        self._reading = Activity("read reports", desk.pace.reports_s)
        self._logs = Activity("read logs", desk.pace.jobs_s)
        #: The newest change that was heard of, by the service's clock.
        self._newest: float | None = None
        self._by_job: dict[str, TrialRun] = {}
        #: Jobs of this experiment that run and belong to no run, and since when that is known.
        self._strays: dict[str, float] = {}
        self._log_reports: dict[str, LogReports] = {}

    def step(self, now: float) -> None:
        runs = list(self._desk.in_phase(Phase.created))
        self._by_job = {run.job: run for run in runs}
        live = [run for run in runs if run.terminal_at is None]
        if (live or self._newest is None) and self._listing.is_due(now):
            self._listing.attempt(now, lambda: self._list(now))
        if self._describing.is_due(now):
            self._describing.attempt(now, lambda: self._describe(now, runs))
        unread = any(run.terminal_at is not None and not run.is_read_to_end for run in runs)
        if unread:
            self._reading.due = 0.0
        if runs and self._reading.is_due(now):
            self._reading.attempt(now, lambda: self._read(now, runs))
        if self._logs.is_due(now) and (silent := [run for run in runs if self._needs_log(run, now)]):
            self._logs.attempt(now, lambda: self._read_logs(silent))

    def next_at(self) -> float:
        """When something is due, if there is any job."""
        runs = self._by_job.values()
        times = [self._reading.next_at()]
        if any(run.terminal_at is None for run in runs):
            times.append(self._listing.next_at())
        if any(run.terminal_at is not None and not run.has_details for run in runs):
            times.append(self._describing.next_at())
        now = self._desk.clock.now()
        if any(self._needs_log(run, now) for run in runs):
            times.append(self._logs.next_at())
        return min(times)

    def learn(self, run: TrialRun, status: JobStatus, now: float, details: bool) -> None:
        """Takes notice of what the service says of a run's job. What it says later of earlier times is ignored."""
        if run.status is not None and run.status.state.is_final and not status.state.is_final:
            return
        if details or not run.has_details:
            run.status = status
        run.looked_at = now
        run.has_details = run.has_details or (details and status.state.is_final)
        if status.state.is_final and run.terminal_at is None:
            run.terminal_at = now

    def is_done(self, run: TrialRun, now: float) -> bool:
        """Whether all is known of a run: its job has ended, and all its reports have been read."""
        if run.terminal_at is None or not run.has_details or not run.is_read_to_end:
            return False
        if not self._lacks_reports(run):
            return True
        log = self._log_reports.get(run.job)
        has_reported = run.reports.exists or run.reports.count > 0
        patience_s = _LOG_PATIENCE_S if has_reported else _LOG_SHORT_PATIENCE_S
        if log is None or not log.at_end or now < run.terminal_at + patience_s:
            return False
        if has_reported:
            logger.warning(
                "Of job %s, reports may be missing in S3 and in its log; %d are known.", run.job, run.reports.count
            )
        return True

    def forget(self, job: str) -> None:
        self._log_reports.pop(job, None)

    # -- status

    def _list(self, now: float) -> None:
        since = None if not self._newest else self._newest - _OVERLAP_S
        for status in self._desk.jobs.changed(self._desk.suffix, since):
            self._heard(status)
            run = self._by_job.get(status.name)
            if run is not None and run.phase is Phase.created:
                self.learn(run, status, now, details=False)
            if run is None and status.state is JobState.running and self._is_of_a_trial(status.name):
                self._strays.setdefault(status.name, now)
            else:
                self._strays.pop(status.name, None)
        self._newest = self._newest or 0.0

    def strays(self, now: float) -> list[str]:
        """Jobs of the experiment that nobody wants: no tuner has asked for them for a while. Told once."""
        wanted = {run.job for run in self._desk.runs.values()}
        found = [name for name, since in self._strays.items() if now - since >= _STRAY_S and name not in wanted]
        self._strays = {name: since for name, since in self._strays.items() if now - since < _STRAY_S}
        return found

    def _is_of_a_trial(self, name: str) -> bool:
        return names.parse_trial_job_name(self._desk.place.tuner_name, name) is not None

    def _heard(self, status: JobStatus) -> None:
        if status.last_modified is not None and status.last_modified > (self._newest or 0.0):
            self._newest = status.last_modified

    def _describe(self, now: float, runs: list[TrialRun]) -> None:
        ended = [run for run in runs if run.terminal_at is not None and not run.has_details]
        live = [run for run in runs if run.is_live]
        oldest = min(live, key=lambda run: run.looked_at, default=None)
        stale = [oldest] if oldest is not None and now - oldest.looked_at > _STALE_S else []
        for run in ended + stale:
            if not self._desk.describe_budget.try_take():
                return
            try:
                status = self._desk.jobs.describe(run.job)
            except ResourceNotFound:
                if now - run.created_at > _GONE_S:  # deleted
                    run.terminal_at, run.has_details = run.terminal_at or now, True
                run.looked_at = now
                continue
            self.learn(run, status, now, details=True)

    # -- reports

    def _read(self, now: float, runs: list[TrialRun]) -> None:
        listed: dict[str, list[ReportObject]] = defaultdict(list)
        for item in self._desk.files.report_objects():
            listed[item.label].append(item)
        wanted = [(run, item) for run in runs for item in run.reports.changed(listed.get(run.label, ()))]
        failed: AwsError | None = None
        incomplete: set[str] = set()
        for (run, item), content in zip(wanted, self._desk.map(self._fetch, wanted), strict=True):
            if isinstance(content, AwsError):
                failed = content
                incomplete.add(run.job)
            elif run.job not in incomplete:
                self._deliver(run, run.reports.take(item, content))
        for run in runs:
            if run.terminal_at is not None and run.job not in incomplete:
                run.is_read_to_end = True
        if failed is not None:
            raise failed

    def _fetch(self, wanted: tuple[TrialRun, ReportObject]) -> bytes | AwsError:
        run, item = wanted
        try:
            return self._desk.files.read_report(item, run.reports.offset(item))
        except ResourceNotFound:
            return b""
        except AwsError as error:
            return error

    def _deliver(self, run: TrialRun, reports: list[dict[str, Any]]) -> None:
        for metrics in reports:
            self._desk.outbox.report(run.key, metrics)

    # -- logs

    def _lacks_reports(self, run: TrialRun) -> bool:
        """Whether S3 is known not to have all that a job that has ended has reported."""
        if not run.reports.exists:
            return run.status is not None and run.status.started is not None
        return not run.reports.is_whole

    def _needs_log(self, run: TrialRun, now: float) -> bool:
        if run.terminal_at is not None:
            return run.is_read_to_end and run.has_details and self._lacks_reports(run)
        trains = run.status is not None and run.status.phase == "Training"
        return trains and not run.reports.exists and now - run.created_at > _SILENT_S

    def _read_logs(self, runs: list[TrialRun]) -> None:
        for run in sorted(runs, key=lambda run: run.looked_at):
            if not self._desk.log_budget.try_take():
                return
            log = self._log_reports.setdefault(run.job, LogReports(self._desk.place.resource_attr))
            try:
                page = self._desk.jobs.log_page(run.job, log.cursor)
            except AccessDenied as error:
                if error.code not in _FORBIDDEN:
                    raise
                if not log.at_end:
                    logger.warning("What is missing in S3 of job %s stays missing: %s", run.job, error.message)
                log.at_end = True
                continue
            reports = log.take(page, run.reports.count)
            run.reports.skip(run.reports.count + len(reports))
            self._deliver(run, reports)
