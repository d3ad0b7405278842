"""The training script of :class:`~cloudtune.testing.process_world.ProcessWorld`: stands alone, and starts fast.

Each level takes over a value from the one before, through the checkpoint where the process is a new one. What it
does is written to a file of the process's own, beside the checkpoints, of which tuner and backend do not know.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Where processes leave what they have done, beside the folder of checkpoints.
WITNESSES = "witnesses"


def next_value(value: float, x: float) -> float:
    """What a level makes of the value of the level before."""
    return value / 2 + x


def main(
    words: list[str],
    newest: Callable[[str], tuple[int, float]] | None = None,
    store: Callable[[str, int, float], None] | None = None,
) -> None:
    """Trains.

    Args:
        words: Its arguments.
        newest: Finds level and value to begin with in a folder; default :func:`newest_checkpoint`.
        store: Writes a level's value to a folder; default :func:`save`.
    """
    newest, store = newest or newest_checkpoint, store or save
    options = dict(zip(words[::2], words[1::2], strict=True))
    max_level, x, epoch_s = int(options["--epochs"]), float(options["--x"]), float(options["--epoch_s"])
    checkpoints = options["--st_checkpoint_dir"]
    trial_id, attempt = os.environ["CLOUDTUNE_TRIAL_ID"], os.environ["CLOUDTUNE_ATTEMPT"]
    witnesses = os.path.join(os.path.dirname(os.path.dirname(checkpoints)), WITNESSES)  # noqa: PTH118, PTH120
    level, value = newest(checkpoints)
    with (
        open(f"{witnesses}/{trial_id}.lock", "w") as lock,  # noqa: PTH123  pathlib takes longer than the rest
        open(f"{witnesses}/{time.time_ns()}-{os.getpid()}", "a", buffering=1) as witness,  # noqa: PTH123
    ):
        print("launch", trial_id, attempt, level, max_level, file=witness)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("violation", f"attempt {attempt} of trial {trial_id} runs beside an earlier one", file=witness)
        while level < max_level:
            time.sleep(epoch_s)
            level, value = level + 1, next_value(value, x)
            store(checkpoints, level, value)
            print("[tune-metric]: " + json.dumps({"epoch": level, "loss": value}), flush=True)
            print("report", level, file=witness)


def newest_checkpoint(folder: str) -> tuple[int, float]:
    """Level and value of the newest one at or below what is recorded."""
    limit = None
    with contextlib.suppress(FileNotFoundError, KeyError), open(os.environ["CLOUDTUNE_SEEN_LEVEL_FILE"]) as file:  # noqa: PTH123
        limit = int(file.read())
    names = [name for name in os.listdir(folder) if name.isdecimal()]  # noqa: PTH208
    level = max((int(name) for name in names if limit is None or int(name) <= limit), default=0)
    if level == 0:
        return 0, 0.0
    with open(f"{folder}/{level}") as file:  # noqa: PTH123
        return level, float(file.read())


def save(folder: str, level: int, value: float) -> None:
    temporary = f"{folder}/.{level}.{os.getpid()}"
    with open(temporary, "w") as file:  # noqa: PTH123
        file.write(repr(value))
    os.replace(temporary, f"{folder}/{level}")  # noqa: PTH105


if __name__ == "__main__":
    main(sys.argv[1:])
