"""What the backend asks of the cloud. :mod:`cloudtune.sagemaker_backend.aws_cloud` answers from AWS, and
:mod:`cloudtune.simulated_cloud` from a script on a virtual clock.

Each method is one try of few calls: it raises an :class:`~cloudtune.errors.AwsError` of the class that says what
may be done, and neither waits nor repeats: pacing and patience are the backend's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobStatus
from cloudtune.experiment.ports import ExperimentStore
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri
from cloudtune.sagemaker_backend.template import TrialTemplate


class Usage(StrEnum):
    """Quotas are counted apart by how an instance is used."""

    on_demand = "on_demand"
    spot = "spot"
    warm_pool = "warm_pool"


@dataclass(frozen=True)
class ReportObject:
    """One object of a job's reports, as listed. ``label`` as of :func:`cloudtune.names.trial_label`; ``run`` and
    ``segment`` as of :mod:`cloudtune.report_stream`."""

    label: str
    run: int
    segment: int
    size: int
    etag: str


@dataclass(frozen=True)
class LogPage:
    """Lines of a job's log, oldest first, and where to go on.

    Args:
        lines: Each with the number of the run (from 0) whose stream it is in.
        cursor: For the next call.
        at_end: Nothing more was there to be read at that moment.
    """

    lines: tuple[tuple[int, str], ...]
    cursor: str
    at_end: bool


class TrialJobs(Protocol):
    """The training jobs of one account and region."""

    def create(self, spec: TrainingJobSpec) -> None:
        """Creates the job.

        Raises:
            AlreadyExists: There is a job of that name.
            QuotaExceeded: With the service's words, which hold limit and utilization.
            SpecError, InvalidRequest: It would be, or was, refused for good.
        """
        ...

    def describe(self, name: str) -> JobStatus:
        """Raises ResourceNotFound if there is no such job."""
        ...

    def changed(self, name_contains: str, since: float | None) -> list[JobStatus]:
        """Jobs whose status has changed at or after ``since`` (seconds since the epoch, the service's clock), or
        all, in any order, as summaries. A job that is missing may only not be listed yet."""
        ...

    def stop(self, name: str) -> None:
        """Asks the job to end. One that has ended, or is ending, is no error."""
        ...

    def release_warm_pool(self, name: str) -> None:
        """Ends the warm pool that the ended job has left. One that is gone, or in use, is no error."""
        ...

    def quotas(self, instance_types: Sequence[str]) -> dict[tuple[str, Usage], int]:
        """Limits in instances, as far as they can be read."""
        ...

    def log_page(self, name: str, cursor: str | None) -> LogPage:
        """The next lines of what the job has printed; ``cursor`` of the page before, None to begin with."""
        ...


class TrialFiles(Protocol):
    """What one experiment's trials keep in S3."""

    def report_objects(self) -> list[ReportObject]:
        """All that there are; a call for each thousand."""
        ...

    def read_report(self, item: ReportObject, start: int) -> bytes:
        """The object from byte ``start`` on, as it is now. Raises ResourceNotFound."""
        ...

    def delete_reports(self, labels: Sequence[str]) -> None:
        """Removes the reports of these jobs; nothing there is no error."""
        ...

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> int | None:
        """The newest complete checkpoint of the source (none is no error) becomes the target's only one. Returns
        its level; None if there is none, or it has none."""
        ...

    def delete_checkpoints(self, trial_ids: Sequence[int]) -> None:
        """Removes all that these trials have stored; nothing there is no error."""
        ...


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks at the reports, and at the jobs."""

    reports_s: float
    jobs_s: float


class Cloud(Protocol):
    """Where jobs run."""

    @property
    def jobs(self) -> TrialJobs: ...

    @property
    def pace(self) -> Pace: ...

    def files(self, where: S3ExperimentPaths) -> TrialFiles: ...

    def where(self, tuner_name: str) -> S3ExperimentPaths:
        """The experiment's place."""
        ...

    def make_room(self, jobs: int) -> None:
        """So many jobs are going to run at a time."""
        ...

    def prepare(self, template: TrialTemplate, where: S3ExperimentPaths) -> Prepared:
        """Finds what the template leaves open, and brings the code to where jobs can read it."""
        ...

    def make_store(self, paths: ExperimentPaths, where: S3ExperimentPaths) -> ExperimentStore:
        """Keeps the journal."""
        ...


@dataclass(frozen=True)
class Prepared:
    """What every job of a session has in common."""

    template: TrialTemplate
    code: S3Uri
    region: str
