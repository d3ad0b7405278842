"""What a job leaves: ``/opt/ml/model`` and ``/opt/ml/output/data`` of its hosts, to S3."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from cloudtune.emulator.ml_folder import JobFolder
from cloudtune.emulator.object_store import ObjectStore, split_uri


def upload_results(
    folders: Sequence[JobFolder], job_prefix: str, compressed: bool, store: ObjectStore
) -> str | None:
    """Uploads the merged results of all hosts; of files with the same name, the first host's.

    Args:
        folders: Of the hosts, in order.
        job_prefix: S3 URI below which the results go.
        compressed: As ``model.tar.gz`` and ``output.tar.gz``, else as single files.
        store: Where they go.

    Returns:
        URI of the model, None if it is empty.
    """
    model_uri = None
    for path, name in (("model", "model"), ("output/data", "output")):
        entries = _merged([folder.ml / path for folder in folders])
        if not entries:
            continue
        if compressed:
            uri = f"{job_prefix}/{name}.tar.gz"
            archive = folders[0].root / f"{name}.tar.gz"
            _pack(entries, archive)
            store.put_file(*split_uri(uri), archive)
            archive.unlink()
        else:
            uri = f"{job_prefix}/{name}/"
            _upload(entries, uri, store)
        if name == "model":
            model_uri = uri
    return model_uri


def _merged(folders: Sequence[Path]) -> dict[str, Path]:
    """What is below ``folders``, by relative path, sorted."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path, folders_in_it, files in os.walk(folder):
            for name in (*folders_in_it, *files):
                entry = Path(path) / name
                found.setdefault(entry.relative_to(folder).as_posix(), entry)
    return dict(sorted(found.items()))


def _pack(entries: dict[str, Path], target: Path) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for name, path in entries.items():
            archive.add(path, arcname=name, recursive=False)


def _upload(entries: dict[str, Path], uri: str, store: ObjectStore) -> None:
    bucket, prefix = split_uri(uri)
    for name, path in entries.items():
        if path.is_file() and not path.is_symlink():  # a job's links may point anywhere
            store.put_file(bucket, prefix + name, path)
