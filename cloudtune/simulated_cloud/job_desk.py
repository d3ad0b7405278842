"""The control plane, as :class:`~cloudtune.sagemaker_backend.ports.TrialJobs` wants it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.faults.calls import Call
from cloudtune.emulator.faults.kinds import EmptyLogPage, LogLag
from cloudtune.emulator.faults.stale_reads import Readable, seen
from cloudtune.emulator.fleet.fleet import Fleet
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import AwsError, SpecError
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.sagemaker_backend.ports import LogPage, Usage
from cloudtune.simulated_cloud.clocks import EventClock
from cloudtune.simulated_cloud.machines import Machines
from cloudtune.simulated_cloud.requests import Requests
from cloudtune.simulated_cloud.trial_script import TrialOrder
from cloudtune.simulated_cloud.witness import Witness

T = TypeVar("T")
REGION = "us-east-1"
_PAGE = 100
_LOG_PAGE = 10_000
_TIMES = ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime")
_END_WARM_POOL = {"ResourceConfig": {"KeepAlivePeriodInSeconds": 0}}


class JobDesk:
    """All jobs of the account.

    Args:
        requests: Every call is one.
        table, fleet, quotas, machines: What answers.
        faults: Make reads stale.
        clock: The service's.
        witness: Sees what is created.
        quotas_readable: Whether Service Quotas tells.
    """

    def __init__(  # noqa: PLR0913  the parts of the service
        self,
        requests: Requests,
        table: JobTable,
        fleet: Fleet,
        quotas: Quotas,
        machines: Machines,
        faults: Faults,
        clock: EventClock,
        witness: Witness,
        quotas_readable: bool,
    ) -> None:
        self._requests = requests
        self._table = table
        self._fleet = fleet
        self._quotas = quotas
        self._machines = machines
        self._faults = faults
        self._clock = clock
        self._witness = witness
        self._quotas_readable = quotas_readable
        #: When each was last touched, by the service's clock; the last one last.
        self._touched: dict[TrainingJob, float] = {}
        #: As Describe and List tell them, of jobs that have not changed since.
        self._statuses: dict[TrainingJob, JobStatus] = {}
        self._summaries: dict[TrainingJob, JobStatus] = {}
        table.context.on_change = self._touch

    def create(self, spec: TrainingJobSpec) -> None:
        """See :meth:`TrialJobs.create`."""
        request = create_training_job_request(spec)
        validate_request(request)

        def effect() -> None:
            job = self._fleet.create(REGION, request)
            try:
                self._witness.created(TrialOrder.of(request), job)
            except SpecError:
                return  # somebody else's job, which fails when it begins

        doing = f"create training job {spec.name!r} (sagemaker:CreateTrainingJob)"
        self._requests.perform(Call("sagemaker", "CreateTrainingJob", spec.name), doing, effect)

    def describe(self, name: str) -> JobStatus:
        """See :meth:`TrialJobs.describe`."""

        def effect() -> JobStatus:
            job = self._table.get(REGION, name)
            shown = seen(self._faults, "DescribeTrainingJob", [job])[0]
            if shown is not job:
                return status_of(shown.view())
            if job not in self._statuses:
                self._statuses[job] = status_of(job.view())
            return self._statuses[job]

        return self._ask("DescribeTrainingJob", name, f"describe training job {name!r}", effect)

    def changed(self, name_contains: str, since: float | None) -> list[JobStatus]:
        """See :meth:`TrialJobs.changed`: a call for each hundred."""
        found = self._list(lambda: self._changed(name_contains, since))
        for _ in range(_PAGE, len(found), _PAGE):
            self._list(lambda: None)
        return found

    def stop(self, name: str) -> None:
        """See :meth:`TrialJobs.stop`."""

        def effect() -> None:
            job = self._table.get(REGION, name)
            if job.status.value == "InProgress":
                self._machines.stop(job)

        self._ask("StopTrainingJob", name, f"stop training job {name!r}", effect)

    def release_warm_pool(self, name: str) -> None:
        """See :meth:`TrialJobs.release_warm_pool`."""

        def effect() -> None:
            job = self._table.get(REGION, name)
            if job.warm_pool_status == "Available":
                self._fleet.update(job, _END_WARM_POOL)

        self._ask("UpdateTrainingJob", name, f"end the warm pool of {name!r}", effect)

    def quotas(self, instance_types: Sequence[str]) -> dict[tuple[str, Usage], int]:
        """See :meth:`TrialJobs.quotas`."""

        def effect() -> dict[tuple[str, Usage], int]:
            return {(name, usage): self._quotas.limit(name, usage) for name in instance_types for usage in Usage}

        if not self._quotas_readable:
            return {}
        try:
            return self._requests.perform(Call("servicequotas", "ListServiceQuotas"), "list quotas", effect)
        except AwsError:
            return {}

    def log_page(self, name: str, cursor: str | None) -> LogPage:
        """See :meth:`TrialJobs.log_page`."""

        def effect() -> LogPage:
            self._table.get(REGION, name)
            start = int(cursor or 0)
            lags = [armed.spec.lag_s for armed in self._faults.armed(LogLag) if armed.concerns(name)]
            then = self._clock.now() - max(lags, default=0.0)
            lines = [(run.run, line) for run in self._machines.runs(name) for line in run.log(then)]
            if len(lines) > start and self._empties(name, start):
                return LogPage((), str(start), at_end=False)
            end = min(len(lines), start + _LOG_PAGE)
            return LogPage(tuple(lines[start:end]), str(end), at_end=end == len(lines))

        return self._requests.perform(Call("logs", "GetLogEvents", name), f"read the log of {name!r}", effect)

    # -- inside

    def _ask(self, operation: str, name: str, doing: str, effect: Callable[[], T]) -> T:
        return self._requests.perform(
            Call("sagemaker", operation, name), f"{doing} (sagemaker:{operation})", effect
        )

    def _list(self, effect: Callable[[], T]) -> T:
        return self._ask("ListTrainingJobs", "", "list training jobs", effect)

    def _changed(self, name_contains: str, since: float | None) -> list[JobStatus]:
        jobs = [job for job in self._touched_since(since) if name_contains in job.name]
        found = map(self._summary, seen(self._faults, "ListTrainingJobs", jobs))
        return [item for item in found if since is None or (item.last_modified or 0.0) >= since]

    def _summary(self, job: Readable) -> JobStatus:
        if not isinstance(job, TrainingJob):  # as it was a while ago
            return status_of(job.summary())
        if job not in self._summaries:
            self._summaries[job] = status_of(job.summary())
        return self._summaries[job]

    def _touched_since(self, since: float | None) -> Iterable[TrainingJob]:
        """The newest first."""
        for job, when in reversed(self._touched.items()):
            if since is not None and when < since:
                return
            yield job

    def _touch(self, job: TrainingJob) -> None:
        self._touched.pop(job, None)
        self._touched[job] = self._clock.now()
        self._statuses.pop(job, None)
        self._summaries.pop(job, None)

    def _empties(self, name: str, start: int) -> bool:
        return any(
            armed.concerns(name) and armed.strikes(self._clock.now(), armed.spec.probability, "", name, str(start))
            for armed in self._faults.armed(EmptyLogPage)
        )


def status_of(document: JsonObject) -> JobStatus:
    """As a client reads it, which gets dates."""
    dates = {
        name: datetime.datetime.fromtimestamp(document[name], datetime.timezone.utc)
        for name in _TIMES
        if name in document
    }
    return JobStatus.of({**document, **dates})
