"""Which jobs have, await or keep which instances."""

from __future__ import annotations

import logging

from cloudtune.emulator.fleet.instances import preferences
from cloudtune.emulator.fleet.job_states import CAPACITY_ERROR, INTERNAL_ERROR, Phase
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.fleet.launch import Launch, Provider
from cloudtune.emulator.fleet.quotas import QuotaKind
from cloudtune.emulator.fleet.warm_pools import Lease, PoolStatus, WarmPools
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid

_log = logging.getLogger(__name__)


class Fleet:
    """The instances of all jobs, from a job's creation to the end of its warm pool. It has no thread: what is due
    happens in :meth:`advance`. Not thread-safe: the caller holds the lock of the jobs.

    Args:
        table: The jobs. Their ends are reported to the fleet.
        clock: The service's.
        provider: Where instances come from.
    """

    def __init__(self, table: JobTable, clock: ServiceClock, provider: Provider) -> None:
        self._table = table
        self._clock = clock
        self._provider = provider
        self._pools = WarmPools(clock, provider.quotas)
        self._leases: dict[TrainingJob, Lease] = {}  # of jobs that have not ended, in the order of their creation
        self._launches: dict[TrainingJob, Launch] = {}
        # Of jobs that are stopped: when their instances are gone, and what follows.
        self._takedowns: dict[TrainingJob, tuple[float, Phase]] = {}
        table.context.on_end = self._ended

    def create(self, region: str, request: JsonObject) -> TrainingJob:
        """Creates the job of a valid request, and begins to launch its instances.

        Raises:
            ServiceError: ``ResourceInUse`` or ``ResourceLimitExceeded``.
        """
        self._table.check_free(region, request["TrainingJobName"])
        lease = self._pools.take(region, request) or self._new_lease(region, request)
        job = self._table.create(region, request)
        if lease.warm:
            job.select(lease.cluster)
        if job.keep_alive_s > 0:
            job.set_warm_pool(PoolStatus.in_use)
        self._leases[job] = lease
        self._launch(job)
        return job

    def _new_lease(self, region: str, request: JsonObject) -> Lease:
        """Of the first of the job's preferences for which there is quota."""
        kind = QuotaKind.spot if request.get("EnableManagedSpotTraining") else QuotaKind.on_demand
        first_error: ServiceError | None = None
        for cluster in preferences(request):
            try:
                return Lease(cluster, self._provider.quotas.claim(region, kind, cluster))
            except ServiceError as error:
                first_error = first_error or error
        raise first_error or invalid("The request names no instances.")

    def adopt(self, job: TrainingJob) -> None:
        """Launches instances for a job of a former emulator, which is in Starting."""
        try:
            self._leases[job] = self._new_lease(job.region, job.request)
        except ServiceError:  # there is less of it than there was
            job.fail(CAPACITY_ERROR)
        else:
            self._launch(job)

    def relaunch(self, job: TrainingJob) -> None:
        """Brings new instances up for a job that has lost its own, and is in Starting again."""
        lease = self._leases[job]
        lease.warm, lease.launched = False, None
        self._launch(job)

    def update(self, job: TrainingJob, changes: JsonObject) -> None:
        """Merges the members of an UpdateTrainingJob request.

        Raises:
            ServiceError: KeepAlivePeriodInSeconds for a job that has no warm pool any more.
        """
        keep_alive_s = changes.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds")
        if keep_alive_s is not None:
            self._pools.update(job, keep_alive_s)
        job.update(changes)

    def launching(self) -> list[TrainingJob]:
        """The jobs in Starting, in the order of their creation."""
        return [job for job in self._leases if job in self._launches]

    def size(self) -> int:
        """Number of jobs that have not ended."""
        return len(self._leases)

    def advance(self) -> None:
        """Does what is due."""
        self._pools.expire()
        for job, (gone_at, last_phase) in list(self._takedowns.items()):
            if gone_at <= self._clock.now():
                job.enter(last_phase)
        for job in self.launching():
            try:
                self._launches[job].advance(self._clock.now())
            except Exception:  # noqa: BLE001 - a defect here is the end of this job, not that of all
                _log.exception("job %s", job.name)
                job.fail(INTERNAL_ERROR)

    def next_due(self) -> float:
        """Service time at which to advance again, if nothing else happens before."""
        launches = (launch.due for launch in self._launches.values())
        takedowns = (gone_at for gone_at, _ in self._takedowns.values())
        return min([self._pools.next_expiry(), *launches, *takedowns])

    def take_ready(self, at_most: int) -> list[TrainingJob]:
        """Jobs whose instances are up and which are to run now, the oldest first."""
        ready = [job for job in self.launching() if self._launches[job].is_ready]
        taken, waiting = ready[: max(0, at_most)], ready[max(0, at_most) :]
        for job in taken:
            self._launches.pop(job).say_whether_waiting(False)
        for job in waiting:
            self._launches[job].say_whether_waiting(True)
        return taken

    def stop(self, job: TrainingJob) -> None:
        """Ends a job that is Stopping and whose instances are not up yet."""
        if job in self._launches:
            job.enter(Phase.stopped)

    def take_down(self, job: TrainingJob, last_phase: Phase) -> None:
        """A job that is Stopping has done its work: it enters ``last_phase`` when its instances are gone."""
        delay_s = self._provider.delays.stop_s(self._leases[job].cluster, job.name)
        self._takedowns[job] = self._clock.now() + delay_s, last_phase
        self.advance()

    def close(self) -> None:
        """Nothing is due any more."""
        self._launches.clear()
        self._takedowns.clear()

    def _launch(self, job: TrainingJob) -> None:
        self._launches[job] = Launch(job, self._leases[job], self._provider, self._clock.now())

    def _ended(self, job: TrainingJob) -> None:
        """At the moment of its last state: its instances become a warm pool, or go."""
        self._launches.pop(job, None)
        self._takedowns.pop(job, None)
        lease = self._leases.pop(job, None)
        if lease is not None and not self._pools.keep(job, lease):
            self._provider.quotas.release(lease.claim, self._provider.delays.release_s(lease.cluster, job.name))
