"""How a script writes its own checkpoints, without cloudtune's helpers: here JSON files, one for each epoch.

What matters: each file is written under another name and renamed, it is there before its epoch is reported, and a
resumed run begins from the newest one whose report is recorded.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from cloudtune.checkpointing import add_checkpointing_to_argparse, seen_level
from cloudtune.clock import WallClock
from cloudtune.report import Reporter

METRIC_NAME = "train_acc"
METRIC_MODE = "max"
RESOURCE_ATTR = "epoch"
MAX_RESOURCE_ATTR = "num_epochs"


def save_checkpoint(folder: Path, epoch: int, value: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{epoch}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"last_epoch": epoch, "last_value": value}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{epoch}.json")


def load_checkpoint(folder: Path) -> tuple[int, float]:
    """(epoch, value) to go on from; (0, 0) to start from scratch."""
    limit = seen_level()
    epochs = [int(path.stem) for path in folder.glob("*.json")]
    epoch = max((epoch for epoch in epochs if limit is None or epoch <= limit), default=0)
    if epoch == 0:
        return 0, 0.0
    state = json.loads((folder / f"{epoch}.json").read_text(encoding="utf-8"))
    return state["last_epoch"], state["last_value"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_epochs", "--num-epochs", type=int, required=True)
    parser.add_argument("--multiplier", type=float, default=1.0)
    parser.add_argument("--sleep_time", "--sleep-time", type=float, default=0.1, help="seconds per epoch")
    add_checkpointing_to_argparse(parser)
    args, _ = parser.parse_known_args()
    folder = Path(args.st_checkpoint_dir) if args.st_checkpoint_dir else None
    epoch, value = load_checkpoint(folder) if folder else (0, 0.0)
    report = Reporter()
    clock = WallClock()
    for current in range(epoch + 1, args.num_epochs + 1):
        clock.sleep(args.sleep_time)
        value = (value + 1) * args.multiplier
        if folder:
            save_checkpoint(folder, current, value)
        report(**{METRIC_NAME: value, RESOURCE_ATTR: current})


if __name__ == "__main__":
    main()
