"""What experiments that nobody tunes have left behind, and what of it can go: looked at, nothing is done here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.objects import S3Object
from cloudtune.errors import NotFound, ResourceNotFound, StoreError
from cloudtune.experiment.events import ExperimentEnded, decode
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.inventory import (
    CHECKPOINTS,
    REPORTS,
    STATE,
    Stored,
    num_bytes,
    stored_experiments,
)
from cloudtune.experiments.operations.jobs import ExperimentJobs, jobs_by_experiment
from cloudtune.experiments.operations.local_tuner import tuner_here
from cloudtune.experiments.operations.subject import place_of
from cloudtune.experiments.operations.tuner_life import sign_in
from cloudtune.paths import ExperimentPaths, S3Uri, experiments_root, tag_prefix

#: US dollars a month for a gigabyte in S3 (standard class, us-east-1, first 50 TB), and from when that is.
S3_USD_PER_GB_MONTH, S3_PRICE_DATE = 0.023, "2025-07"
_DAY_S = 86400.0


@dataclass(frozen=True)
class Wanted:
    """What may go.

    Args:
        checkpoints: Checkpoints of experiments that are over.
        everything: All that such experiments keep, results included; of interrupted ones too if they are named, or
            older than ``older_than_s``.
        older_than_s: Only of experiments whose tuner has written nothing for so long, seconds.
    """

    checkpoints: bool = False
    everything: bool = False
    older_than_s: float | None = None


@dataclass(frozen=True)
class Leftovers:
    """What can go of one experiment.

    Args:
        stored: Which.
        state: ``over``, ``interrupted``; for people.
        jobs: That run and that no tuner watches.
        warm: Ended jobs whose instances are kept.
        objects: To be deleted, by the folder they are in.
    """

    stored: Stored
    state: str
    jobs: Sequence[JobStatus] = ()
    warm: Sequence[JobStatus] = ()
    objects: dict[str, list[S3Object]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.jobs or self.warm or self.all_objects)

    @property
    def all_objects(self) -> list[S3Object]:
        return [item for items in self.objects.values() for item in items]

    @property
    def num_bytes(self) -> int:
        return num_bytes(self.all_objects)


@dataclass(frozen=True)
class LeftAlone:
    """An experiment that is not touched, and why. ``is_tuned``: somebody tunes it, or may."""

    name: str
    reason: str
    is_tuned: bool = False


@dataclass(frozen=True)
class Plan:
    """What can go, and which experiments are left alone."""

    leftovers: Sequence[Leftovers]
    left_alone: Sequence[LeftAlone]

    @property
    def num_bytes(self) -> int:
        return sum(item.num_bytes for item in self.leftovers)

    @property
    def usd_per_month(self) -> float:
        """What it costs to keep these objects."""
        return self.num_bytes / 1e9 * S3_USD_PER_GB_MONTH


def plan(account: Account, name: str | None, tag: str | None, wanted: Wanted) -> Plan:
    """Looks at one experiment, those of a tag, or (without both) all of the account's bucket.

    Calls: a listing of the objects (a thousand each), two of the jobs that run (ten each), one of warm pools; and
    one or two small objects of each experiment.

    Raises:
        NotFound: There is no such experiment, or none with this tag.
    """
    stored = _look(account, name, tag)
    names = [item.name for item in stored]
    running = jobs_by_experiment(account.jobs.in_progress(), names)
    warm = jobs_by_experiment(account.jobs.warm_pools(), names)
    leftovers, left_alone = [], []
    for item in stored:
        jobs = running.get(item.name, ExperimentJobs())
        pools = [job for job in _all_jobs(warm.get(item.name)) if job.warm_pool_status == "Available"]
        reason = why_alive(account, item, jobs)
        if reason:
            left_alone.append(LeftAlone(item.name, reason, is_tuned=True))
            continue
        if _is_younger(account, item, wanted.older_than_s):
            left_alone.append(LeftAlone(item.name, "it is not that old"))
            continue
        is_over = _is_over(account, item)
        found = Leftovers(
            item,
            "over" if is_over else "interrupted",
            [job.status for job in jobs.running_trials],
            pools,
            _objects(item, wanted, is_over, is_named=name is not None),
        )
        if not found.is_empty:
            leftovers.append(found)
        elif not is_over:
            hint = f"'cloudtune clean {item.name} --everything' deletes that"
            left_alone.append(LeftAlone(item.name, f"it is interrupted, and keeps what 'resume' needs; {hint}"))
    return Plan(leftovers, left_alone)


def why_alive(account: Account, stored: Stored, jobs: ExperimentJobs) -> str:
    """Why the experiment is not to be touched: somebody tunes it, or may. Empty if nobody does."""
    if jobs.running_tuner is not None:
        return f"it is being tuned by job {jobs.running_tuner.name}"
    root = experiments_root()
    folders = [root / stored.name, *([root / stored.tag / stored.name] if stored.tag else [])]
    process = next(
        (found for folder in folders if (found := tuner_here(ExperimentPaths(folder))) is not None), None
    )
    if process is not None:
        return f"it is being tuned by process {process.holder}"
    written = stored.objects(STATE)
    if account.clock.now() - max((item.last_modified for item in written), default=0.0) > _DAY_S:
        return ""  # no clock is that wrong
    sign = sign_in(account, stored.paths.state, written)
    if sign is not None and sign.may_be_alive and not _is_over(account, stored):
        return f"its tuner, {sign.claim.holder}, has written {sign.silent_s:.0f} s ago"
    return ""


def _look(account: Account, name: str | None, tag: str | None) -> list[Stored]:
    where = tag_prefix(account.bucket, tag)
    if name is not None:
        located = account.experiments.find(name, tag)
        place = place_of(ExperimentPaths.of(name))
        if located is None and place is not None:
            raise NotFound(
                f"{name} is kept in {place.root}, an s3_path of its own, where nothing is deleted.",
                f"'cloudtune stop {name}' stops its jobs; 'aws s3 rm --recursive {place.root}' removes its files.",
            )
        if located is None:
            raise NotFound(
                f"There is no experiment {name!r} in {where}.", "'cloudtune clean --all' shows what there is."
            )
        where = located.paths.root
    try:
        objects = list(account.objects.list(where))
    except ResourceNotFound:  # nothing was ever launched in this account
        objects = []
    found = stored_experiments(objects)
    if not found and (name or tag):
        raise NotFound(f"There are no experiments in {where}.", "'cloudtune clean --all' shows what there is.")
    return found


def _objects(stored: Stored, wanted: Wanted, is_over: bool, is_named: bool) -> dict[str, list[S3Object]]:
    parts: Iterable[str] = ()
    if is_over:
        # Its reports are in its journal.
        parts = [REPORTS, CHECKPOINTS] if wanted.checkpoints else [REPORTS]
    if wanted.everything and (is_over or is_named or wanted.older_than_s is not None):
        parts = stored.parts
    chosen = {part: stored.parts[part] for part in parts if stored.parts.get(part)}
    for item in (item for items in chosen.values() for item in items):
        _require_below(item.uri, stored.paths.root)
    return chosen


def _require_below(uri: S3Uri, root: S3Uri) -> None:
    """The last look before something is put on the list of what will be deleted."""
    if uri.bucket != root.bucket or not uri.key.startswith(root.prefix):
        raise StoreError(f"{uri} is no part of {root}.", "Nothing was deleted. Please report this.")


def _is_over(account: Account, stored: Stored) -> bool:
    """Whether its journal ends with its end. One that cannot be read does not."""
    segment = stored.last_segment
    if segment is None:
        return False
    try:
        lines = account.objects.get(segment.uri).splitlines()
        return bool(lines) and isinstance(decode(lines[-1], str(segment.uri)), ExperimentEnded)
    except (StoreError, ResourceNotFound):
        return False


def _is_younger(account: Account, stored: Stored, limit_s: float | None) -> bool:
    if limit_s is None:
        return False
    newest = stored.last_written
    return newest is None or account.clock.now() - newest.last_modified < limit_s


def _all_jobs(jobs: ExperimentJobs | None) -> list[JobStatus]:
    return [] if jobs is None else [*jobs.tuner, *(job.status for job in jobs.trials)]
