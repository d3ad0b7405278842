"""What a job leaves: ``/opt/ml/model`` and ``/opt/ml/output/data`` of its hosts, to S3."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cloudtune.emulator.control.rules import ML_ROOT
from cloudtune.emulator.machine.channels import Between, go_on
from cloudtune.emulator.machine.job_files import entries, is_own, open_file
from cloudtune.emulator.machine.ml_folder import JobFolder
from cloudtune.emulator.object_store import ObjectStore, split_uri

_CHUNK_BYTES = 1 << 20
_SHOWN = 100  # characters of a name


def upload_results(
    folders: Sequence[JobFolder], job_prefix: str, compressed: bool, store: ObjectStore, between: Between = go_on
) -> str | None:
    """Uploads the merged results of all hosts; of files with the same name, the first host's.

    Args:
        folders: Of the hosts, in order.
        job_prefix: S3 URI below which the results go.
        compressed: As ``model.tar.gz`` and ``output.tar.gz``, else as single files.
        store: Where they go.
        between: Called between two pieces; what it raises ends the upload.

    Returns:
        URI of the model, None if it is empty.

    Raises:
        StoreFailed: S3 refuses them.
        OSError: They cannot be read, or are elsewhere: a job's links may point anywhere.
    """
    model_uri = None
    between()
    for path, name in (("model", "model"), ("output/data", "output")):
        found = _merged(folders, path)
        if not found:
            continue
        if compressed:
            uri = f"{job_prefix}/{name}.tar.gz"
            archive = folders[0].root / f"{name}.tar.gz"
            _pack(found, archive, between)
            store.put_chunks(*split_uri(uri), _chunks(archive, between))
            archive.unlink()
        else:
            uri = f"{job_prefix}/{name}/"
            _upload(found, uri, store, between)
        if name == "model":
            model_uri = uri
    return model_uri


def _merged(folders: Sequence[JobFolder], path: str) -> dict[str, Path]:
    """What is below ``/opt/ml/{path}`` of the hosts, by relative path, sorted. Raises OSError."""
    found: dict[str, Path] = {}
    for folder in folders:
        top, hidden = folder.ml / path, list[str]()
        if not is_own(top, folder.ml):
            raise OSError(f"{ML_ROOT}/{path} is a link, or below one")
        for name, entry in entries(top, hidden):
            found.setdefault(name, Path(entry.path))
        if hidden:
            raise OSError(f"the folder {ML_ROOT}/{path}/{hidden[0][:_SHOWN]} cannot be read")
    return dict(sorted(found.items()))


def _pack(found: dict[str, Path], target: Path, between: Between) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for name, path in found.items():
            between()
            member = archive.gettarinfo(path, name)
            if member is not None and member.isreg():
                with os.fdopen(open_file(path), "rb") as file:
                    archive.addfile(member, _Pieces(file, between))
            elif member is not None:  # sockets are no members
                archive.addfile(member)


class _Pieces:
    """A file of which each piece that is read might be the last."""

    def __init__(self, file: BinaryIO, between: Between) -> None:
        self._file = file
        self._between = between

    def read(self, size: int = -1) -> bytes:
        self._between()
        return self._file.read(size)


def _chunks(path: Path, between: Between) -> Iterator[bytes]:
    with os.fdopen(open_file(path), "rb") as file:
        while chunk := _Pieces(file, between).read(_CHUNK_BYTES):
            yield chunk


def _upload(found: dict[str, Path], uri: str, store: ObjectStore, between: Between) -> None:
    bucket, prefix = split_uri(uri)
    for name, path in found.items():
        if path.is_file() and not path.is_symlink():  # a job's links may point anywhere
            store.put_chunks(bucket, prefix + name, _chunks(path, between))
