"""May a job be created now, and on which instance type? From quotas that are known or learnt, from capacity that
has failed, and from instances that are kept warm. Pure: times are arguments, seconds on any one clock."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloudtune.sagemaker_backend.ports import Usage
from cloudtune.sagemaker_backend.quota_names import Refusal, parse_refusal, quota_name

# After a refusal. Instances count for minutes after their job has ended, and others' jobs end some time.
_REFUSED_S, _MAX_REFUSED_S = 15.0, 120.0
# After a job that found no instance; and how long until that is forgotten.
_NO_CAPACITY_S, _MAX_NO_CAPACITY_S = 60.0, 900.0
_CAPACITY_MEMORY_S = 2 * _MAX_NO_CAPACITY_S
#: Mostly only the end of a job of our own can help, of which we hear anyway.
_LOOK_AGAIN_S = 30.0
#: A quota that was heard of so long ago may have been raised: the service is asked, by way of a job.
_DOUBT_S = 900.0


@dataclass(frozen=True)
class Grant:
    """Create it on this type. ``warm``: an instance that is kept warm waits for it."""

    instance_type: str
    warm: bool = False


@dataclass(frozen=True)
class Wait:
    """Ask again ``until`` then, or when a job has ended. ``reason`` for people."""

    until: float
    reason: str


@dataclass(frozen=True)
class _Instances:
    """Of one job, running or kept warm (``until`` then)."""

    instance_type: str
    count: int
    until: float = float("inf")


@dataclass
class _Pause:
    """A type that is left alone for a while, ever longer."""

    until: float = float("-inf")
    failures: int = 0
    since: float = float("-inf")
    refusal: Refusal | None = None


class Admission:
    """Of one experiment.

    Jobs that are starting, running or stopping count for the quota, and so do instances kept warm. What has been
    released counts on the service's side for minutes: a refusal then is no surprise, and is waited out. A quota
    may be raised meanwhile, or come back: where it is in the way, it is asked for again now and then.

    Args:
        instance_types: In the order of preference.
        instance_count: Of a job that does not say otherwise.
        usage: Whose quota counts.
        keep_alive: Whether jobs leave instances warm; those alone get warm ones.
        rng: Draws how long to wait, so that several tuners do not ask in step.
    """

    def __init__(
        self,
        instance_types: Sequence[str],
        instance_count: int,
        usage: Usage,
        keep_alive: bool,
        rng: random.Random,
    ) -> None:
        self._types = tuple(instance_types)
        self._count = instance_count
        self._usage = usage
        self._keep_alive = keep_alive
        self._rng = rng
        self._limits: dict[tuple[str, Usage], int] = {}
        #: By type: when its limit, where that is in the way, is doubted.
        self._doubts: dict[str, float] = {}
        self._live: dict[str, _Instances] = {}
        self._warm: dict[str, _Instances] = {}
        #: The job whose warm instances were granted last: if that is refused, they are not there.
        self._promised: str | None = None
        self._refusals: dict[str, _Pause] = {}
        self._capacity: dict[str, _Pause] = {}

    # -- what is learnt

    def know_quota(self, instance_type: str, usage: Usage, limit: int) -> None:
        """A limit, in instances; a later one replaces it."""
        self._limits[instance_type, usage] = limit

    def refused(self, instance_type: str, message: str, now: float) -> None:
        """``ResourceLimitExceeded`` with its ``message``, which may tell limit and utilization."""
        pause = self._refusals.setdefault(instance_type, _Pause())
        limit_s = min(_MAX_REFUSED_S, _REFUSED_S * 2.0 ** min(pause.failures, 10))
        pause.until = now + limit_s * self._rng.uniform(0.5, 1.0)
        pause.failures += 1
        self._doubts[instance_type] = now + _DOUBT_S
        pause.refusal = parse_refusal(message)
        if pause.refusal is not None:
            self.know_quota(pause.refusal.instance_type, pause.refusal.usage, pause.refusal.limit)
        if self._promised is not None:
            self._warm.pop(self._promised, None)
            self._promised = None

    def capacity_failed(self, instance_type: str, now: float) -> None:
        """A job found no instance of that type: the next one is preferred for a while."""
        pause = self._capacity.setdefault(instance_type, _Pause())
        if now < pause.until:
            return  # of several jobs that were waiting at the same time
        if now - pause.since > _CAPACITY_MEMORY_S:
            pause.failures = 0
        pause.until = now + min(_MAX_NO_CAPACITY_S, _NO_CAPACITY_S * 2.0 ** min(pause.failures, 10))
        pause.failures += 1
        pause.since = now

    # -- our own jobs

    def occupied(self, job: str, instance_type: str, count: int) -> None:
        """The job exists and has not ended. Said of the same job again, nothing happens."""
        if job in self._live:
            return
        self._live[job] = _Instances(instance_type, count)
        self._refusals.pop(instance_type, None)
        self._promised = None
        pool = self._pool(instance_type, count)
        if pool is not None:  # the service gives it away by itself
            del self._warm[pool]
        limit = self._limits.get((instance_type, self._usage))
        if limit is not None and self._used(instance_type) > limit:  # it was raised: how far, a refusal will tell
            del self._limits[instance_type, self._usage]
            self._doubts.pop(instance_type, None)

    def released(self, job: str, now: float, warm_until: float | None = None) -> None:
        """The job has ended, and its instances are kept warm until then, or not (any more). May be said again."""
        is_kept = self._keep_alive and warm_until is not None and warm_until > now
        live, pool = self._live.pop(job, None), self._warm.get(job)
        instances = live or pool
        if instances is None:  # its instances are another job's by now
            return
        if pool is None and not self._has_room_for_warm(instances):
            is_kept = False
        if is_kept and warm_until is not None:
            self._warm[job] = replace(instances, until=warm_until)
            return
        self._warm.pop(job, None)
        pause = self._refusals.get(instances.instance_type)
        if pause is not None:  # soon there may be room
            pause.until, pause.failures = min(pause.until, now + _REFUSED_S), 0

    def kept_warm(self, job: str, instance_type: str, count: int, until: float) -> None:
        """The job, of an earlier session, has left instances that are kept warm until then."""
        if job not in self._live:
            self._warm.setdefault(job, _Instances(instance_type, count, until))

    def is_warm(self, job: str) -> bool:
        """Whether the instances that the job has left still wait, as far as is known here."""
        return job in self._warm

    # -- what to do

    def choose(self, now: float, wanted_type: str | None = None, wanted_count: int | None = None) -> Grant | Wait:
        """Where the next job goes: on instances that are kept warm, else on the first type that has room.

        Args:
            wanted_type: The only type that will do; None: any.
            wanted_count: Instances of the job; None: as usual.
        """
        count = wanted_count or self._count
        types = (wanted_type,) if wanted_type else self._types
        self._warm = {job: pool for job, pool in self._warm.items() if pool.until > now}
        for instance_type in types:
            self._promised = self._pool(instance_type, count)
            if self._promised is not None:
                return Grant(instance_type, warm=True)
        waits = []
        for instance_type in types:
            wait = self._obstacle(instance_type, count, now)
            if wait is None:
                return Grant(instance_type)
            waits.append(wait)
        return Wait(min(wait.until for wait in waits), "; ".join(wait.reason for wait in waits))

    def is_hopeless(self, wanted_type: str | None = None, wanted_count: int | None = None) -> str | None:
        """Why no waiting can help a job (arguments as of :meth:`choose`), and what can; None if it may."""
        count = wanted_count or self._count
        types = (wanted_type,) if wanted_type else self._types
        if not all(self._is_too_large(instance_type, count) for instance_type in types):
            return None
        limits = ", ".join(
            f"{self._limits[instance_type, self._usage]} ({quota_name(instance_type, self._usage)!r})"
            for instance_type in types
        )
        return (
            f"A job needs {_instances(count)}, but this account's quota is {limits}: ask for more in the AWS "
            "console under Service Quotas, or name other instance types."
        )

    # -- inside

    def _pool(self, instance_type: str, count: int) -> str | None:
        """The job that has left such instances warm, the longest ago."""
        fitting = (
            job for job, pool in self._warm.items() if (pool.instance_type, pool.count) == (instance_type, count)
        )
        return next(fitting, None) if self._keep_alive else None

    def _has_room_for_warm(self, instances: _Instances) -> bool:
        """Beyond the quota for warm pools nothing is kept, and nothing said."""
        limit = self._limits.get((instances.instance_type, Usage.warm_pool))
        return limit is None or _total(self._warm, instances.instance_type) + instances.count <= limit

    def _used(self, instance_type: str) -> int:
        return _total(self._live, instance_type) + _total(self._warm, instance_type)

    def _is_too_large(self, instance_type: str, count: int) -> bool:
        limit = self._limits.get((instance_type, self._usage))
        return limit is not None and limit < count

    def _obstacle(self, instance_type: str, count: int, now: float) -> Wait | None:
        live, warm = _total(self._live, instance_type), _total(self._warm, instance_type)
        own = f"{live} by trials of this experiment" + (f", {warm} kept warm" if warm else "")
        limit = self._limits.get((instance_type, self._usage))
        if limit is not None and live + warm + count > limit:
            doubted_at = self._doubts.setdefault(instance_type, now + _DOUBT_S)
            if now < doubted_at:
                if limit < count:
                    return Wait(doubted_at, f"{instance_type}: the quota is {limit}, and it needs {count}")
                ends = [pool.until for pool in self._warm.values() if pool.instance_type == instance_type]
                until = min([now + _LOOK_AGAIN_S, doubted_at, *ends])
                return Wait(until, f"{instance_type}: the quota of {limit} is in use, {own}")
        refused = self._refusals.get(instance_type)
        if refused is not None and now < refused.until:
            said = refused.refusal
            used = f"{said.used} of {said.limit} instances are in use" if said else "the quota is in use"
            return Wait(refused.until, f"{instance_type}: {used}, {own}; released ones count for minutes")
        failed = self._capacity.get(instance_type)
        if failed is not None and now < failed.until:
            return Wait(failed.until, f"{instance_type}: AWS had no such instance {now - failed.since:.0f} s ago")
        return None


def _total(instances: dict[str, _Instances], instance_type: str) -> int:
    return sum(item.count for item in instances.values() if item.instance_type == instance_type)


def _instances(count: int) -> str:
    return "an instance" if count == 1 else f"{count} instances"
