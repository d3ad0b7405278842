"""How many instances of a type an account may use at once, for on-demand, spot and warm pool each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloudtune._compat import StrEnum
from cloudtune.emulator.fleet.instances import Cluster
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import ServiceError
from cloudtune.errors import SpecError


class QuotaKind(StrEnum):
    """What an instance is used for; each use of each instance type has a quota of its own."""

    on_demand = "on_demand"
    spot = "spot"
    warm_pool = "warm_pool"


#: How the service calls the quota of ``ml.x``: "ml.x for training job usage".
USAGE = {
    QuotaKind.on_demand: "training job usage",
    QuotaKind.spot: "spot training job usage",
    QuotaKind.warm_pool: "training warm pool usage",
}
#: Plenty, except for warm pools: there an account begins with none, as in the service.
_DEFAULT_LIMITS = {QuotaKind.on_demand: 10_000, QuotaKind.spot: 10_000, QuotaKind.warm_pool: 0}


@dataclass
class Claim:
    """Instances that count for a quota ``until`` some service time."""

    region: str
    kind: QuotaKind
    cluster: Cluster
    until: float = math.inf


class Quotas:
    """The limits, the same in each region, and what is used of them in each. To be read by any thread; whoever
    claims and releases holds the lock of the jobs.

    Args:
        clock: Claims run out by it.
    """

    def __init__(self, clock: ServiceClock) -> None:
        self._clock = clock
        self._limits: dict[tuple[str, QuotaKind], int] = {}
        self._defaults = dict(_DEFAULT_LIMITS)
        self._claims: list[Claim] = []

    def limit(self, instance_type: str, kind: str) -> int:
        """Instances that may be in use at once."""
        found = QuotaKind(kind)
        return self._limits.get((instance_type, found), self._defaults[found])

    def own_limit(self, instance_type: str, kind: str) -> int | None:
        """What :meth:`set_limit` sets; None: the type has no limit of its own."""
        found = QuotaKind(kind)
        return self._defaults[found] if instance_type == "*" else self._limits.get((instance_type, found))

    def set_limit(self, instance_type: str, kind: str, limit: int | None) -> None:
        """From now on; what is in use stays.

        Args:
            instance_type: ``*``: all types that have no limit of their own.
            kind: ``on_demand``, ``spot`` or ``warm_pool``.
            limit: Instances, 0 or more; None: the type has none of its own.

        Raises:
            SpecError: There is no such kind, or ``limit`` is negative.
        """
        if kind not in {str(known) for known in QuotaKind}:
            raise SpecError(f"There is no quota of kind {kind!r}.", f"Choose from: {', '.join(QuotaKind)}.")
        if limit is not None and limit < 0:
            raise SpecError(f"A quota of {limit} instances is out of range.", "Give 0 or more.")
        found = QuotaKind(kind)
        if instance_type == "*":
            self._defaults[found] = _DEFAULT_LIMITS[found] if limit is None else limit
        elif limit is None:
            self._limits.pop((instance_type, found), None)
        else:
            self._limits[instance_type, found] = limit

    def used(self, region: str, instance_type: str, kind: str) -> int:
        """Instances that count now."""
        now = self._clock.now()
        return sum(
            count
            for claim in self._claims
            if (claim.region, claim.kind) == (region, kind) and claim.until > now
            for name, count in claim.cluster
            if name == instance_type
        )

    def claim(self, region: str, kind: QuotaKind, cluster: Cluster) -> Claim:
        """Counts the instances from now on, all or none.

        Raises:
            ServiceError: ``ResourceLimitExceeded``, in the service's words.
        """
        wanted: dict[str, int] = {}
        for instance_type, count in cluster:
            wanted[instance_type] = wanted.get(instance_type, 0) + count
        for instance_type, count in wanted.items():
            limit, used = self.limit(instance_type, kind), self.used(region, instance_type, kind)
            if used + count > limit:
                raise ServiceError(
                    "ResourceLimitExceeded",
                    f"The account-level service limit '{instance_type} for {USAGE[kind]}' is {limit} Instances, "
                    f"with current utilization of {used} Instances and a request delta of {count} Instances. "
                    "Please use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas "
                    "is not available, contact AWS support to request an increase for this quota.",
                    rule="quota.exceeded",
                )
        claim, now = Claim(region, kind, cluster), self._clock.now()
        self._claims = [*(held for held in self._claims if held.until > now), claim]
        return claim

    def release(self, claim: Claim, after_s: float = 0.0) -> None:
        """The claim's instances count for another ``after_s`` service seconds."""
        claim.until = self._clock.now() + after_s
