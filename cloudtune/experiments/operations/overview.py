"""What runs now, here and in the account."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import CloudtuneError
from cloudtune.experiments.loading import list_experiments
from cloudtune.experiments.operations.account import Access, Account
from cloudtune.experiments.operations.jobs import jobs_by_experiment
from cloudtune.experiments.operations.local_tuner import tuner_here
from cloudtune.experiments.operations.subject import Subject, find_subject
from cloudtune.paths import ExperimentPaths

_log = logging.getLogger(__name__)


@dataclass
class Running:
    """An experiment of which something runs.

    Args:
        subject: Which.
        tuner: Where its tuner is, for people; empty if none is known.
        jobs: Of its trials.
    """

    subject: Subject
    tuner: str = ""
    jobs: list[JobStatus] = field(default_factory=list)


@dataclass
class Overview:
    """What runs.

    Args:
        experiments: With a tuner on this machine, or with jobs in the account.
        unknown: Jobs of no experiment that has written anything yet: just launched, or not ours.
    """

    experiments: list[Running]
    unknown: list[JobStatus] = field(default_factory=list)


def what_runs(access: Access) -> Overview:
    """Two listings of the account's running jobs (ten of them a call), one of what there is in S3, and what it
    takes to bring each of the experiments that run up to date."""
    here = {running.subject.name: running for running in _here(access)}
    if access.account is None:
        return Overview(list(here.values()))
    listed = access.account.jobs.in_progress()
    tags = _tags_of(listed, access.account, set(here))
    found = dict(here)
    unknown = {job.name: job for job in listed}
    for name, jobs in jobs_by_experiment(listed, tags).items():
        running = here.get(name) or _from_s3(name, tags[name], access)
        running.jobs = [job.status for job in jobs.trials]
        tuner = jobs.running_tuner
        if tuner is not None and not running.tuner:
            running.tuner = f"job {tuner.name} ({tuner.phase or tuner.state})"
        found[name] = running
        for job in jobs.running:
            unknown.pop(job.name, None)
    return Overview(list(found.values()), list(unknown.values()))


def _here(access: Access) -> list[Running]:
    found = []
    for result in list_experiments(lambda path: tuner_here(ExperimentPaths(Path(path).parent)) is not None):
        process = tuner_here(ExperimentPaths(result.path))
        if process is not None:
            found.append(Running(Subject(result.name, None, result, access), f"process {process.holder}"))
    return found


def _tags_of(listed: Sequence[JobStatus], account: Account, here: set[str]) -> Mapping[str, str | None]:
    """The experiments to which the jobs may belong, each with its tag."""
    if not listed:
        return {}
    folders = account.experiments.tags()
    known: dict[str, str | None] = dict.fromkeys(here)
    for folder in folders:
        if any(folder in job.name for job in listed):  # names that a launch makes begin with its tag
            inside = [experiment.name for experiment in account.experiments.experiments(folder)]
            if "state" not in inside:  # it is a tag; otherwise it is an experiment without one
                known |= dict.fromkeys(inside, folder)
    return {**dict.fromkeys(folders), **known}


def _from_s3(name: str, tag: str | None, access: Access) -> Running:
    try:
        return Running(find_subject(name, tag, access))
    except CloudtuneError as error:
        _log.debug("%s has no results yet: %s", name, error)
        return Running(Subject(name, tag, None, access))
