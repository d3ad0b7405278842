"""Pipe mode: a channel as named pipes ``/opt/ml/input/data/{channel}_{epoch}``, one per pass over the data."""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cloudtune.emulator.machine.channels import Channel
from cloudtune.emulator.object_store import ObjectStore, StoreFailed

_log = logging.getLogger(__name__)
_ANY_GZIP = 16 + zlib.MAX_WBITS
_MAX_UNPACKED_BYTES = 1 << 20
# Nobody may read for long, or ever: that is looked at, first often, then rarely.
_FIRST_LOOK_S, _LATER_LOOKS_S = 0.005, 0.2


class ChannelPipe:
    """Feeds one channel of one host, in a thread of its own, at its reader's pace.

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
        if self._thread is not None:
            self._thread.join()

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
        pipe = self._open(self._path(self._epoch))
        if pipe is None:
            return
        epoch, self._epoch = self._epoch, self._epoch + 1
        try:
            os.mkfifo(self._path(self._epoch))  # there before its reader can have missed it
            for chunk in self._content(epoch):
                self._write(pipe, chunk)
                if self._ended.is_set():
                    return
        except BrokenPipeError:
            pass  # the reader has seen enough; the next pass begins
        finally:
            os.close(pipe)

    def _open(self, path: Path) -> int | None:
        """The pipe once it has a reader; None where none comes. Raises OSError for what is no pipe any more."""
        wait_s = _FIRST_LOOK_S
        while not self._ended.is_set():
            try:
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                self._ended.wait(wait_s)
                wait_s = min(2 * wait_s, _LATER_LOOKS_S)
                continue
            if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                return pipe
            os.close(pipe)
            raise OSError(f"{path} is no pipe any more")
        return None

    def _write(self, pipe: int, chunk: bytes) -> None:
        rest, poll = memoryview(chunk), select.poll()
        poll.register(pipe, select.POLLOUT)
        while rest and not self._ended.is_set():
            if poll.poll(_LATER_LOOKS_S * 1000):
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BlockingIOError:  # room for less than the kernel writes at once
                    continue

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
