"""What the jobs of trials cost, told as it grows and for good when they have ended."""

from __future__ import annotations

from dataclasses import replace

from cloudtune import names
from cloudtune.errors import ResourceNotFound
from cloudtune.experiment.ports import CostSeen
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.billing import Rate, job_bill
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.patience import Patience, each_in_turn
from cloudtune.sagemaker_backend.trial_run import TrialRun

_INTERVAL_S = 30.0


class Meter:
    """Reads the bills of the runs, and of jobs that nobody wanted."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._due = 0.0
        self._strays: dict[str, Patience] = {}
        self._looking = Activity("look at jobs that nobody wants", desk.pace.jobs_s)

    def follow(self, job: str) -> None:
        """It has no run, and was asked to stop: what it has cost is told once it has ended."""
        self._strays[job] = Patience()

    def step(self, now: float) -> None:
        """Estimates for what runs, the tuner's own instance included, every half minute."""
        if self._strays and self._looking.is_due(now):
            patience = dict(self._strays)
            self._looking.attempt(
                now, lambda: each_in_turn(patience, patience.__getitem__, now, lambda job: self._look(job, now))
            )
        if now >= self._due:
            self._due = now + _INTERVAL_S
            self._estimate(now)

    def _estimate(self, now: float) -> None:
        if self._desk.own_instance is not None:
            self._desk.outbox.cost(self._desk.own_instance.cost(now))
        for run in self._desk.runs.values():
            if run.is_live and (cost := self._cost(run, now)) is not None:
                self._desk.outbox.cost(cost)

    def final(self, run: TrialRun) -> tuple[CostSeen, ...]:
        """Of a run whose job has ended, or is gone: all that will ever be known. Nothing without a price."""
        cost = self._cost(run, self._desk.clock.now())
        return () if cost is None else (replace(cost, final=True),)

    def closed(self, run: TrialRun) -> None:
        """The run goes on with another job."""
        for cost in self.final(run):
            if cost.usd > 0:
                self._desk.outbox.cost(cost)

    def _look(self, job: str, now: float) -> bool:
        """At a stray."""
        if not self._desk.describe_budget.try_take():
            return False
        try:
            status = self._desk.jobs.describe(job)
        except ResourceNotFound:
            del self._strays[job]
            return True
        if not status.state.is_final:
            self._strays[job].failed(now)
            return False
        del self._strays[job]
        count, region = status.instance_count or 1, self._desk.place.region
        rate = Rate.of(status.instance_type, count, bool(status.spot), region)
        key = names.parse_trial_job_name(self._desk.place.tuner_name, job)
        if rate is not None and key is not None:
            self._desk.outbox.cost(job_bill(status, rate, now).fact(job, key[0]))
        return True

    def _cost(self, run: TrialRun, now: float) -> CostSeen | None:
        spec = self._desk.template.spec
        rate = Rate.of(run.instance_type, run.instance_count, spec.spot, self._desk.place.region)
        if rate is None or run.status is None:
            return None
        bill = job_bill(run.status, rate, now, running_since=run.reports.begun)
        return bill.fact(run.job, run.trial.trial_id)
