"""An experiment that has ended with an error is over: the next launch runs it anew, under another name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cloudtune.errors import StoreError
from cloudtune.experiment.events import ExperimentEnded
from cloudtune.experiments.s3_experiments import came_from_s3, has_ended
from cloudtune.names import retry_name
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore

#: The first run included; an experiment that keeps failing is given up.
MAX_RUNS = 6


def has_failed(folder: Path) -> bool:
    """Whether the experiment in ``folder`` has ended with an error, too many failed trials for example."""
    try:
        events = FileStore(ExperimentPaths(folder)).read()
    except StoreError:
        return False
    return bool(events) and isinstance(events[-1], ExperimentEnded) and bool(events[-1].error)


def first_that_has_not_failed(parent: Path, name: str) -> str:
    """Name under which the experiment ``name`` is run now, on this machine."""
    run = 1
    while has_failed(parent / retry_name(name, run)):
        run += 1
    return retry_name(name, run)


def is_complete_here(parent: Path, name: str) -> bool:
    """Whether the experiment, or a later run of it, has been fetched from S3 as a whole and ended well."""
    runs = [parent / retry_name(name, run) for run in range(1, MAX_RUNS + 1)]
    return any(came_from_s3(folder) and has_ended(folder) and not has_failed(folder) for folder in runs)


def replaced_names(found: Iterable[str]) -> dict[str, str]:
    """Those among ``found`` that were run anew, each with its last run among them."""
    known = set(found)
    replaced = {}
    for name in known:
        runs = [name, *(retry_name(name, run) for run in range(2, MAX_RUNS + 1))]
        *earlier, last = [run for run in runs if run in known]
        replaced.update(dict.fromkeys(earlier, last))
    return replaced
