"""How a job gets its instances: what happens while it is Starting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloudtune.emulator.faults import Faults
from cloudtune.emulator.fleet.delays import Delays
from cloudtune.emulator.fleet.instances import Cluster, is_accelerated, preferences
from cloudtune.emulator.fleet.job_states import CAPACITY_ERROR, Phase
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.emulator.fleet.warm_pools import Lease
from cloudtune.emulator.service_error import ServiceError

_LAUNCHING = "Launching requested ML instances"
_NO_CAPACITY = "Insufficient capacity error from EC2 while launching instances, retrying!"
_PREPARING = "Preparing the instances for training"
_WAITING = (
    "The instances are up; the emulator runs as many jobs at once as max_parallel_jobs says, and this one waits"
)
_PENDING_TOO_LONG = "Training job exceeded MaxPendingTimeInSeconds provided"
_LAUNCHING_SHARE = 0.7  # of the start-up delay; the rest is spent preparing
_RETRY_S = 60.0  # between two requests for capacity; a guess


@dataclass(frozen=True)
class Provider:
    """Where instances come from."""

    faults: Faults
    delays: Delays
    quotas: Quotas


class Launch:
    """One attempt's way from Starting to instances that are up. The caller holds the lock of the jobs, and calls
    :meth:`advance` when it is :attr:`due`.

    Args:
        job: In Starting.
        lease: Its instances; changed where the job runs on another of its preferences.
        provider: Gives instances.
        now: Service time.
    """

    def __init__(self, job: TrainingJob, lease: Lease, provider: Provider, now: float) -> None:
        self.job = job
        self._lease = lease
        self._provider = provider
        self._ends = min(job.created + job.max_wait_s, now + self._max_pending_s())
        self._asking = not lease.warm
        self._waits = False
        self._steps: list[tuple[float, str]] = [(now, _PREPARING if lease.warm else _LAUNCHING)]

    @property
    def is_ready(self) -> bool:
        """Whether the instances are up."""
        return not self._asking and not self._steps

    def say_whether_waiting(self, waits: bool) -> None:
        """Tells who asks why a job whose instances are up does not go on; the service has nothing like it."""
        if waits != self._waits:
            self._waits = waits
            self.job.say(_WAITING if waits else _PREPARING)

    @property
    def due(self) -> float:
        """Service time of the next event."""
        return min(self._ends, self._steps[0][0] if self._steps else math.inf)

    def advance(self, now: float) -> None:
        """Does what is due; may end the job."""
        if now >= self._ends:
            self._give_up(now)
            return
        while self._steps and self._steps[0][0] <= now:
            if self._asking:
                self._ask(now)
                if self.job.status.is_terminal:
                    return
                continue
            _, message = self._steps.pop(0)
            self.job.say(message)
        if self.is_ready and self._lease.launched is None:
            self._lease.launched = now

    def _ask(self, now: float) -> None:
        cluster = self._available()
        if cluster is not None:
            self._asking = False
            delay_s = self._provider.delays.start_s(cluster, self.job.is_spot, self.job.name, self.job.attempt)
            prepared, up = now + _LAUNCHING_SHARE * delay_s, now + delay_s
            self._steps = [(now, _LAUNCHING), (prepared, _PREPARING), (up, _PREPARING)]
        elif self._ends < math.inf:
            self.job.say(_NO_CAPACITY)
            self._steps = [(now + _RETRY_S, _LAUNCHING)]
        else:
            self.job.fail(CAPACITY_ERROR)

    def _available(self) -> Cluster | None:
        """The first of the job's preferences that is there, and claimed."""
        for cluster in preferences(self.job.request):
            if self._has_capacity(cluster) and self._claimed(cluster):
                self.job.select(cluster)
                return cluster
        return None

    def _has_capacity(self, cluster: Cluster) -> bool:
        job, faults = self.job, self._provider.faults
        return not any(
            faults.capacity_error(instance_type, job.is_spot, job.name, job.attempt)
            for instance_type, count in cluster
            for _ in range(count)
        )

    def _claimed(self, cluster: Cluster) -> bool:
        if cluster == self._lease.cluster:
            return True
        quotas, claim = self._provider.quotas, self._lease.claim
        try:
            self._lease.claim = quotas.claim(claim.region, claim.kind, cluster)
        except ServiceError:  # not its turn: the next preference may have room
            return False
        quotas.release(claim)
        self._lease.cluster = cluster
        return True

    def _max_pending_s(self) -> float:
        limit = self.job.request["StoppingCondition"].get("MaxPendingTimeInSeconds")
        types = [name for cluster in preferences(self.job.request) for name, _ in cluster]
        return math.inf if limit is None or not any(map(is_accelerated, types)) else float(limit)

    def _give_up(self, now: float) -> None:
        waited_too_long = now >= self.job.created + self.job.max_wait_s
        self.job.enter(Phase.stopping)
        if waited_too_long:
            self.job.enter(Phase.max_wait_exceeded)
        else:
            self.job.enter(Phase.stopped, _PENDING_TOO_LONG)
