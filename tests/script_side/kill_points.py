"""Child of test_checkpoint_kill.py: for each n, a forked process that is killed at its n-th file operation.

Prints one line of JSON per process: the last level whose checkpointing returned before it died, and the pid.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from cloudtune.checkpointing import checkpoint_model_at_rung_level, resume_from_checkpointed_model

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir"}
DYING = 77


def content(level: int) -> str:
    return json.dumps({"level": level, "pad": "x" * 100 * level})


def save(local_path: str, resource: int) -> None:
    Path(local_path, "weights").mkdir()
    Path(local_path, "weights", "part").write_text(content(resource))
    Path(local_path, "state").write_text(str(resource))


def load(local_path: str) -> int:
    level = int(Path(local_path, "state").read_text())
    if Path(local_path, "weights", "part").read_text() != content(level):
        raise RuntimeError("half a checkpoint")
    return level


def train(config: dict[str, str], progress: int, max_level: int) -> None:
    """Reports each level on ``progress`` once its checkpoint is written; level 2 is written twice."""
    begin = resume_from_checkpointed_model(config, load)
    os.write(progress, f"resumed {begin}\n".encode())
    for level in range(begin + 1, max_level + 1):
        checkpoint_model_at_rung_level(config, save, level)
        os.write(progress, f"written {level}\n".encode())
        if level == 2:
            checkpoint_model_at_rung_level(config, save, level)
    os.write(progress, b"done\n")


def kill_at(count: int) -> None:
    """This process gets SIGKILL just before its ``count``-th file operation."""
    left = count

    def hook(event: str, _args: object) -> None:
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run_child(config: dict[str, str], count: int, max_level: int) -> list[str]:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        if count:
            kill_at(count)
        train(config, write_end, max_level)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        lines = stream.read().split("\n")[:-1]
    _, status = os.waitpid(pid, 0)
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"child ended with status {status}")
    return lines


def main() -> None:
    root = Path(sys.argv[1])
    count = 1
    while True:
        config = {"st_checkpoint_dir": str(root / str(count))}
        first = run_child(config, count, max_level=3)
        again = run_child(config, 0, max_level=4)
        left = sorted(path.name for path in Path(config["st_checkpoint_dir"]).iterdir())
        print(json.dumps({"count": count, "first": first, "again": again, "left": left}), flush=True)
        if first and first[-1] == "done":
            return
        count += 1


if __name__ == "__main__":
    main()
