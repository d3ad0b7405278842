"""Figures of FileStore: ``python tests/stores/bench_file_store.py [DIRECTORY]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from cloudtune.experiment.events import TrialReported
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore

NUM_EVENTS = 200_000
BATCH = 100
SINGLES = 500


def report(number: int) -> TrialReported:
    metrics = {"epoch": number // 50, "loss": number * 0.123, "st_worker_time": number * 0.5}
    return TrialReported(1.7e9 + number, float(number), number % 50, 0, number // 50, metrics, "CONTINUE")


def main(directory: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as root:
        paths = ExperimentPaths(Path(root) / "bench")
        writer, reader = FileStore(paths), FileStore(paths)
        writer.open("bench")
        events = [report(number) for number in range(NUM_EVENTS)]
        begin = time.perf_counter()
        for start in range(0, NUM_EVENTS, BATCH):
            writer.append(events[start : start + BATCH])
        print(f"append {NUM_EVENTS} events by {BATCH}: {time.perf_counter() - begin:.2f} s")
        begin = time.perf_counter()
        for event in events[:SINGLES]:
            writer.append([event])
        print(f"append one event: {(time.perf_counter() - begin) / SINGLES * 1e3:.2f} ms")
        begin = time.perf_counter()
        known = len(reader.read())
        print(f"read {known} events: {time.perf_counter() - begin:.2f} s")
        writer.append(events[:10])
        begin = time.perf_counter()
        reader.read(known)
        print(f"read 10 new events: {(time.perf_counter() - begin) * 1e3:.2f} ms")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
