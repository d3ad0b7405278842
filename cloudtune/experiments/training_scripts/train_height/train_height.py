"""The shape of a learning curve without the learning: for trying schedulers and backends in seconds."""

from __future__ import annotations

import argparse

from cloudtune.clock import WallClock
from cloudtune.report import Reporter

METRIC_NAME = "mean_loss"
METRIC_MODE = "min"
RESOURCE_ATTR = "epoch"
MAX_RESOURCE_ATTR = "steps"


def height(step: int, width: float, height: float) -> float:
    """Falls with ``step`` towards ``height / 10``, the faster the larger ``width``."""
    return 100 / (10 + width * step) + 0.1 * height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(f"--{MAX_RESOURCE_ATTR}", type=int, required=True)
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--height", type=float, required=True)
    parser.add_argument("--sleep_time", type=float, default=0.1, help="seconds per step")
    args, _ = parser.parse_known_args()
    report = Reporter()
    clock = WallClock()
    for step in range(args.steps):
        clock.sleep(args.sleep_time)
        metrics = {METRIC_NAME: height(step, args.width, args.height), RESOURCE_ATTR: step + 1}
        report(step=step, **metrics)


if __name__ == "__main__":
    main()
