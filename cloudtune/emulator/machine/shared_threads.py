"""The threads that all jobs share: their number does not grow with the number of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_log = logging.getLogger(__name__)
_COPIERS = 4
_CLOSE_TIMEOUT_S = 30.0


class SharedThreads:
    """One thread that waits for output, ends and times, and a few that copy files. Thread-safe.

    What runs in the waiting thread must be quick: meanwhile nothing else is waited for.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._copiers = ThreadPoolExecutor(_COPIERS, thread_name_prefix="copier")
        self._thread = threading.Thread(target=self._loop.run_forever, name="waiting", daemon=True)
        self._thread.start()

    def call(self, action: Callable[[], None]) -> None:
        """``action`` in the waiting thread, soon. Nothing once closed."""
        with contextlib.suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(action)

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """``action`` in the waiting thread, after ``delay_s``."""
        self.call(lambda: self._call_later(delay_s, action))

    def _call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, action)

    def watch(self, descriptor: int, on_ready: Callable[[], None]) -> None:
        """``on_ready`` in the waiting thread whenever there is something to read, or the end.

        ``descriptor`` must not be closed before :meth:`forget` has run.
        """
        self.call(lambda: self._loop.add_reader(descriptor, on_ready))

    def forget(self, descriptor: int) -> None:
        """To be called in the waiting thread."""
        self._loop.remove_reader(descriptor)

    def copy(self, action: Callable[[], None]) -> None:
        """``action`` in one of the threads that copy files, as soon as one is free. Nothing once closed."""
        try:
            self._copiers.submit(_guarded, action)
        except RuntimeError:
            return  # closed

    def close(self) -> None:
        """Ends the threads; what waits for its time never runs."""
        self._copiers.shutdown(cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_CLOSE_TIMEOUT_S)
        self._loop.close()


def _guarded(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        _log.exception("a defect of the emulator")
        raise
