"""``tuner.dill``: a picture of the tuner at one event of its journal.

The first line is JSON that anybody can read: versions, the digest of the rest, the number of events it stands at.
The rest is a pickle (dill's where the standard library's does not suffice), loaded only by whoever asks for it.
The journal is the truth; this is a convenience.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from cloudtune.errors import NotFound, SnapshotError
from cloudtune.paths import write_atomic

FORMAT = "cloudtune-snapshot-1"
_REBUILD = "Run the original command again: the experiment is rebuilt from its journal."


@dataclass(frozen=True)
class SnapshotHeader:
    """What a snapshot says about itself."""

    format: str
    cloudtune: str
    python: str
    #: Empty: the standard library's pickle sufficed.
    dill: str
    num_events: int
    sha256: str
    num_bytes: int


class _NeedsDill(Exception):
    """The pickle would hold a reference that another process cannot follow."""


class _PlainPickler(pickle.Pickler):
    """The standard library's pickler, twenty times faster than dill's, for objects of importable modules only."""

    def reducer_override(self, obj: Any) -> Any:
        # By reference, "__main__" would mean another script wherever the snapshot is loaded.
        if getattr(obj, "__module__", None) == "__main__" and isinstance(obj, (type, FunctionType)):
            raise _NeedsDill
        return NotImplemented


def _plainly_pickled(tuner: Any) -> bytes | None:
    """None if it takes dill: functions within functions, what the user's own script defines, locks, ..."""
    buffer = io.BytesIO()
    try:
        _PlainPickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(tuner)
    except Exception:  # noqa: BLE001  whatever it was, dill is asked next, and its error is raised
        return None
    return buffer.getvalue()


def write_snapshot(path: Path, tuner: Any, num_events: int) -> None:
    """Pickles ``tuner`` as of event number ``num_events``, atomically.

    Raises:
        SnapshotError: If something in it cannot be pickled.
    """
    import cloudtune

    payload, dill_version = _plainly_pickled(tuner), ""
    if payload is None:
        import dill

        dill_version = dill.__version__
        try:
            payload = dill.dumps(tuner, recurse=True)
        except Exception as error:  # pickling runs code of whatever is inside
            raise SnapshotError(
                f"The tuner cannot be pickled: {error!r}.",
                "Keep open files, connections and locks out of callbacks and scheduler, or pass save_tuner=False.",
            ) from error
    header = SnapshotHeader(
        FORMAT,
        cloudtune.__version__,
        platform.python_version(),
        dill_version,
        num_events,
        hashlib.sha256(payload).hexdigest(),
        len(payload),
    )
    write_atomic(path, json.dumps(asdict(header)).encode() + b"\n" + payload)


def read_header(path: Path) -> SnapshotHeader:
    """The readable part; unpickles nothing.

    Raises:
        NotFound: No such file.
        SnapshotError: Not a snapshot.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(4096)
    except FileNotFoundError as error:
        raise NotFound(f"There is no snapshot {path}.", _REBUILD) from error
    try:
        header = SnapshotHeader(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise SnapshotError(f"{path} is no snapshot of cloudtune.", _REBUILD) from error
    if header.format != FORMAT:
        raise SnapshotError(f"{path} has the format {header.format!r}, this version reads {FORMAT!r}.", _REBUILD)
    return header


def load_snapshot(path: Path) -> Any:
    """Unpickles the tuner. Do so only with files you trust: a pickle can run any code.

    Raises:
        NotFound: No such file.
        SnapshotError: Damaged, or written by another Python (bytecode differs between minor versions).
    """
    header = read_header(path)
    here = platform.python_version_tuple()[:2]
    if tuple(header.python.split(".")[:2]) != here:
        raise SnapshotError(
            f"{path} was written by Python {header.python}, this is {platform.python_version()}.",
            f"Use Python {header.python}, or: {_REBUILD[0].lower()}{_REBUILD[1:]}",
        )
    payload = path.read_bytes().split(b"\n", 1)[1]
    if hashlib.sha256(payload).hexdigest() != header.sha256:
        raise SnapshotError(
            f"{path} is damaged: {len(payload)} of {header.num_bytes} bytes, wrong digest.", _REBUILD
        )
    try:
        if not header.dill:
            return pickle.loads(payload)
        import dill

        return dill.loads(payload)
    except Exception as error:
        raise SnapshotError(f"{path} cannot be unpickled here: {error!r}.", _REBUILD) from error
