"""What a training job has cost, from what the service says of it: pure.

Billed is the time from the beginning of the download until the end, of each instance; not the wait for instances.
For a spot job, the service's billable seconds are fewer than those of training: they contain the saving, and count
at the on-demand price. A warm pool is paid for until it ends or is used again, at the on-demand price as well.
Volumes, requests and transfer are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloudtune.aws.cost import SPOT_SHARE
from cloudtune.aws.job_status import JobStatus
from cloudtune.experiment.ports import CostSeen
from cloudtune.instance_info import price_per_hour

#: Secondary statuses of a job that has no instances yet.
_WAITING = ("", "Pending", "Starting", "LaunchingMLInstances", "PreparingTrainingStack")
#: What is paid for by the instance on which the tuner runs.
TUNER_INSTANCE = "the tuner's own instance"


@dataclass(frozen=True)
class Rate:
    """US dollars per hour on demand of one instance, how many there are, and whether they are spot."""

    usd_per_hour: float
    instance_count: int = 1
    spot: bool = False

    @classmethod
    def of(cls, instance_type: str, instance_count: int, spot: bool, region: str) -> Rate | None:
        """None if the price is not known."""
        price = price_per_hour(instance_type, region)
        return None if price is None else cls(price, instance_count, spot)

    def usd(self, billed_s: float) -> float:
        return billed_s * self.instance_count * self.usd_per_hour / 3600


@dataclass(frozen=True)
class Bill:
    """What has to be paid: US dollars, billed seconds of each instance; ``final``, or an estimate until now."""

    usd: float
    billed_s: float
    final: bool

    def fact(self, source: str, trial_id: int | None = None) -> CostSeen:
        return CostSeen(source, self.usd, self.billed_s, self.final, trial_id)


def warm_pool_of(job: str) -> str:
    """The name of what is paid for after the end of ``job``."""
    return f"warm pool of {job}"


def job_bill(status: JobStatus, rate: Rate, now: float, running_since: float | None = None) -> Bill:
    """Of the job without its warm pool.

    Args:
        status: Only from an answer of Describe the bill becomes final: a listing lacks the seconds.
        rate: Of its instances.
        now: Seconds since the epoch.
        running_since: When it was first seen with instances, if that is known and ``status.started`` is not.
    """
    if status.state.is_final and status.billable_s is not None:
        return Bill(rate.usd(status.billable_s), status.billable_s, True)
    until = now if status.ended is None else status.ended
    since = status.started or running_since
    was_described = bool(status.instance_type)
    if since is None:
        # In a listing nobody says when it began to run.
        waits = was_described or (status.phase in _WAITING and not status.state.is_final)
        since = until if waits or status.created is None else status.created
    seconds = max(0.0, until - since) * (SPOT_SHARE if rate.spot else 1.0)
    # Of a job that has failed the service may tell no seconds, also later.
    return Bill(rate.usd(seconds), seconds, status.state.is_final and was_described)


def warm_pool_bill(status: JobStatus, rate: Rate, now: float) -> Bill | None:
    """Of the instances that an ended job keeps warm; None if it keeps none (yet)."""
    if status.warm_pool_status in ("", "InUse"):
        return None
    if status.warm_pool_status != "Available":
        seconds = status.retained_billable_s or 0
        return Bill(rate.usd(seconds), seconds, True)
    idle = max(0.0, now - (now if status.ended is None else status.ended))
    return Bill(rate.usd(idle), idle, False)


def instance_bill(rate: Rate, since: float, now: float) -> Bill:
    """Of an instance that runs since ``since`` for as long as somebody asks, such as the tuner's own."""
    seconds = max(0.0, now - since) * (SPOT_SHARE if rate.spot else 1.0)
    return Bill(rate.usd(seconds), seconds, False)
