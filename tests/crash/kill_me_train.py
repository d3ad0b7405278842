"""A training script with checkpoints: levels 1, 2, ..., a few milliseconds each."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from cloudtune.checkpointing import seen_level
from cloudtune.paths import write_atomic
from cloudtune.report import Reporter


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--x", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--epoch_s", type=float)
    parser.add_argument("--st_checkpoint_dir", type=Path)
    args, _ = parser.parse_known_args()
    report = Reporter()
    stored = [int(path.stem) for path in args.st_checkpoint_dir.glob("*.json")]
    limit = seen_level()
    first = max((level for level in stored if limit is None or level <= limit), default=0)
    for epoch in range(first + 1, args.epochs + 1):
        time.sleep(args.epoch_s)  # the work
        write_atomic(args.st_checkpoint_dir / f"{epoch}.json", json.dumps({"epoch": epoch}))
        report(epoch=epoch, loss=(args.x - 0.3) ** 2 + 1 / epoch)


if __name__ == "__main__":
    main()
