"""The folder in which an emulator keeps its state: one emulator at a time, and no folder of somebody else's."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path

from cloudtune.emulator.machine.keeper import kill_marked, remove_tree
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import Conflict, SpecError
from cloudtune.paths import write_atomic

SCHEMA = 1
_FORMAT = "state of a cloudtune emulator"
_MARKER = "state.json"
_LOCK = "lock"
_DEATH_NOTE = "ended"
_CLEANING_TIMEOUT_S = 60.0
_POLL_S = 0.02


class StateFolder:
    """A folder, held until :meth:`close` and until the emulator's keeper has ended.

    Args:
        root: Made where there is none.
        any_schema: Take also what another version has written.

    Raises:
        SpecError: It holds something else, or the state of another version; nothing in it is touched.
        Conflict: An emulator holds it.
    """

    def __init__(self, root: Path, any_schema: bool = False) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            _marker(root, any_schema)
            # Inherited by the keeper: the folder is free when nothing of this emulator is left.
            self.lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SpecError(
                f"The emulator's state cannot be kept in {root} ({error.strerror}).", "Give a folder of its own."
            ) from error
        try:
            self._take()
            #: What the last emulator has noted here; empty for a new folder.
            self._facts = _marker(root, any_schema) or {}
        except BaseException:
            os.close(self.lock)
            raise

    def _take(self) -> None:
        give_up = time.monotonic() + _CLEANING_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _holder(self.lock)
                # A dead one's keeper still cleans up; 0 is about to end. This process's own number: it is the dead
                # one's successor.
                if (pid not in (0, os.getpid()) and _is_alive(pid)) or time.monotonic() > give_up:
                    raise Conflict(
                        f"Another emulator (process {pid}) keeps its state in {self.root}.",
                        f"Use that one, end it (kill {pid}), or give another folder.",
                    ) from None
                time.sleep(_POLL_S)
            else:
                break
        self._sign(os.getpid())

    def _sign(self, pid: int) -> None:
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, f"{pid}\n".encode(), 0)

    def leaving(self) -> None:
        """This emulator ends: who wants the folder may wait for it."""
        self._sign(0)

    @property
    def death_note(self) -> Path:
        """Where the keeper writes when the emulator has ended: seconds since the epoch."""
        return self.root / _DEATH_NOTE

    def free_port(self) -> int:
        """Where the last emulator served, so that its clients find this one; 0 if that is taken."""
        port = int(self._facts.get("port", 0))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return 0
        return port

    def clean(self) -> None:
        """Ends and removes what jobs of the last emulator have left, should its keeper have been killed, too."""
        mark = self._facts.get("mark")
        if mark:
            kill_marked(str(mark))
        remove_tree(self.root / "jobs")

    def begin(self, port: int, mark: str, clock: ServiceClock) -> float | None:
        """Notes what the next emulator has to know. The service's time goes on from the last one's.

        Returns:
            When the last emulator ended, by the service's time; None if that is not known.
        """
        last, now, lost_at = self._facts.get("clock"), time.time(), None
        if last is not None:
            ended = self._ended()
            lost_at = None if ended is None else _service_time(last, ended)
            clock.resume(_service_time(last, max(now, ended or now)))
        self.death_note.unlink(missing_ok=True)
        self._facts = {
            "format": _FORMAT,
            "schema": SCHEMA,
            "port": port,
            "mark": mark,
            "clock": {"service": clock.now(), "real": now, "scale": clock.scale},
        }
        write_atomic(self.root / _MARKER, json.dumps(self._facts, indent=1))
        return lost_at

    def _ended(self) -> float | None:
        try:
            return float(self.death_note.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # its keeper was killed as well
            return None

    def close(self) -> None:
        """The folder is free when the keeper has ended, too."""
        os.close(self.lock)


def remove(root: Path) -> None:
    """Removes a state that no emulator uses, whatever its schema; nothing where there is none.

    Raises:
        SpecError: What is there is no state of an emulator.
        Conflict: An emulator uses it.
    """
    if not root.exists():
        return
    folder = StateFolder(root, any_schema=True)
    try:
        remove_tree(root)
    finally:
        folder.close()


def size_bytes(root: Path) -> int:
    """Of all files; 0 if there is none."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - ten times as fast
            except FileNotFoundError:
                continue
    return total


def _marker(root: Path, any_schema: bool) -> JsonObject | None:
    """What the marker says; None for a folder that is new. Raises SpecError for all others."""
    try:
        found = json.loads((root / _MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        others = [entry.name for entry in root.iterdir()] if root.is_dir() else []
        # A marker that an emulator was killed in the middle of is no marker.
        others = [name for name in others if name != _LOCK and not name.startswith(f".{_MARKER}.")]
        if others:
            raise SpecError(
                f"{root} is not empty, and no state of an emulator: it holds {min(others)!r}.",
                "Give an empty folder, or one that an emulator has made.",
            ) from None
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise SpecError(f"{root / _MARKER} is none of the emulator's.", "Give another folder.")
    if found.get("schema") != SCHEMA and not any_schema:
        raise SpecError(
            f"The state in {root} has schema {found.get('schema')}, this version of cloudtune reads {SCHEMA}.",
            "Use the version that wrote it, give another folder, or remove this one.",
        )
    return found


def _service_time(clock: dict[str, float], real: float) -> float:
    """When it is ``real`` seconds since the epoch, by the clock of an emulator that may have ended since."""
    return clock["service"] + clock["scale"] * max(0.0, real - clock["real"])


def _holder(lock: int) -> int:
    """Who has written its number there; 0 where nobody has."""
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b") ")[2][:1] != b"Z"
