"""The training jobs of an experiment: those of its trials, and those that run its tuner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.constants import MAX_NAME_LENGTH
from cloudtune.errors import ResourceNotFound
from cloudtune.experiments.retries import MAX_RUNS
from cloudtune.names import parse_trial_job_name, retry_name, trial_job_suffix
from cloudtune.remote import job_layout as layout

#: What a name is cut to where it would be too long for the name of a trial's job or of a later tuner's.
_COMMON = MAX_NAME_LENGTH - 24
#: How the names of trials' jobs begin.
_LABEL = re.compile(r"\d+-\d+(r\d+)?(?=-)")


@dataclass(frozen=True)
class TrialJob:
    """One job of a trial. ``number`` counts the jobs of one attempt."""

    trial_id: int
    attempt: int
    number: int
    status: JobStatus

    @property
    def key(self) -> tuple[int, int, int]:
        return self.trial_id, self.attempt, self.number


@dataclass(frozen=True)
class ExperimentJobs:
    """All jobs of an experiment that the service still knows.

    Args:
        tuner: Those that run, or ran, its tuner, the newest first. The newest one is described; of the others the
            listing's summary is all there is.
        trials: By trial, attempt, and number.
    """

    tuner: Sequence[JobStatus] = ()
    trials: Sequence[TrialJob] = ()

    @property
    def running_tuner(self) -> JobStatus | None:
        return next((job for job in self.tuner if not job.state.is_final), None)

    @property
    def running_trials(self) -> list[TrialJob]:
        return [job for job in self.trials if not job.status.state.is_final]

    @property
    def running(self) -> list[JobStatus]:
        """The tuner's first."""
        tuner = [job for job in self.tuner if not job.state.is_final]
        return tuner + [job.status for job in self.running_trials]


def jobs_of(name: str, training_jobs: TrainingJobs) -> ExperimentJobs:
    """One listing; and the description of the newest job that seems to run the tuner, if there is any: the job
    that continues an experiment may be called like the first one of another."""
    listed = list(training_jobs.summaries(common_part(name)))
    return ExperimentJobs(_described(name, tuner_jobs(name, listed), training_jobs), trial_jobs(name, listed))


def common_part(name: str) -> str:
    """What the names of all jobs of an experiment contain."""
    return name if trial_job_suffix(name) == f"-{name}" else name[:_COMMON].rstrip("-")


def trial_jobs(name: str, listed: Iterable[JobStatus]) -> list[TrialJob]:
    """Those among ``listed`` that run trials of the experiment."""
    found = ((parse_trial_job_name(name, status.name), status) for status in listed)
    return sorted((TrialJob(*key, status) for key, status in found if key is not None), key=lambda job: job.key)


def tuner_job_names(name: str) -> list[str]:
    """Of the job that tunes the experiment, and of those that may have continued it."""
    return [retry_name(name, run) for run in range(1, MAX_RUNS + 1)]


def tuner_jobs(name: str, listed: Iterable[JobStatus]) -> list[JobStatus]:
    """Those among ``listed`` that are called like jobs of the experiment's tuner, the newest first."""
    order = {job: number for number, job in enumerate(tuner_job_names(name))}
    found = [status for status in listed if status.name in order]
    return sorted(found, key=lambda status: order[status.name], reverse=True)


def jobs_by_experiment(listed: Iterable[JobStatus], names: Iterable[str]) -> dict[str, ExperimentJobs]:
    """To which of the experiments ``names`` the jobs ``listed`` belong; nobody is asked, experiments without jobs
    are left out. A job that may be one experiment's first or continue another one is the first one's."""
    known = sorted(set(names))
    by_suffix = {trial_job_suffix(name): name for name in known}
    by_job: dict[str, str] = {}
    for run in range(1, MAX_RUNS + 1):
        for name in known:
            by_job.setdefault(retry_name(name, run), name)
    groups: dict[str, list[JobStatus]] = {}
    for status in listed:
        label = _LABEL.match(status.name)
        owner = by_suffix.get(status.name[label.end() :]) if label is not None else None
        owner = owner or by_job.get(status.name)
        if owner is not None:
            groups.setdefault(owner, []).append(status)
    return {name: ExperimentJobs(tuner_jobs(name, jobs), trial_jobs(name, jobs)) for name, jobs in groups.items()}


def _described(name: str, found: Sequence[JobStatus], training_jobs: TrainingJobs) -> list[JobStatus]:
    remaining = list(found)
    while remaining:
        try:
            newest = training_jobs.describe(remaining[0].name)
        except ResourceNotFound:  # its record has just been deleted
            remaining.pop(0)
            continue
        if newest.environment.get(layout.ENV_TUNER_NAME, name) == name:
            return [newest, *remaining[1:]]
        remaining.pop(0)
    return []
