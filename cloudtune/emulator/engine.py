"""Runs training jobs: launches their instances, and runs a few at a time, in the order of their creation."""

from __future__ import annotations

import logging
import threading

from cloudtune.emulator.attempt import INTERNAL_ERROR, Attempt, Site
from cloudtune.emulator.faults import InterruptRule
from cloudtune.emulator.instances import preferences
from cloudtune.emulator.jobs import JobTable, Phase, TrainingJob
from cloudtune.emulator.launch import Launch, Provider
from cloudtune.emulator.quotas import QuotaKind, Quotas
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid
from cloudtune.emulator.warm_pools import Lease, PoolStatus, WarmPools

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT_S = 30.0


class Engine:
    """The machine room. Thread-safe.

    Args:
        site: What the jobs share.
        table: The jobs. Their lock is this engine's, too.
        quotas: Held against each job that is created.
    """

    def __init__(self, site: Site, table: JobTable, quotas: Quotas) -> None:
        self._site = site
        self._table = table
        self._quotas = quotas
        self._pools = WarmPools(site.clock, quotas)
        self._provider = Provider(site.faults, site.delays, quotas)
        self._changed = threading.Condition(table.context.lock)
        self._leases: dict[
            TrainingJob, Lease
        ] = {}  # of all jobs that have not ended, in the order of their creation
        self._launches: dict[TrainingJob, Launch] = {}
        self._running: dict[TrainingJob, Attempt] = {}
        self._closed = False
        table.context.on_end = self._ended
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._dispatcher.start()

    def create(self, region: str, request: JsonObject) -> TrainingJob:
        """Creates the job of a valid request, and begins to launch it.

        Raises:
            ServiceError: ``ResourceInUse`` or ``ResourceLimitExceeded``.
        """
        with self._changed:
            self._table.check_free(region, request["TrainingJobName"])
            lease = self._pools.take(region, request) or self._lease(region, request)
            job = self._table.create(region, request)
            if lease.warm:
                job.select(lease.cluster)
            if job.keep_alive_s > 0:
                job.set_warm_pool(PoolStatus.in_use)
            self._leases[job] = lease
            self._launch(job)
            return job

    def _lease(self, region: str, request: JsonObject) -> Lease:
        """Of the first of the job's preferences for which there is quota."""
        kind = QuotaKind.spot if request.get("EnableManagedSpotTraining") else QuotaKind.on_demand
        first_error: ServiceError | None = None
        for cluster in preferences(request):
            try:
                return Lease(cluster, self._quotas.claim(region, kind, cluster))
            except ServiceError as error:
                first_error = first_error or error
        raise first_error or invalid("The request names no instances.")

    def stop(self, job: TrainingJob) -> None:
        """Returns at once."""
        with self._changed:
            job.enter(Phase.stopping)
            if job in self._running:
                self._running[job].stop()
            elif job in self._launches:
                job.enter(Phase.stopped)

    def update(self, job: TrainingJob, changes: JsonObject) -> None:
        """Merges the members of an UpdateTrainingJob request.

        Raises:
            ServiceError: KeepAlivePeriodInSeconds for a job that has no warm pool any more.
        """
        with self._changed:
            keep_alive_s = changes.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds")
            if keep_alive_s is not None:
                self._pools.update(job, keep_alive_s)
            job.update(changes)
            self._changed.notify_all()

    def interrupt(self, job: TrainingJob, notice: bool) -> None:
        """Takes the job's spot instance away. Raises ServiceError if it has none."""
        with self._changed:
            if not job.is_spot:
                raise invalid(f"Job {job.name} does not run on a spot instance: it cannot be interrupted.")
            if job not in self._running:
                raise invalid(f"Job {job.name} has no instance now: it is in status {job.status}, {job.phase}.")
            self._running[job].interrupt(notice)

    def add_rule(self, rule: InterruptRule) -> None:
        """Applies to jobs that are running as well."""
        self._site.faults.add(rule)
        with self._changed:
            for attempt in self._running.values():
                attempt.recheck()

    def busy(self) -> int:
        """Number of jobs that run or wait."""
        with self._changed:
            return len(self._running) + len(self._launches)

    def close(self) -> None:
        """Ends all jobs at once and returns when none runs."""
        with self._changed:
            self._closed = True
            self._launches.clear()
            for attempt in self._running.values():
                attempt.abort()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, timeout=_CLOSE_TIMEOUT_S)
        self._dispatcher.join(timeout=_CLOSE_TIMEOUT_S)

    def _launch(self, job: TrainingJob) -> None:
        self._launches[job] = Launch(job, self._leases[job], self._provider, self._site.clock.now())
        self._changed.notify_all()

    def _dispatch(self) -> None:
        with self._changed:
            while not self._closed:
                self._pools.expire()
                for launch in list(self._launches.values()):
                    self._advance(launch)
                self._start_ready()
                due = [launch.due for launch in self._launches.values()]
                self._changed.wait(timeout=self._site.clock.timeout(min([*due, self._pools.next_expiry()])))

    def _advance(self, launch: Launch) -> None:
        try:
            launch.advance(self._site.clock.now())
        except Exception:  # noqa: BLE001 - a defect here is the end of this job, not that of all
            _log.exception("job %s", launch.job.name)
            launch.job.fail(INTERNAL_ERROR)

    def _start_ready(self) -> None:
        free = self._site.settings.max_parallel_jobs - len(self._running)
        if free <= 0:
            return
        ready = [job for job in self._leases if job in self._launches and self._launches[job].is_ready]
        for job in ready[:free]:
            del self._launches[job]
            self._start(job)

    def _start(self, job: TrainingJob) -> None:
        attempt = Attempt(job, job.attempt, self._site)
        self._running[job] = attempt
        try:
            threading.Thread(target=self._run, args=(job, attempt), name=f"job-{job.name}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            del self._running[job]
            job.fail(f"{INTERNAL_ERROR} ({error})")

    def _run(self, job: TrainingJob, attempt: Attempt) -> None:
        runs_again = attempt.run()
        with self._changed:
            del self._running[job]
            if runs_again and not self._closed:
                if job.enter(Phase.starting):
                    self._leases[job].warm, self._leases[job].launched = False, None
                    self._launch(job)
                else:  # somebody asked for its end meanwhile
                    job.enter(Phase.stopped)
            self._changed.notify_all()

    def _ended(self, job: TrainingJob) -> None:
        """At the moment of its last state: its instances become a warm pool, or go."""
        self._launches.pop(job, None)
        lease = self._leases.pop(job, None)
        if lease is not None and not self._pools.keep(job, lease):
            self._quotas.release(lease.claim, self._site.delays.release_s(lease.cluster, job.name))
        self._changed.notify_all()
