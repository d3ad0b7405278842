"""What the jobs of trials cost, told as it grows and for good when they have ended."""

from __future__ import annotations

from dataclasses import replace

from cloudtune.experiment.ports import CostSeen
from cloudtune.sagemaker_backend.billing import Rate, job_bill
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.trial_run import TrialRun

_INTERVAL_S = 30.0


class Meter:
    """Reads the bills of the runs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._due = 0.0

    def step(self, now: float) -> None:
        """Estimates for what runs, the tuner's own instance included, every half minute."""
        if now < self._due:
            return
        self._due = now + _INTERVAL_S
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

    def _cost(self, run: TrialRun, now: float) -> CostSeen | None:
        spec = self._desk.template.spec
        rate = Rate.of(run.instance_type, run.instance_count, spec.spot, self._desk.place.region)
        if rate is None or run.status is None:
            return None
        bill = job_bill(run.status, rate, now, running_since=run.reports.begun)
        return bill.fact(run.job, run.trial.trial_id)
