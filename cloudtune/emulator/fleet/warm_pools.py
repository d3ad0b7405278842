"""Instances kept after a job's end for the next job that is like it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from cloudtune._compat import StrEnum
from cloudtune.emulator.fleet.instances import Cluster, preferences
from cloudtune.emulator.fleet.job_states import CAPACITY_ERROR, INTERNAL_ERROR
from cloudtune.emulator.fleet.jobs import JobStatus, TrainingJob
from cloudtune.emulator.fleet.quotas import Claim, QuotaKind, Quotas
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid

_LONGEST_LIFE_S = 28 * 86_400.0  # of a cluster, however often it is used again


class PoolStatus(StrEnum):
    """Status in WarmPoolStatus, of the job that has or had the pool."""

    in_use = "InUse"
    available = "Available"
    reused = "Reused"
    terminated = "Terminated"


@dataclass
class Lease:
    """A job's instances.

    Args:
        cluster: Which.
        claim: What they count for.
        launched: Service time at which they came up; None before.
        warm: They come from a warm pool: no start-up delay.
    """

    cluster: Cluster
    claim: Claim
    launched: float | None = None
    warm: bool = False


@dataclass
class _Pool:
    job: TrainingJob  # whose it was last
    key: str
    lease: Lease
    place: Claim  # in the quota for warm pools
    since: float
    until: float


def matching_key(region: str, request: JsonObject, cluster: Cluster) -> str:
    """Equal for two jobs on a ``cluster`` each, of which the second may use the first one's warm pool."""
    resources, network = request["ResourceConfig"], request.get("VpcConfig", {})
    parts = [
        region,
        request.get("RoleArn"),
        cluster,
        [resources.get(name) for name in ("VolumeSizeInGB", "VolumeKmsKeyId")],
        [sorted(network.get(name, [])) for name in ("SecurityGroupIds", "Subnets")],
        bool(request.get("EnableInterContainerTrafficEncryption")),
        bool(request.get("EnableNetworkIsolation")),
    ]
    return json.dumps(parts)


class WarmPools:
    """All warm pools. Not thread-safe: the caller holds the lock of the jobs.

    Args:
        clock: Pools run out by it.
        quotas: An available pool counts for the quota of warm pools, and its instances still for that of jobs.
    """

    def __init__(self, clock: ServiceClock, quotas: Quotas) -> None:
        self._clock = clock
        self._quotas = quotas
        self._pools: dict[TrainingJob, _Pool] = {}

    def take(self, region: str, request: JsonObject) -> Lease | None:
        """The instances of the oldest pool that fits the request, which is then the new job's; None if there is
        none. A job that keeps none alive itself gets none (a guess)."""
        self.expire()
        if not request.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds"):
            return None
        keys = [matching_key(region, request, cluster) for cluster in preferences(request)]
        pool = next((pool for key in keys for pool in self._pools.values() if pool.key == key), None)
        if pool is None:
            return None
        self._end(pool, self._clock.now(), PoolStatus.reused, request["TrainingJobName"])
        pool.lease.warm = True
        return pool.lease

    def keep(self, job: TrainingJob, lease: Lease) -> bool:
        """Whether the instances of ``job``, which has just ended, become a pool."""
        if job.warm_pool_status is None:
            return False
        now = self._clock.now()
        healthy = lease.launched is not None and job.failure_reason not in (INTERNAL_ERROR, CAPACITY_ERROR)
        if not healthy or job.keep_alive_s <= 0 or now - (lease.launched or now) > _LONGEST_LIFE_S:
            job.set_warm_pool(PoolStatus.terminated)
            return False
        try:
            place = self._quotas.claim(job.region, QuotaKind.warm_pool, lease.cluster)
        except ServiceError:  # the service says nothing either
            job.set_warm_pool(PoolStatus.terminated)
            return False
        key = matching_key(job.region, job.request, lease.cluster)
        self._pools[job] = _Pool(job, key, lease, place, now, now + job.keep_alive_s)
        job.set_warm_pool(PoolStatus.available)
        return True

    def update(self, job: TrainingJob, keep_alive_s: float) -> None:
        """For UpdateTrainingJob. Counts from the job's end; 0 ends the pool.

        Raises:
            ServiceError: The job has ended and has no pool.
        """
        self.expire()
        if job.status is JobStatus.in_progress:
            if keep_alive_s > 0:
                job.set_warm_pool(PoolStatus.in_use)
            return
        if job not in self._pools:
            raise invalid(
                f"The request was rejected because the training job {job.name} has no warm pool that is Available "
                "or InUse.",
                rule="update.no-pool",
            )
        pool, now = self._pools[job], self._clock.now()
        pool.until = pool.since + keep_alive_s
        if pool.until <= now:
            self._terminate(pool, now)

    def expire(self) -> None:
        """Ends the pools whose time is over."""
        now = self._clock.now()
        for pool in [pool for pool in self._pools.values() if pool.until <= now]:
            self._terminate(pool, pool.until)

    def next_expiry(self) -> float:
        """Service time at which a pool runs out next."""
        return min((pool.until for pool in self._pools.values()), default=math.inf)

    def _terminate(self, pool: _Pool, when: float) -> None:
        self._end(pool, when, PoolStatus.terminated)
        self._quotas.release(pool.lease.claim)

    def _end(self, pool: _Pool, when: float, status: PoolStatus, reused_by: str | None = None) -> None:
        del self._pools[pool.job]
        self._quotas.release(pool.place)
        pool.job.set_warm_pool(status, when - pool.since, reused_by)
