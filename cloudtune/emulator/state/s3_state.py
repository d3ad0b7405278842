"""S3 that outlives the process: the buckets' and objects' documents in a journal, larger contents in files.

A small object is in its line of the journal: to make a file takes longer than all else. The content of a larger
one gets a file with a name that nothing else has or will have; the line that names the file makes it the object's.
So a crash leaves the old object or the new one, and at most a file that nobody names, which the next start
removes.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.state import moto_state
from cloudtune.emulator.state.journal import Journal, Key

_log = logging.getLogger(__name__)
_BUCKET, _OBJECT = "bucket", "object"
_CHUNK_BYTES = 1 << 20
_INLINE_BYTES = 16 << 10
_LOCKS = 64
_TRIES = 20


class NotKept(Exception):
    """What has changed could not be written: the disk is full, or the folder has gone."""


class StoredContent:
    """The content of an object, in a file that is open only while somebody reads: there may be very many."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._closed = False

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """Raises ValueError once closed, as files do."""
        if self._closed:
            raise ValueError("the object has been replaced")
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._position)
                content = file.read() if size < 0 else file.read(size)
        except FileNotFoundError as error:
            raise ValueError("the object has been replaced") from error
        self._position += len(content or b"")
        return content or b""

    def close(self) -> None:
        self._closed = True


class ContentFolder:
    """Files with names that say nothing: keys of objects may be anything."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for number in range(256):
            (root / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._root / name[:2] / name

    @contextmanager
    def new_file(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """To be written; removed where the block raises."""
        path = self.path(secrets.token_hex(16))
        try:
            with path.open("xb") as file:
                yield path, file
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def remove_others(self, names: set[str]) -> None:
        """Keeps those alone."""
        for folder in self._root.iterdir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name not in names:
                        Path(entry.path).unlink()


class S3State:
    """What is in moto's S3, in a folder; loaded into moto when constructed.

    Args:
        folder: Of the emulator's state.

    Raises:
        StoreError: What is there is damaged.
    """

    FILES = ("s3.jsonl", "objects")

    def __init__(self, folder: Path) -> None:
        journal, contents = self.FILES
        self._journal = Journal(folder / journal)
        self.contents = ContentFolder(folder / contents)
        self._touched = moto_state.Touched()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        #: Of each object the versions that are kept, each with its content's file.
        self._kept: dict[tuple[str, str], dict[str, str]] = {}
        self._load()

    def _load(self) -> None:
        moto_state.s3().buckets = moto_state.NotedBuckets(self._touched, {})
        objects: list[tuple[Key, JsonObject]] = []
        for key, document in self._journal.items():
            if key[0] == _BUCKET:
                moto_state.restore_bucket(key[1], document)
            else:
                objects.append((key, document))
        for (_, bucket, name, version), document in objects:
            file = document["file"]
            content = StoredContent(self.contents.path(file)) if file else io.BytesIO(_decode(document))
            moto_state.restore_version(bucket, name, version, document, content)
            self._kept.setdefault((bucket, name), {})[version] = file
        self.contents.remove_others({file for kept in self._kept.values() for file in kept.values()})

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """What this thread changes in S3 within the block is kept when the block is left.

        Raises:
            NotKept: It could not be written.
        """
        if self._touched.keys is not None:
            yield
            return
        self._touched.buckets, self._touched.keys = set(), set()
        try:
            yield
        finally:
            buckets, keys = self._touched.buckets, self._touched.keys
            self._touched.buckets = self._touched.keys = None
            try:
                self._keep(buckets, keys)
            except OSError as error:
                raise NotKept(str(error)) from error

    def close(self) -> None:
        self._journal.close()

    def _keep(self, buckets: set[str], keys: set[tuple[str, str]]) -> None:
        if not isinstance(moto_state.s3().buckets, moto_state.NotedBuckets):
            buckets, keys = self._start_anew()
        for bucket in sorted(buckets):
            with self._lock_of(bucket):
                found = dict.get(moto_state.s3().buckets, bucket)
                document = None if found is None else moto_state.bucket_document(found)
                self._journal.apply({(_BUCKET, bucket): document})
        for bucket, key in sorted(keys):
            with self._lock_of(bucket, key):
                self._keep_object(bucket, key)

    def _start_anew(self) -> tuple[set[str], set[tuple[str, str]]]:
        """Moto has been reset through its own API: everything may have changed."""
        buckets = moto_state.NotedBuckets(self._touched, dict(moto_state.s3().buckets))
        known = {key[1] for key in self._journal.all_keys() if key[0] == _BUCKET}
        moto_state.s3().buckets = buckets
        there = {(name, key) for name, bucket in buckets.items() for key in bucket.keys}
        return known | set(buckets), set(self._kept) | there

    def _lock_of(self, *names: str) -> threading.Lock:
        return self._locks[hash(names) % _LOCKS]

    def _keep_object(self, bucket: str, key: str) -> None:
        known = self._kept.get((bucket, key), {})
        wanted, changes = self._stored(bucket, key)
        for version in known.keys() - wanted.keys():
            changes[_OBJECT, bucket, key, version] = None
        self._journal.apply(changes)
        if wanted:
            self._kept[bucket, key] = wanted
        else:
            self._kept.pop((bucket, key), None)
        for file in filter(None, set(known.values()) - set(wanted.values())):
            self.contents.path(file).unlink(missing_ok=True)

    def _stored(self, bucket: str, key: str) -> tuple[dict[str, str], dict[Key, JsonObject | None]]:
        """The versions with their files, which are there then, and with their documents."""
        for _ in range(_TRIES):
            wanted: dict[str, str] = {}
            changes: dict[Key, JsonObject | None] = {}
            try:
                for version in moto_state.versions_of(bucket, key):
                    document = {**moto_state.version_document(version), "file": ""}
                    if not document["marker"]:
                        self._store(version, document)
                    wanted[version.version_id] = document["file"]
                    changes[_OBJECT, bucket, key, version.version_id] = document
            except ValueError:  # replaced meanwhile: moto has closed it
                continue
            return wanted, changes
        raise OSError(f"s3://{bucket}/{key} is replaced faster than it can be written")

    def _store(self, version: Any, document: JsonObject) -> None:
        """Puts the content, or the name of its file, into ``document``."""
        content = moto_state.content_of(version)
        if isinstance(content, StoredContent):
            document["file"] = content.path.name
        elif version.contentsize <= _INLINE_BYTES:
            document["content"] = base64.b64encode(version.value).decode()
        else:
            document["file"] = self._file_of(version, content)

    def _file_of(self, version: Any, content: Any) -> str:
        with self.contents.new_file() as (path, file), version.lock:
            content.seek(0)
            shutil.copyfileobj(content, file, _CHUNK_BYTES)
        moto_state.replace_content(version, StoredContent(path), version.contentsize)
        return path.name


def _decode(document: JsonObject) -> bytes:
    return base64.b64decode(document.get("content", ""))
