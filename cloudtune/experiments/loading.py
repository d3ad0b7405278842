"""Finds experiments on this machine and in S3, and reads them. Nothing is unpickled unless asked for."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtune.errors import CloudtuneError, NotFound, SpecError, StoreError
from cloudtune.experiment.events import Event, ExperimentEnded, SessionStarted
from cloudtune.experiment_record import read_metadata
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.progress_bar import progress_bar
from cloudtune.experiments.s3_experiments import S3Experiments, came_from_s3, has_ended
from cloudtune.paths import ExperimentPaths, experiments_root
from cloudtune.results.frame import ResultsBuilder, read_results
from cloudtune.stores.file import FileStore
from cloudtune.tuning_status import TuningStatus

if TYPE_CHECKING:
    import pandas as pd

    from cloudtune.aws.session import AwsSession

PathFilter = Callable[[str], bool]
ExperimentFilter = Callable[[ExperimentResult], bool]

#: In the folder of a study that was launched from this machine.
STUDY_FILENAME = ".study.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Cloud:
    """S3, or why it was not looked at."""

    experiments: S3Experiments | None
    why_not: str = ""

    @classmethod
    def of(cls, download: bool, session: AwsSession | None, bucket: str | None) -> _Cloud:
        if not download:
            return cls(None, "download_if_not_found=False")
        from cloudtune.remote.cloud import session_for_reading

        session = session or session_for_reading()
        if not session.has_credentials():
            return cls(None, "there are no AWS credentials")
        return cls(S3Experiments(session, bucket))

    def where(self, what: str) -> str:
        return f"not in S3 ({self.why_not})" if self.experiments is None else self.experiments.where(what)


def load_experiment(
    tuner_name: str,
    download_if_not_found: bool = True,
    load_tuner: bool = False,
    local_path: str | Path | None = None,
    experiment_name: str | None = None,
    *,
    session: AwsSession | None = None,
    s3_bucket: str | None = None,
) -> ExperimentResult:
    """Loads one experiment, also while it runs. An experiment that is not here is fetched from S3; a copy from S3
    of one that had not ended is brought up to date.

    Args:
        tuner_name: Name of the tuner.
        download_if_not_found: Look in S3, too.
        load_tuner: Unpickle ``tuner.dill``, which can run any code: only for experiments you trust.
        local_path: Where experiments are kept; default ``$CLOUDTUNE_FOLDER``, else ``~/cloudtune``.
        experiment_name: Tag that the experiment was launched with; default: any.
        session: Default: what the environment says.
        s3_bucket: Default: the account's default bucket.

    Raises:
        NotFound: Naming where it was looked for, and similar names.
        SpecError: Several tags have an experiment of that name.
        SnapshotError: ``tuner.dill`` cannot be used here.
    """
    root = _root(local_path)
    folder = _find_local(tuner_name, root, experiment_name)
    if folder is not None and not _is_outdated(folder, load_tuner):
        return read_experiment(folder, load_tuner)
    try:
        cloud = _Cloud.of(download_if_not_found, session, s3_bucket)
        fetched = _fetch(cloud, tuner_name, root, experiment_name, folder, load_tuner)
    except CloudtuneError as error:
        if folder is None:
            raise
        _log.warning("%s is shown as of its last download: %s", tuner_name, error.message)
        fetched = None
    folder = fetched or folder
    if folder is None:
        raise _no_experiment(cloud, tuner_name, root, experiment_name)
    return read_experiment(folder, load_tuner)


def load_experiments(
    experiment_tag: str,
    *,
    download_if_not_found: bool = True,
    load_tuner: bool = False,
    local_path: str | Path | None = None,
    path_filter: PathFilter | None = None,
    experiment_filter: ExperimentFilter | None = None,
    session: AwsSession | None = None,
    s3_bucket: str | None = None,
) -> list[ExperimentResult]:
    """Loads all experiments of one launch, by name. Arguments as in :func:`load_experiment`, and:

    Args:
        path_filter: Called with the path of an experiment's ``metadata.json``; False leaves it out.
        experiment_filter: The same, called with the experiment.

    Raises:
        NotFound: The tag has no experiments.
    """
    if not experiment_tag or "/" in experiment_tag or experiment_tag in (".", ".."):
        raise SpecError(
            f"{experiment_tag!r} is no experiment tag.", "Give the name alone; CLOUDTUNE_FOLDER is where it is."
        )
    root = _root(local_path)
    folders = {folder.name: folder for folder in _tagged(root, experiment_tag)}
    cloud = _Cloud(None)
    try:
        cloud = _Cloud.of(download_if_not_found, session, s3_bucket)
        if cloud.experiments is not None:
            _fetch_tag(cloud.experiments, experiment_tag, root, folders, load_tuner)
    except CloudtuneError as error:
        if not folders:
            raise
        _log.warning("%s is shown as of its last download: %s", experiment_tag, error.message)
    folders = {folder.name: folder for folder in _tagged(root, experiment_tag)}
    if not folders:
        tags = {folder.parent.name for folder in _all_experiments(root) if folder.parent != root}
        tags |= set(cloud.experiments.tags() if cloud.experiments else ())
        looked = [str(root / experiment_tag), cloud.where(experiment_tag)]
        if (root / experiment_tag / STUDY_FILENAME).is_file():
            raise NotFound(
                f"Study {experiment_tag} was launched from here, but none of its jobs has written anything yet. "
                f"Looked for it in: {'; '.join(looked)}.",
                "Jobs write when they begin to train: try again in a minute.",
            )
        raise _not_found(
            f"There are no experiments with the tag {experiment_tag!r}.", looked, experiment_tag, tags
        )
    chosen = [folders[name] for name in sorted(folders)]
    return _read_all(chosen, load_tuner, path_filter, experiment_filter)


def list_experiments(
    path_filter: PathFilter | None = None,
    experiment_filter: ExperimentFilter | None = None,
    root: str | Path | None = None,
    load_tuner: bool = False,
) -> list[ExperimentResult]:
    """All experiments on this machine, the newest first. Filters as in :func:`load_experiments`."""
    found = _read_all(_all_experiments(_root(root)), load_tuner, path_filter, experiment_filter)
    return sorted(found, key=lambda e: (-float(e.metadata.get("st_tuner_creation_timestamp") or 0.0), e.name))


def get_metadata(
    path_filter: PathFilter | None = None, root: str | Path | None = None
) -> dict[str, dict[str, Any]]:
    """The metadata of all experiments on this machine, by name."""
    found = {}
    for folder in _filtered(_all_experiments(_root(root)), path_filter):
        metadata = read_metadata(folder)
        if metadata is not None:
            found[folder.name] = metadata
    return found


def load_experiments_df(
    path_filter: PathFilter | None = None,
    experiment_filter: ExperimentFilter | None = None,
    root: str | Path | None = None,
    load_tuner: bool = False,
) -> pd.DataFrame:
    """The results of all experiments on this machine below each other, with columns ``tuner_name`` and one for
    each entry of the metadata (lists of several as ``name-0``, ``name-1``; dictionaries as JSON)."""
    import pandas as pd

    frames = []
    for experiment in list_experiments(path_filter, experiment_filter, root, load_tuner):
        if experiment.num_reports:
            facts = {"tuner_name": experiment.name, **_flat(experiment.metadata)}
            facts = {name: value for name, value in facts.items() if name not in experiment.results}
            added = pd.DataFrame([facts] * experiment.num_reports)
            frames.append(pd.concat([experiment.results, added], axis="columns"))
    table: pd.DataFrame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return table


def read_experiment(folder: Path, load_tuner: bool = False) -> ExperimentResult:
    """Reads an experiment from its folder: from its journal, or where that is missing or damaged from
    ``results.csv.zip``. Both may be missing: then there are no results.

    Raises:
        StoreError: The journal is damaged and there is no ``results.csv.zip``.
    """
    metadata = read_metadata(folder) or {}
    names = metadata.get("metric_names") or []
    paths = ExperimentPaths(folder)
    events = _events(paths)
    status = TuningStatus([names] if isinstance(names, str) else list(names), events) if events else None
    if events or not paths.results.exists():
        results = ResultsBuilder(events).frame()
        end = events[-1] if events and isinstance(events[-1], ExperimentEnded) else None
        ended, error = end is not None, end.error if end is not None else ""
    else:
        results, ended, error = read_results(paths.results), True, ""
    sessions = sum(isinstance(event, SessionStarted) for event in events)
    tuner = None
    if load_tuner:
        from cloudtune.snapshot import load_snapshot

        tuner = load_snapshot(paths.snapshot)
    return ExperimentResult(
        folder.name, results, metadata, tuner, folder, status, ended, error, max(0, sessions - 1)
    )


def _events(paths: ExperimentPaths) -> list[Event]:
    try:
        return FileStore(paths).read()
    except StoreError as error:
        if not paths.results.exists():
            raise
        _log.warning("%s Its results are taken from %s, as of its last writing.", error, paths.results)
        return []


def _read_all(
    folders: list[Path],
    load_tuner: bool,
    path_filter: PathFilter | None,
    experiment_filter: ExperimentFilter | None,
) -> list[ExperimentResult]:
    found = []
    for folder in _filtered(folders, path_filter):
        try:
            experiment = read_experiment(folder, load_tuner)
        except CloudtuneError as error:  # one damaged experiment must not hide the others
            _log.warning("%s is left out: %s", folder, error)
            continue
        if experiment_filter is None or experiment_filter(experiment):
            found.append(experiment)
    return found


def _filtered(folders: list[Path], path_filter: PathFilter | None) -> list[Path]:
    return [f for f in folders if path_filter is None or path_filter(str(ExperimentPaths(f).metadata))]


def _flat(metadata: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in metadata.items():
        if isinstance(value, list) and len(value) == 1:
            flat[name] = value[0]
        elif isinstance(value, list):
            flat |= {f"{name}-{position}": item for position, item in enumerate(value)}
        else:
            flat[name] = json.dumps(value) if isinstance(value, dict) else value
    return flat


def _root(path: str | Path | None) -> Path:
    return experiments_root() if path is None else Path(path).expanduser()


def _is_experiment(folder: Path) -> bool:
    paths = ExperimentPaths(folder)
    return paths.metadata.is_file() or paths.journal.is_dir() or paths.results.is_file()


def _all_experiments(root: Path) -> list[Path]:
    """``{root}/{name}`` and ``{root}/{tag}/{name}``."""
    found = []
    for folder in _folders(root):
        found += [folder] if _is_experiment(folder) else [f for f in _folders(folder) if _is_experiment(f)]
    return found


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _tagged(root: Path, tag: str) -> list[Path]:
    """Experiments that were launched, or are tuned here, under ``tag``."""
    launched = [folder for folder in _folders(root / tag) if _is_experiment(folder)]
    here = [folder for folder in _folders(root) if (read_metadata(folder) or {}).get("tag") == tag]
    return launched + here


def _find_local(name: str, root: Path, tag: str | None) -> Path | None:
    if not name or Path(name).name != name or name in (".", ".."):
        raise SpecError(
            f"{name!r} is no name of an experiment.", "Give the name alone; CLOUDTUNE_FOLDER is where it is."
        )
    if _is_experiment(root / name):
        return root / name
    parents = [root / tag] if tag is not None else [f for f in _folders(root) if not _is_experiment(f)]
    found = [parent / name for parent in parents if _is_experiment(parent / name)]
    if len(found) > 1:
        raise SpecError(
            f"There are {len(found)} experiments {name!r} in {root}, with the tags "
            f"{', '.join(path.parent.name for path in found)}.",
            "Pass experiment_name=<tag>.",
        )
    return found[0] if found else None


def _is_outdated(folder: Path, load_tuner: bool) -> bool:
    """Whether S3 may have what ``folder`` lacks; not where it was tuned on this machine."""
    lacks_tuner = load_tuner and not ExperimentPaths(folder).snapshot.exists()
    return came_from_s3(folder) and (lacks_tuner or not has_ended(folder))


def _fetch_tag(cloud: S3Experiments, tag: str, root: Path, known: dict[str, Path], load_tuner: bool) -> None:
    wanted = [
        found
        for found in cloud.experiments(tag)
        if found.name not in known or _is_outdated(known[found.name], load_tuner)
    ]
    if wanted:
        with progress_bar(f"Fetching {tag}") as shown:
            failed = cloud.fetch_many(wanted, root / tag, load_tuner, shown)
        for name, error in failed.items():
            _log.warning("%s is missing, or shown as of its last download: %s", name, error)


def _fetch(
    cloud: _Cloud, name: str, root: Path, tag: str | None, folder: Path | None, load_tuner: bool
) -> Path | None:
    """The folder that holds the experiment after it was fetched; None if S3 does not have it."""
    if cloud.experiments is None:
        return None
    if folder is not None and folder.parent != root:
        tag = folder.parent.name
    found = cloud.experiments.find(name, tag)
    if found is None:
        return None
    target = folder or (root / found.tag / name if found.tag else root / name)
    with progress_bar(f"Fetching {name}") as shown:
        cloud.experiments.fetch(found, target, load_tuner, shown)
    return target if _is_experiment(target) else None


def _no_experiment(cloud: _Cloud, name: str, root: Path, tag: str | None) -> NotFound:
    looked = [str(root / name), str(root / (tag or "*") / name), cloud.where(name)]
    if cloud.experiments is not None:
        looked.append(cloud.where(f"{tag or '*'}/{name}"))
    known = {path.name for path in _all_experiments(root)}
    known |= set(cloud.experiments.similar(name, tag) if cloud.experiments else ())
    return _not_found(f"There is no experiment {name!r}.", looked, name, known)


def _not_found(message: str, looked: Iterable[str], name: str, known: set[str]) -> NotFound:
    timestamped = sorted((found for found in known if found.startswith(f"{name}-")), reverse=True)
    near = timestamped[:3] or difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    hint = (
        f"Similar names: {', '.join(near)}." if near else "Check the name, CLOUDTUNE_FOLDER and AWS credentials."
    )
    return NotFound(f"{message} Looked for it in: {'; '.join(looked)}.", hint)
