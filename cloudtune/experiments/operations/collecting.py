"""Brings an experiment here: state, results, output, and checkpoints on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudtune.errors import NotFound, SpecError
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.subject import Subject
from cloudtune.experiments.s3_experiments import Progress
from cloudtune.paths import ExperimentPaths

BEST, ALL = "best", "all"


@dataclass(frozen=True)
class Collected:
    """What there is now.

    Args:
        folder: Of the experiment on this machine.
        num_files: Fetched now; what was here already is not counted.
        checkpoints: Folder of each trial whose checkpoints were asked for and exist.
    """

    folder: Path
    num_files: int
    checkpoints: dict[int, Path]


def collect(
    subject: Subject,
    to: Path | None = None,
    checkpoints: str | None = None,
    on_progress: Progress | None = None,
) -> Collected:
    """Fetches what is missing or has changed, the snapshot of the tuner included (nothing is unpickled).

    Args:
        to: Folder in which the experiment's folder is made; default: where ``load_experiment`` keeps it.
        checkpoints: ``best`` (trial), ``all``, or numbers of trials, separated by commas.
        on_progress: Told how many files are there, and of how many.

    Raises:
        NotFound: There is nothing in S3, or no checkpoint of a trial that was named.
        SpecError: The trials named make no sense; or ``to`` is given for what was tuned here.
    """
    trials = _chosen(subject, checkpoints)
    if subject.is_from_here and to is not None:
        raise SpecError(f"{subject.name} was tuned on this machine.", f"It is in {subject.paths.dir}: copy that.")
    folder = subject.paths.dir if to is None else to / subject.name
    account = subject.access.account if subject.has_jobs else None
    located = subject.located
    if account is None or located is None:
        if subject.is_from_here and checkpoints is None:
            return Collected(folder, 0, {})
        if subject.is_from_here:
            return Collected(folder, 0, _here(subject, trials))
        raise NotFound(f"{subject.name} is not in S3.", "Check its name, and AWS credentials.")
    num_files = 0
    if not subject.is_from_here:
        # In this order: results that name a file are there after it.
        for source in (located.paths.logs, located.paths.state):
            num_files += len(account.objects.download_missing(source, folder, on_progress=on_progress))
    found, fetched = _fetch_checkpoints(subject, account, folder, trials, on_progress)
    return Collected(folder, num_files + fetched, found)


def _chosen(subject: Subject, which: str | None) -> Sequence[int] | None:
    """Numbers of trials; None stands for all."""
    if which is None:
        return ()
    if which == ALL:
        return None
    if which == BEST:
        if subject.result is None:
            raise NotFound(f"{subject.name} has no reports yet, so no best trial.", "Try again later.")
        return (int(subject.result.best_config()["trial_id"]),)
    try:
        return sorted({int(part) for part in which.split(",")})
    except ValueError:
        raise SpecError(
            f"--checkpoints {which}: neither 'best', nor 'all', nor numbers of trials.", "Write 3, or 3,7,12."
        ) from None


def _here(subject: Subject, trials: Sequence[int] | None) -> dict[int, Path]:
    status = subject.result.status if subject.result is not None else None
    wanted = trials if trials is not None else [row.trial_id for row in status.trial_rows()] if status else []
    found = {trial_id: subject.paths.trial(trial_id).checkpoints for trial_id in wanted}
    return {trial_id: path for trial_id, path in found.items() if path.is_dir()}


def _fetch_checkpoints(
    subject: Subject, account: Account, folder: Path, trials: Sequence[int] | None, on_progress: Progress | None
) -> tuple[dict[int, Path], int]:
    """Folders by trial, and how many files were fetched."""
    if (trials is not None and not trials) or subject.located is None:
        return {}, 0
    source = subject.located.paths.checkpoints
    there = {
        int(name): uri
        for uri in account.objects.folders(source)
        if (name := uri.key.rsplit("/", 1)[-1]).isdecimal()
    }
    missing = [trial_id for trial_id in trials or () if trial_id not in there]
    if missing:
        raise NotFound(
            f"{source} has no checkpoints of trial {', '.join(map(str, missing))}.",
            f"It has some of: {', '.join(map(str, sorted(there))) or 'none'}.",
        )
    found, num_files = {}, 0
    for trial_id in sorted(there) if trials is None else trials:
        target = ExperimentPaths(folder).trial(trial_id).checkpoints
        num_files += len(account.objects.download_missing(there[trial_id], target, on_progress=on_progress))
        found[trial_id] = target
    return found, num_files
