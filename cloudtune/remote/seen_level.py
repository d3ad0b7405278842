"""The file by which a script is told up to where its reports are safe. Standard library alone."""

from __future__ import annotations

import threading
from pathlib import Path

from cloudtune.paths import write_atomic
from cloudtune.remote.process1 import say


class SeenLevel:
    """Keeps the file (:data:`cloudtune.constants.ENV_SEEN_LEVEL_FILE`); it never goes back. Thread-safe."""

    def __init__(self, path: Path, level: int) -> None:
        self.path = path
        self._level = level
        self._lock = threading.Lock()
        write_atomic(path, str(level))

    def raise_to(self, level: int) -> None:
        """All reports up to ``level`` are safe."""
        with self._lock:
            if level <= self._level:
                return
            self._level = level
            try:
                write_atomic(self.path, str(level))
            except OSError as error:  # a full disk: a lower level is safe as well
                say(f"{self.path} cannot be written: {error}")
