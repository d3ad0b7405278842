"""Every path on disk and every S3 URI is made and taken apart here.

On disk::

    {root}/{tuner_name}/metadata.json  results.csv.zip  tuner.dill  journal/*.jsonl
    {root}/{tuner_name}/{trial_id}/config.json  std.out  std.err  checkpoints/

In S3::

    s3://{bucket}/cloudtune/[{experiment_tag}/]{tuner_name}/state/...        written by the tuner
    s3://{bucket}/cloudtune/[{experiment_tag}/]{tuner_name}/checkpoints/...  synced by the platform
    s3://{bucket}/cloudtune/[{experiment_tag}/]{tuner_name}/reports/...      written by jobs of trials
    s3://{bucket}/cloudtune/[{experiment_tag}/]{tuner_name}/logs/...         output of trials, on request
    s3://{bucket}/cloudtune/_code/{digest}.tar.gz                            shared by all jobs of a launch

State and checkpoints have prefixes of their own since the platform's sync propagates deletions.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudtune import constants
from cloudtune.errors import SpecError

S3_BASE = "cloudtune"
_CODE = "_code"  # an underscore is illegal in tags and names: no experiment can collide with it
_S3_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def experiments_root() -> Path:
    """``$CLOUDTUNE_FOLDER``, else ``~/cloudtune``; read at each call."""
    folder = os.environ.get(constants.ENV_FOLDER)
    return Path(folder).expanduser() if folder else Path.home() / "cloudtune"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``; becomes ``target`` when the block ends well, else vanishes.

    The content is on disk before the name is: a crash leaves the old file or the new one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    # Not with mkstemp, whose files only their owner may read: what to grant is known to the process's umask alone,
    # and that cannot be asked for without changing it for all threads.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(target: Path, content: str | bytes) -> None:
    """Replaces ``target`` by ``content`` as a whole."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@dataclass(frozen=True)
class TrialPaths:
    """Files of one trial. ``dir`` holds its output, ``checkpoints`` what ``st_checkpoint_dir`` points to."""

    dir: Path
    checkpoints: Path

    @property
    def config(self) -> Path:
        return self.dir / "config.json"

    @property
    def stdout(self) -> Path:
        return self.dir / "std.out"

    @property
    def stderr(self) -> Path:
        return self.dir / "std.err"

    @property
    def seen_level(self) -> Path:
        """See :data:`cloudtune.constants.ENV_SEEN_LEVEL_FILE`."""
        return self.dir / ".seen_level"

    def claim(self, attempt: int) -> Path:
        """Created by the process that runs the attempt, exclusively: an attempt runs at most once."""
        return self.dir / f".attempt-{attempt}.pid"

    def start_record(self, attempt: int) -> Path:
        """Where in ``std.out`` and ``std.err`` the attempt's output begins."""
        return self.dir / f".attempt-{attempt}.json"

    def exit_code(self, attempt: int) -> Path:
        """Written when the attempt's process has ended."""
        return self.dir / f".attempt-{attempt}.exit"


@dataclass(frozen=True)
class ExperimentPaths:
    """Files of one experiment.

    Args:
        dir: ``{root}/{tuner_name}``.
        trials_dir: Where the trials' folders are; default ``dir``.
        checkpoints_dir: Where the trials' checkpoints are, ``{checkpoints_dir}/{trial_id}``;
            default ``{trial_id}/checkpoints`` below ``trials_dir``.
    """

    dir: Path
    trials_dir: Path | None = None
    checkpoints_dir: Path | None = None

    @classmethod
    def of(cls, tuner_name: str, root: Path | None = None) -> ExperimentPaths:
        return cls((root or experiments_root()) / tuner_name)

    @property
    def name(self) -> str:
        return self.dir.name

    @property
    def metadata(self) -> Path:
        return self.dir / constants.ST_METADATA_FILENAME

    @property
    def results(self) -> Path:
        return self.dir / constants.ST_RESULTS_DATAFRAME_FILENAME

    @property
    def snapshot(self) -> Path:
        return self.dir / constants.ST_TUNER_DILL_FILENAME

    @property
    def journal(self) -> Path:
        return self.dir / "journal"

    def segment(self, number: int) -> Path:
        """The ``number``-th part of the journal."""
        return self.journal / f"{number:08d}.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the tuner that runs the experiment; names it."""
        return self.dir / ".lock"

    def trial(self, trial_id: int) -> TrialPaths:
        folder = (self.trials_dir or self.dir) / str(trial_id)
        if self.checkpoints_dir is None:
            return TrialPaths(folder, folder / "checkpoints")
        return TrialPaths(folder, self.checkpoints_dir / str(trial_id))


@dataclass(frozen=True)
class S3Uri:
    """``s3://{bucket}/{key}``; ``key`` has no leading slash and may be empty."""

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, uri: str) -> S3Uri:
        """Raises SpecError for anything but ``s3://bucket[/key]``."""
        match = _S3_URI.fullmatch(uri)
        if match is None:
            raise SpecError(f"{uri!r} is no S3 URI.", "Write it as s3://bucket/prefix.")
        return cls(match[1], (match[2] or "").strip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"

    def __truediv__(self, part: str) -> S3Uri:
        return S3Uri(self.bucket, f"{self.key}/{part}" if self.key else part)

    @property
    def prefix(self) -> str:
        """The key with a trailing slash, for listings that must not match siblings."""
        return f"{self.key}/" if self.key else ""


@dataclass(frozen=True)
class S3ExperimentPaths:
    """Where one experiment lies in S3."""

    root: S3Uri

    @classmethod
    def of(
        cls, bucket: str, tuner_name: str, experiment_tag: str | None = None, base: str = S3_BASE
    ) -> S3ExperimentPaths:
        parts = [base, experiment_tag, tuner_name] if experiment_tag else [base, tuner_name]
        return cls(S3Uri(bucket, "/".join(parts)))

    @property
    def name(self) -> str:
        return self.root.key.rsplit("/", 1)[-1]

    @property
    def state(self) -> S3Uri:
        """Journal, metadata, results, snapshot; relative names as on disk."""
        return self.root / "state"

    @property
    def metadata(self) -> S3Uri:
        return self.state / constants.ST_METADATA_FILENAME

    @property
    def checkpoints(self) -> S3Uri:
        """What the platform syncs; one folder a trial."""
        return self.root / "checkpoints"

    @property
    def reports(self) -> S3Uri:
        """What jobs of trials report; one folder a job, see :mod:`cloudtune.report_stream`."""
        return self.root / "reports"

    @property
    def logs(self) -> S3Uri:
        return self.root / "logs"


def code_archive(bucket: str, digest: str, base: str = S3_BASE) -> S3Uri:
    """Folder of the content-addressed code archive; it holds the one object ``code.tar.gz``, so that the
    folder can be an input channel."""
    return S3Uri(bucket, f"{base}/{_CODE}/{digest}")


def tag_prefix(bucket: str, experiment_tag: str | None = None, base: str = S3_BASE) -> S3Uri:
    """Where the experiments of one tag lie, or (without a tag) all of them."""
    return S3Uri(bucket, f"{base}/{experiment_tag}" if experiment_tag else base)
