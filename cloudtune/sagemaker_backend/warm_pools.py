"""Instances that jobs have left warm: what they cost while they wait, and their release when nobody will come."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudtune import names
from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import ResourceNotFound
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.billing import Rate, warm_pool_bill, warm_pool_of
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.patience import Patience, each_in_turn
from cloudtune.sagemaker_backend.trial_run import TrialRun

#: What they have cost so far is told this often, seconds.
_INTERVAL_S = 30.0
#: The service may take so long to end a pool that nobody has used, and to tell of it, seconds.
_GRACE_S, _GIVE_UP_S = 30.0, 900.0
#: As the service calls a pool that waits.
_WAITS = "Available"


@dataclass
class _Pool:
    """What the job has left, and until when it is kept, seconds on the tuner's clock."""

    status: JobStatus
    until: float
    looking: Patience = field(default_factory=Patience)
    releasing: Patience = field(default_factory=Patience)


class WarmPools:
    """Of one experiment."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._keep_alive_s = desk.template.spec.keep_alive_s or 0
        self._looking = Activity("look at warm pools", desk.pace.jobs_s)
        self._releasing = Activity("release warm pools")
        self._pools: dict[str, _Pool] = {}
        self._unsettled = set(desk.unsettled)
        self._tell_at = 0.0

    def kept_until(self, run: TrialRun) -> float | None:
        """Until when the instances of an ended job are kept warm; None: they are not. Before the service has told
        all of the end, it is taken for granted that they are."""
        if not self._keep_alive_s or run.terminal_at is None:
            return None
        if run.has_details and (run.status is None or run.status.warm_pool_status != _WAITS):
            return None
        return run.terminal_at + self._keep_alive_s

    def heard(self, status: JobStatus, now: float) -> None:
        """The service says that of a job of the experiment: perhaps it has left instances warm, also in an earlier
        session."""
        if not self._keep_alive_s or not status.warm_pool_status or not status.state.is_final:
            return
        if names.parse_trial_job_name(self._desk.place.tuner_name, status.name) is None:
            return
        known = self._pools.get(status.name)
        if known is not None and status.warm_pool_status != known.status.warm_pool_status:
            known.until = min(known.until, now - _GRACE_S)  # something has become of it
        elif known is None:
            until = (status.ended or now) + self._keep_alive_s if status.warm_pool_status == _WAITS else now
            is_unsettled = warm_pool_of(status.name) in self._unsettled
            if until > now or is_unsettled:  # else it is over, and its cost is known
                self._unsettled.discard(warm_pool_of(status.name))
                self._pools[status.name] = _Pool(status, until)

    def ended(self, run: TrialRun) -> None:
        """All is known of the end of the run's job."""
        if self._keep_alive_s and run.status is not None and run.status.warm_pool_status:
            self._pools[run.job] = _Pool(run.status, (run.terminal_at or 0.0) + self._keep_alive_s)

    def step(self, now: float) -> None:
        due = [job for job, pool in self._pools.items() if self._is_to_be_looked_at(job, pool, now)]
        if due and self._looking.is_due(now):
            patience = {job: self._pools[job].looking for job in due}
            self._looking.attempt(
                now, lambda: each_in_turn(due, patience.__getitem__, now, lambda job: self._look(job, now))
            )
        if now >= self._tell_at:
            self._tell_at = now + _INTERVAL_S
            for job, pool in self._pools.items():
                if self._desk.admission.is_warm(job):
                    self._tell(job, pool.status, now)

    def release(self, now: float) -> int:
        """Nobody will use them: those that wait are ended. Returns how many could not be asked yet. What the last
        seconds cost is told by no one: the tuner has ended by then."""
        waiting = [job for job, pool in self._pools.items() if pool.until > now]
        if waiting and self._releasing.is_due(now):
            patience = {job: self._pools[job].releasing for job in waiting}
            self._releasing.attempt(now, lambda: each_in_turn(waiting, patience.__getitem__, now, self._release))
        return sum(1 for job in waiting if job in self._pools)

    # -- inside

    def _is_to_be_looked_at(self, job: str, pool: _Pool, now: float) -> bool:
        """Whether something has become of it, as it seems; or too little is known of it."""
        is_over = not self._desk.admission.is_warm(job) or now >= pool.until + _GRACE_S
        return is_over or not pool.status.instance_type

    def _look(self, job: str, now: float) -> bool:
        if not self._desk.describe_budget.try_take():
            return False
        pool = self._pools[job]
        is_new = not pool.status.instance_type  # else it was known here, and somebody may have taken it
        try:
            status = self._desk.jobs.describe(job)
        except ResourceNotFound:
            del self._pools[job]
            return True
        if not status.state.is_final and now < pool.until + _GIVE_UP_S:  # older than what we know
            pool.looking.failed(now)
            return False
        pool.status = status
        if status.warm_pool_status == _WAITS and now < pool.until + _GIVE_UP_S:
            if is_new and pool.until > now:
                kind, count = status.instance_type, status.instance_count or 1
                self._desk.admission.kept_warm(job, kind, count, pool.until)
            pool.looking.failed(now)
            return False
        self._tell(job, pool.status, now)
        del self._pools[job]
        return True

    def _tell(self, job: str, status: JobStatus, now: float) -> None:
        rate = Rate.of(status.instance_type, status.instance_count or 1, False, self._desk.place.region)
        bill = None if rate is None else warm_pool_bill(status, rate, now)
        if bill is not None and bill.billed_s > 0:  # of no trial: it is the next one that gains
            self._desk.outbox.cost(bill.fact(warm_pool_of(job)))

    def _release(self, job: str) -> bool:
        if not self._desk.stop_budget.try_take():
            return False
        self._desk.jobs.release_warm_pool(job)
        del self._pools[job]
        return True
