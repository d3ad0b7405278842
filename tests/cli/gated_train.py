"""Reports three epochs, and the other three once the file ``gate`` is there."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cloudtune import Reporter

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--x", type=float)
    parser.add_argument("--gate", type=Path)
    parser.add_argument("--epochs", type=int)
    options, _ = parser.parse_known_args()
    report = Reporter()
    for epoch in range(1, options.epochs + 1):
        while epoch > options.epochs // 2 and not options.gate.exists():
            time.sleep(0.01)
        print(f"epoch {epoch}", flush=True)
        report(epoch=epoch, loss=options.x / epoch)
