"""Pipe mode: a channel as named pipes ``/opt/ml/input/data/{channel}_{epoch}``, one per pass over the data."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cloudtune.emulator.channels import Channel
from cloudtune.emulator.object_store import ObjectStore, StoreFailed

_log = logging.getLogger(__name__)
_ANY_GZIP = 16 + zlib.MAX_WBITS
_MAX_UNPACKED_BYTES = 1 << 20
_NUDGE_S = 0.05


class ChannelPipe:
    """Feeds one channel of one host, in a thread of its own: who writes to a pipe waits for its reader.

    Args:
        folder: Of the pipes.
        channel: What to feed.
        store: Where its objects are.
    """

    def __init__(self, folder: Path, channel: Channel, store: ObjectStore) -> None:
        self._folder = folder
        self._channel = channel
        self._store = store
        self._epoch = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_error: Callable[[StoreFailed], None]) -> None:
        """Feeds from now on; ``on_error`` is called once, from another thread, where the data cannot be had."""
        os.mkfifo(self._path(0))
        self._thread = threading.Thread(target=self._run, args=(on_error,), name="channel-pipe", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """To be called when nobody reads any more. May be called twice."""
        self._ended.set()
        while self._thread is not None and self._thread.is_alive():
            # Somebody who waits for a reader has to be given one.
            with contextlib.suppress(OSError):
                os.close(os.open(self._path(self._epoch), os.O_RDONLY | os.O_NONBLOCK))
            self._thread.join(_NUDGE_S)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{self._channel.name}_{epoch}"

    def _run(self, on_error: Callable[[StoreFailed], None]) -> None:
        try:
            while not self._ended.is_set():
                self._feed()
        except StoreFailed as error:
            on_error(error)
        except OSError as error:  # the job has removed its pipes or their folder
            _log.warning("channel %s: %s", self._channel.name, error)

    def _feed(self) -> None:
        """One pass over the data."""
        epoch = self._epoch
        with self._path(epoch).open("wb", buffering=0) as pipe:
            os.mkfifo(self._path(epoch + 1))  # there before its reader can have missed it
            try:
                for chunk in self._content(epoch):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[pipe.write(rest) :]
            except BrokenPipeError:
                pass  # the reader has seen enough; the next pass begins
        self._epoch = epoch + 1

    def _content(self, epoch: int) -> Iterator[bytes]:
        for part in self._channel.share(epoch):
            chunks = self._store.chunks(part.bucket, part.key)
            try:
                yield from _unpacked(chunks) if self._channel.is_gzip else chunks
            except (zlib.error, EOFError) as error:
                raise StoreFailed(f"s3://{part.bucket}/{part.key} is no gzip file: {error}") from error


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of gzip members, one after another. Raises zlib.error, or EOFError for an incomplete one."""
    member = zlib.decompressobj(_ANY_GZIP)
    begun = False
    for chunk in chunks:
        rest = chunk
        while rest:
            begun = True
            yield member.decompress(rest, _MAX_UNPACKED_BYTES)
            if member.eof:
                rest, member, begun = member.unused_data, zlib.decompressobj(_ANY_GZIP), False
            else:
                rest = member.unconsumed_tail
    if begun:
        raise EOFError("it ends in the middle")
