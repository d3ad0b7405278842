"""The experiment that somebody wants to operate on, and where its parts are."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import CloudtuneError, NotFound
from cloudtune.experiment.events import CostMeasured, Event, ExperimentEnded
from cloudtune.experiment_record import read_metadata
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.loading import load_experiment, load_experiments
from cloudtune.experiments.operations.account import Access, Account
from cloudtune.experiments.operations.jobs import ExperimentJobs, jobs_of
from cloudtune.experiments.s3_experiments import Located, came_from_s3
from cloudtune.paths import S3_BASE, ExperimentPaths, S3ExperimentPaths, S3Uri, experiments_root
from cloudtune.remote import job_layout as layout
from cloudtune.stores.file import FileStore

_log = logging.getLogger(__name__)

#: Of experiments that are kept under a prefix of their own.
_OWN_PLACE = "One with an s3_path of its own is known on the machine that tunes it alone."
#: Backends whose trials are processes beside the tuner.
_WITHOUT_JOBS = ("LocalBackend", "PythonBackend", "SimulatorBackend")


@dataclass(frozen=True)
class Subject:
    """One experiment.

    Args:
        name: Of the experiment.
        tag: That it was launched with.
        result: What is known of it; None if a job that is to tune it has not written anything yet.
        access: To the account.
    """

    name: str
    tag: str | None
    result: ExperimentResult | None
    access: Access

    @property
    def paths(self) -> ExperimentPaths:
        """On this machine, whether it is there or not."""
        if self.result is not None:
            return ExperimentPaths(self.result.path)
        root = experiments_root()
        return ExperimentPaths((root / self.tag if self.tag else root) / self.name)

    @property
    def is_from_here(self) -> bool:
        """Whether it was tuned on this machine; otherwise what is here is a copy."""
        return self.result is not None and not came_from_s3(self.result.path)

    @property
    def backend(self) -> str:
        return str(self.result.metadata.get("backend", "")) if self.result is not None else ""

    @property
    def has_jobs(self) -> bool:
        """Whether jobs may belong to it: not to what was tuned here with trials that are processes."""
        return not (self.is_from_here and self.backend in _WITHOUT_JOBS)

    @cached_property
    def jobs(self) -> ExperimentJobs:
        """As of the first look."""
        return self.look_for_jobs()

    def look_for_jobs(self) -> ExperimentJobs:
        """As of now."""
        if not self.has_jobs or self.access.account is None:
            return ExperimentJobs()
        return jobs_of(self.name, self.access.account.jobs)

    @cached_property
    def located(self) -> Located | None:
        """Where it lies in S3; None if it does not."""
        account = self.access.account if self.has_jobs else None
        if account is None:
            return None
        if self.is_from_here:
            place = place_of(self.paths)
            return account.experiments.find(self.name, self.tag) if place is None else Located(place, self.tag)
        return Located(S3ExperimentPaths.of(account.bucket, self.name, self.tag), self.tag)

    @cached_property
    def events(self) -> list[Event]:
        """The journal, as far as it is here."""
        return FileStore(self.paths).read()

    @property
    def ended(self) -> ExperimentEnded | None:
        """Whether the experiment is over, and how."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, ExperimentEnded) else None

    def costs(self) -> dict[str, CostMeasured]:
        """What the tuner has recorded, the newest of each source."""
        return {event.source: event for event in self.events if isinstance(event, CostMeasured)}


def place_of(paths: ExperimentPaths) -> S3ExperimentPaths | None:
    """Where an experiment lies in S3 that was given a place of its own; None: where all are, or not known here."""
    s3_path = (read_metadata(paths.dir) or {}).get("s3_path")
    return None if not isinstance(s3_path, str) else S3ExperimentPaths(S3Uri.parse(s3_path) / paths.name)


def find_subjects(name: str | None, tag: str | None, access: Access) -> list[Subject]:
    """The experiment ``name``, or all with ``tag``; copies from S3 are brought up to date before.

    Raises:
        NotFound: Naming similar names.
    """
    if name is not None:
        return [find_subject(name, tag, access)]
    found = load_experiments(tag or "", session=access.given_session)
    return [_of(result, access, tag) for result in found]


def find_subject(name: str, tag: str | None, access: Access) -> Subject:
    """Raises NotFound, naming similar names: of experiments and, if it has written nothing yet, of its job."""
    try:
        return _of(load_experiment(name, experiment_name=tag, session=access.given_session), access, tag)
    except NotFound as error:
        if access.account is None:
            raise
        launched = jobs_of(name, access.account.jobs)
        if launched.tuner:
            _say_if_elsewhere(name, launched.tuner[0], access.account)
            return Subject(name, tag, None, access)
        if tag is None and _is_study(name, access.account):
            hint = f"Write --tag {name}; 'cloudtune list --tag {name}' lists its experiments."
            raise NotFound(f"{name!r} is a study, not an experiment.", hint) from error
        if "Similar names" in error.hint:
            raise
        near = difflib.get_close_matches(name, _names_of_jobs(access), n=3, cutoff=0.6)
        if near:
            raise NotFound(error.message, f"Similar names of jobs that run: {', '.join(near)}.") from error
        raise NotFound(error.message, f"{error.hint} {_OWN_PLACE}") from error


def _is_study(name: str, account: Account) -> bool:
    inside = [experiment.name for experiment in account.experiments.experiments(name)]
    return bool(inside) and "state" not in inside  # else it is an experiment without a tag


def _say_if_elsewhere(name: str, tuner: JobStatus, account: Account) -> None:
    """Its job alone knows where an experiment is kept that was given a place of its own (``s3_path``)."""
    state = S3Uri.parse(tuner.environment.get(layout.ENV_STATE_URI) or f"s3://{account.bucket}/{S3_BASE}/{name}")
    if state.bucket != account.bucket or not state.key.startswith(f"{S3_BASE}/"):
        folder = experiments_root() / name
        _log.warning(
            "%s is kept in %s, where this command does not look: 'aws s3 sync %s %s' brings here what there is.",
            *(name, state, state, folder),
        )


def _names_of_jobs(access: Access) -> Sequence[str]:
    if access.account is None:
        return ()
    try:
        return [status.name for status in access.account.jobs.in_progress()]
    except CloudtuneError as error:
        _log.debug("No jobs to compare with: %s", error)
        return ()


def _of(result: ExperimentResult, access: Access, tag: str | None) -> Subject:
    parent = result.path.parent
    known = parent.name if parent != experiments_root() else None
    return Subject(result.name, known or (tag if came_from_s3(result.path) else None), result, access)
