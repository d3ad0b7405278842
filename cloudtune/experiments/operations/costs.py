"""What an experiment has cost: as its tuner has recorded it, and of other jobs as the service tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import ResourceNotFound
from cloudtune.experiment.events import CostMeasured
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.subject import Subject
from cloudtune.experiments.s3_experiments import Progress
from cloudtune.instance_info import prices_date
from cloudtune.names import parse_trial_job_name
from cloudtune.sagemaker_backend.billing import TUNER_INSTANCE, Bill, Rate, job_bill, warm_pool_bill, warm_pool_of
from cloudtune.sagemaker_backend.own_instance import instance_source


@dataclass(frozen=True)
class CostRow:
    """One thing that is paid for.

    Args:
        source: A job's name, ``warm pool of NAME``, or what else the tuner has recorded.
        trial_id, attempt: What it was for; None: not for one trial.
        instance: ``ml.m5.large``, ``2 x ml.m5.large (spot)``; empty if that is not known.
        usd_per_hour: On demand, of all its instances; None if not known.
        billed_s: Seconds, of each instance.
        usd: None if the price is not known.
        final: As billed; otherwise an estimate so far.
    """

    source: str
    trial_id: int | None
    attempt: int | None
    instance: str
    usd_per_hour: float | None
    billed_s: float
    usd: float | None
    final: bool


@dataclass(frozen=True)
class CostReport:
    """All rows of one experiment: its tuner's, then the trials'."""

    name: str
    rows: Sequence[CostRow]
    #: From when the prices are.
    prices: str

    @property
    def usd(self) -> float:
        """Those whose price is known."""
        return sum(row.usd or 0.0 for row in self.rows)

    @property
    def estimated_usd(self) -> float:
        """The part of it that is not final."""
        return sum(row.usd or 0.0 for row in self.rows if not row.final)

    @property
    def num_unknown(self) -> int:
        """Rows without a known price."""
        return sum(row.usd is None for row in self.rows)


def cost_report(subject: Subject, on_progress: Progress | None = None) -> CostReport:
    """What the journal has for good is taken from there; every other job of the experiment is described, a call
    each. One more call tells on what instance the others ran.

    Args:
        on_progress: Told how many of these jobs have been asked for, and of how many.

    Raises:
        AwsError: A job could not be described.
    """
    account = subject.access.account if subject.has_jobs else None
    recorded = subject.costs()
    if subject.jobs.tuner:
        # The same is told, to the second, by the jobs that ran the tuner.
        recorded = _without_tuner_instances(recorded)
    final = {source for source, cost in recorded.items() if cost.final}
    asked: list[CostRow] = []
    if account is not None:
        jobs = [*reversed(subject.jobs.tuner), *(job.status for job in subject.jobs.trials)]
        wanted = [job for job in jobs if job.name not in final or _pool_may_be_unknown(job, final)]
        for number, job in enumerate(wanted, 1):
            asked += _asked(account, subject.name, job.name)
            if on_progress is not None:
                on_progress(number, len(wanted))
    told = {row.source for row in asked}
    kept = [cost for source, cost in recorded.items() if cost.final or source not in told]
    rows = [row for row in asked if row.source not in final]
    rows += _recorded_rows(subject, kept)
    region = account.session.region if account is not None else None
    return CostReport(subject.name, sorted(rows, key=_place), prices_date(region))


def cost_so_far(subject: Subject) -> float | None:
    """US dollars, without asking for anything that is not known already; None if nothing is paid for."""
    recorded = subject.costs()
    tuner = next(iter(subject.jobs.tuner), None)
    if tuner is not None and tuner.instance_type and subject.access.account is not None:
        recorded = _without_instance_of(tuner, recorded)
        usd = _rows_of(subject.access.account, subject.name, tuner)[0].usd or 0.0
        return usd + sum(cost.usd for cost in recorded.values())
    if recorded:
        return sum(cost.usd for cost in recorded.values())
    status = subject.result.status if subject.result is not None else None
    return status.cost if status is not None and status.cost > 0 else None


def _without_tuner_instances(recorded: dict[str, CostMeasured]) -> dict[str, CostMeasured]:
    return {source: cost for source, cost in recorded.items() if not source.startswith(TUNER_INSTANCE)}


def _without_instance_of(tuner: JobStatus, recorded: dict[str, CostMeasured]) -> dict[str, CostMeasured]:
    """What earlier jobs of the tuner have cost is told by nobody else."""
    own = instance_source(tuner.created or 0.0)
    others = (source for source in recorded if not source.startswith(TUNER_INSTANCE) or source < own)
    return {source: recorded[source] for source in others}


def _pool_may_be_unknown(job: JobStatus, final: set[str]) -> bool:
    return job.warm_pool_status not in ("", "InUse") and warm_pool_of(job.name) not in final


def _asked(account: Account, name: str, job: str) -> list[CostRow]:
    try:
        return _rows_of(account, name, account.jobs.describe(job))
    except ResourceNotFound:
        return []  # its record has just been deleted, and with it what it has cost


def _rows_of(account: Account, name: str, status: JobStatus) -> list[CostRow]:
    """Of a job that was described, and of its warm pool."""
    now = account.clock.now()
    count, spot = status.instance_count or 1, bool(status.spot)
    known = Rate.of(status.instance_type, count, spot, account.session.region)
    rate = known or Rate(0.0, count, spot)  # without a price the seconds are still to be told
    key = parse_trial_job_name(name, status.name)
    trial_id, attempt = (None, None) if key is None else key[:2]

    def row(source: str, bill: Bill) -> CostRow:
        price = None if known is None else known.usd_per_hour * count
        usd = None if known is None else bill.usd
        return CostRow(source, trial_id, attempt, _instance(status), price, bill.billed_s, usd, bill.final)

    rows = [row(status.name, job_bill(status, rate, now))]
    pool = warm_pool_bill(status, rate, now)
    if pool is not None and pool.billed_s > 0:
        rows.append(row(warm_pool_of(status.name), pool))
    return rows


def _instance(status: JobStatus) -> str:
    count = status.instance_count or 1
    times, spot = "" if count == 1 else f"{count} x ", " (spot)" if status.spot else ""
    return f"{times}{status.instance_type}{spot}"


def _recorded_rows(subject: Subject, costs: Sequence[CostMeasured]) -> list[CostRow]:
    sample = _sample(subject, costs)
    rows = []
    for cost in costs:
        key = parse_trial_job_name(subject.name, cost.source.removeprefix(warm_pool_of("")))
        price = cost.usd * 3600 / cost.billed_s if cost.billed_s > 0 else None
        # Instance types may differ from trial to trial: what cost the same was the same.
        is_same = sample is not None and math.isclose(price or 0.0, sample.usd_per_hour or -1.0, rel_tol=1e-6)
        instance = sample.instance if is_same and sample is not None else ""
        attempt = None if key is None else key[1]
        rows.append(
            CostRow(cost.source, cost.trial_id, attempt, instance, price, cost.billed_s, cost.usd, cost.final)
        )
    return rows


def _sample(subject: Subject, costs: Sequence[CostMeasured]) -> CostRow | None:
    """One of the jobs that the service still knows, described."""
    account, sources = subject.access.account if subject.has_jobs else None, {cost.source for cost in costs}
    job = next((job.status.name for job in reversed(subject.jobs.trials) if job.status.name in sources), None)
    if account is None or job is None:
        return None
    return next(iter(_asked(account, subject.name, job)), None)


def _place(row: CostRow) -> tuple[bool, int, int, str]:
    """The tuner first."""
    return (
        row.trial_id is not None,
        -1 if row.trial_id is None else row.trial_id,
        -1 if row.attempt is None else row.attempt,
        row.source,
    )
