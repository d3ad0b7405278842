"""Experiments as they lie in S3: where, and how to bring them here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtune.aws.mirror import INDEX_FILENAME
from cloudtune.errors import CloudtuneError, ResourceNotFound, SpecError, StoreError, Unreachable
from cloudtune.experiment.events import ExperimentEnded, decode
from cloudtune.names import is_legal_name
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, tag_prefix

if TYPE_CHECKING:
    from cloudtune.aws.session import AwsSession

#: Called with the number of pieces done, and of all.
Progress = Callable[[int, int], None]

_EXPERIMENTS_AT_ONCE = 6
_FILES_AT_ONCE = 5
_LOOKS_AT_ONCE = 16


@dataclass(frozen=True)
class Located:
    """An experiment in S3, and the tag it was launched with, if any."""

    paths: S3ExperimentPaths
    tag: str | None

    @property
    def name(self) -> str:
        return self.paths.name


class S3Experiments:
    """The experiments of one bucket. All methods raise AwsError for what the service refuses.

    Args:
        session: The account.
        bucket: Default: the account's default bucket.
    """

    def __init__(self, session: AwsSession, bucket: str | None = None) -> None:
        from cloudtune.aws.objects import S3Objects  # wakes boto3, which reading local experiments does not need

        self._objects = S3Objects(session)
        self._bucket = bucket or _existing_bucket(session)
        self._is_given = bucket is not None

    def where(self, what: str) -> str:
        """The place of ``what`` (a tag, a name, or both), for messages."""
        return str(tag_prefix(self._bucket, what))

    def find(self, name: str, tag: str | None) -> Located | None:
        """The experiment ``name``, with ``tag`` or, if that is None, without a tag or with any.

        Raises:
            SpecError: Several tags have one of that name.
        """
        if tag is not None:
            return self._look(name, tag)
        # Names that a launch makes begin with its tag: most often the second look finds it.
        tags = self.tags()
        likely = [t for t in tags if name.startswith(f"{t}-")]
        for candidate in (None, *sorted(likely, key=len, reverse=True)):
            located = self._look(name, candidate)
            if located is not None:
                return located
        others = [t for t in tags if t not in likely and t != name]
        with ThreadPoolExecutor(max_workers=_LOOKS_AT_ONCE) as pool:
            found = [item for item in pool.map(lambda t: self._look(name, t), others) if item is not None]
        if len(found) > 1:
            raise SpecError(
                f"There are {len(found)} experiments {name!r} in S3, with the tags "
                f"{', '.join(str(item.tag) for item in found)}.",
                "Pass experiment_name=<tag>.",
            )
        return found[0] if found else None

    def _look(self, name: str, tag: str | None) -> Located | None:
        paths = S3ExperimentPaths.of(self._bucket, name, tag)
        return Located(paths, tag) if self._objects.exists(paths.metadata) else None

    def tags(self) -> list[str]:
        """Names of the folders on the first level: tags, and experiments without one."""
        return self._names(None)

    def experiments(self, tag: str) -> list[Located]:
        """All experiments with ``tag``, those included that have not written anything yet."""
        names = self._names(tag)
        return [Located(S3ExperimentPaths.of(self._bucket, name, tag), tag) for name in names]

    def similar(self, name: str, tag: str | None) -> list[str]:
        """Names among which a misspelt ``name`` may be."""
        if tag is not None:
            return self._names(tag)
        tags = self.tags()
        return tags + [found for t in tags if name.startswith(f"{t}-") for found in self._names(t)]

    def _names(self, tag: str | None) -> list[str]:
        try:
            folders = list(self._objects.folders(tag_prefix(self._bucket, tag)))
        except ResourceNotFound:
            if self._is_given:
                raise
            return []  # nothing was ever launched in this account
        return [name for folder in folders if is_legal_name(name := folder.key.rsplit("/", 1)[-1])]

    def fetch(self, located: Located, folder: Path, load_tuner: bool, on_progress: Progress | None = None) -> None:
        """Brings ``folder`` up to date; fetches only what is missing or has changed, and ``tuner.dill`` only if
        asked to."""
        snapshot = ExperimentPaths(folder).snapshot.name
        self._objects.download_missing(
            located.paths.state,
            folder,
            include=lambda name: load_tuner or name != snapshot,
            workers=_FILES_AT_ONCE if on_progress is None else _LOOKS_AT_ONCE,
            on_progress=on_progress,
        )

    def fetch_many(
        self, wanted: Sequence[Located], parent: Path, load_tuner: bool, on_progress: Progress | None = None
    ) -> dict[str, CloudtuneError]:
        """:meth:`fetch` of each of ``wanted`` into ``parent/{name}``, several at once; progress in experiments.

        Returns:
            Those that could not be fetched: one does not keep the others.

        Raises:
            CloudtuneError: None of them could be fetched, or there is no connection.
        """
        pool = ThreadPoolExecutor(max_workers=_EXPERIMENTS_AT_ONCE, thread_name_prefix="experiments")
        failed: dict[str, CloudtuneError] = {}
        try:
            futures = {pool.submit(self.fetch, item, parent / item.name, load_tuner): item.name for item in wanted}
            for done, future in enumerate(as_completed(futures), 1):
                try:
                    future.result()
                except Unreachable:
                    raise
                except CloudtuneError as error:
                    failed[futures[future]] = error
                if on_progress is not None:
                    on_progress(done, len(wanted))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if failed and len(failed) == len(wanted):
            raise next(iter(failed.values()))
        return failed


def _existing_bucket(session: AwsSession) -> str:
    """The default bucket, which belongs to this account or does not exist: to read makes none."""
    name = session.default_bucket_name()
    try:
        return session.check_bucket(name)
    except ResourceNotFound:
        return name


def came_from_s3(folder: Path) -> bool:
    """Whether ``folder`` is a copy: not if a tuner has ever written there. One that mirrors its state fetches from
    S3, too, but what it has here is the original, and must not be replaced while it runs."""
    return (folder / INDEX_FILENAME).exists() and not ExperimentPaths(folder).lock.exists()


def has_ended(folder: Path) -> bool:
    """Whether the copy in ``folder`` is whole and its experiment over: S3 has nothing new then."""
    paths = ExperimentPaths(folder)
    segments = sorted(paths.journal.glob("*.jsonl"))
    if not paths.metadata.exists() or segments != [paths.segment(number) for number in range(len(segments))]:
        return False
    for segment in reversed(segments):
        lines = segment.read_bytes().split(b"\n")[:-1]  # what follows the last newline is not a line yet
        if lines:
            try:
                return isinstance(decode(lines[-1], str(segment)), ExperimentEnded)
            except StoreError:
                return False
    return False
