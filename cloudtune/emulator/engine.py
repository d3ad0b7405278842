"""Runs training jobs whose instances are up, a few at a time, in the order of their creation."""

from __future__ import annotations

import logging
import threading

from cloudtune.emulator.faults import InterruptRule
from cloudtune.emulator.fleet.fleet import Fleet
from cloudtune.emulator.fleet.job_states import INTERNAL_ERROR, Phase
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobStatus, TrainingJob
from cloudtune.emulator.fleet.launch import Provider
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.emulator.machine.attempt import Attempt, Site
from cloudtune.emulator.service_error import JsonObject, invalid

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT_S = 30.0
_AFTER_DEFECT_S = 1.0


class Engine:
    """The machine room. Thread-safe.

    Args:
        site: What the jobs share.
        table: The jobs. Their lock is this engine's, too.
        quotas: Held against each job that is created.
    """

    def __init__(self, site: Site, table: JobTable, quotas: Quotas) -> None:
        self._site = site
        self._fleet = Fleet(table, site.clock, Provider(site.faults, site.delays, quotas))
        self._changed = threading.Condition(table.context.lock)
        self._running: dict[TrainingJob, Attempt] = {}
        self._max_parallel_jobs = site.settings.max_parallel_jobs
        self._closed = False
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._dispatcher.start()

    def create(self, region: str, request: JsonObject) -> TrainingJob:
        """Creates the job of a valid request; it runs when its instances are up and its turn has come.

        Raises:
            ServiceError: ``ResourceInUse`` or ``ResourceLimitExceeded``.
        """
        with self._changed:
            job = self._fleet.create(region, request)
            self._changed.notify_all()
            return job

    def adopt(self, job: TrainingJob) -> None:
        """Runs a job of a former emulator, which is in Starting."""
        with self._changed:
            self._fleet.adopt(job)
            self._changed.notify_all()

    def stop(self, job: TrainingJob) -> None:
        """Returns at once."""
        with self._changed:
            job.enter(Phase.stopping)
            if job in self._running:
                self._running[job].stop()
            else:
                self._fleet.stop(job)

    def update(self, job: TrainingJob, changes: JsonObject) -> None:
        """Merges the members of an UpdateTrainingJob request.

        Raises:
            ServiceError: KeepAlivePeriodInSeconds for a job that has no warm pool any more.
        """
        with self._changed:
            self._fleet.update(job, changes)
            self._changed.notify_all()

    def interrupt(self, job: TrainingJob, notice: bool) -> None:
        """Takes the job's spot instance away. Raises ServiceError if it has none."""
        with self._changed:
            if not job.is_spot:
                raise invalid(f"Job {job.name} does not run on a spot instance: it cannot be interrupted.")
            if job not in self._running or job.status is not JobStatus.in_progress:
                raise invalid(f"Job {job.name} has no instance to lose: its status is {job.status}, {job.phase}.")
            self._site.faults.record("interruption", job=job.name, rule=None, notice=notice)
            self._running[job].interrupt(notice)

    def add_rule(self, rule: InterruptRule) -> None:
        """Applies to jobs that are running as well."""
        self._site.faults.add(rule)
        self.recheck()

    def recheck(self) -> None:
        """To be called when faults have changed."""
        with self._changed:
            for attempt in self._running.values():
                attempt.recheck()

    @property
    def max_parallel_jobs(self) -> int:
        return self._max_parallel_jobs

    def allow_parallel_jobs(self, at_least: int) -> None:
        """From now on so many jobs may run at once, if they might not before."""
        with self._changed:
            self._max_parallel_jobs = max(self._max_parallel_jobs, at_least)
            self._changed.notify_all()

    def busy(self) -> int:
        """Number of jobs that have not ended."""
        with self._changed:
            return self._fleet.size()

    def close(self) -> None:
        """Ends all jobs at once and returns when none runs."""
        with self._changed:
            self._closed = True
            self._fleet.close()
            for attempt in self._running.values():
                attempt.abort()
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._running, timeout=_CLOSE_TIMEOUT_S):
                _log.error("these jobs have not ended: %s", ", ".join(job.name for job in self._running))
        self._dispatcher.join(timeout=_CLOSE_TIMEOUT_S)

    def _dispatch(self) -> None:
        with self._changed:
            while not self._closed:
                try:
                    wait_s = self._turn()
                except Exception:  # noqa: BLE001 - a defect here must not be the end of all jobs
                    _log.exception("the emulator's dispatcher")
                    wait_s = _AFTER_DEFECT_S
                self._changed.wait(timeout=wait_s)

    def _turn(self) -> float:
        """Does what is due; returns the real seconds until there is more to do."""
        self._fleet.advance()
        for job in self._fleet.take_ready(self._max_parallel_jobs - len(self._running)):
            self._start(job)
        return self._site.clock.timeout(self._fleet.next_due())

    def _start(self, job: TrainingJob) -> None:
        try:
            attempt = Attempt(job, job.attempt, self._site)
            thread = threading.Thread(target=self._run, args=(job, attempt), name=f"job-{job.name}", daemon=True)
            self._running[job] = attempt
            thread.start()
        except Exception:  # noqa: BLE001 - no more threads, or a defect: the end of this job, not that of all
            _log.exception("job %s", job.name)
            self._running.pop(job, None)
            job.fail(INTERNAL_ERROR)

    def _run(self, job: TrainingJob, attempt: Attempt) -> None:
        try:
            runs_again = attempt.run()
            with self._changed:
                del self._running[job]
                if not self._closed:
                    self._go_on(job, attempt, runs_again)
        except Exception:  # noqa: BLE001 - a defect here is the end of this job, and nobody waits for it
            _log.exception("job %s", job.name)
            job.end_attempt()
            job.fail(INTERNAL_ERROR)
        finally:
            with self._changed:
                if self._running.get(job) is attempt:
                    del self._running[job]
                self._changed.notify_all()

    def _go_on(self, job: TrainingJob, attempt: Attempt, runs_again: bool) -> None:
        """After an attempt."""
        if not runs_again:
            if attempt.last_phase is not None:
                self._fleet.take_down(job, attempt.last_phase)
        elif job.enter(Phase.starting):
            self._fleet.relaunch(job)
        else:  # somebody asked for its end meanwhile
            job.enter(Phase.stopped)
