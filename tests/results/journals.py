"""Experiments written by hand, for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloudtune.experiment.events import (
    Event,
    ExperimentEnded,
    SessionStarted,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from cloudtune.paths import ExperimentPaths
from cloudtune.stores.file import FileStore


def events_of(values: dict[int, list[tuple[float, float]]], ended: bool = True) -> list[Event]:
    """For each trial its reports as ``(elapsed_s, value of "loss")``."""
    events: list[Event] = [SessionStarted(0.0, 0.0, 0, "host:1")]
    last = 0.0
    for trial, reports in values.items():
        events.append(
            TrialStarted(0.0, reports[0][0] if reports else 0.0, trial, 0, {"lr": 0.1 * trial, "units": trial})
        )
        for seq, (at, loss) in enumerate(reports):
            metrics = {"loss": loss, "accuracy": 1 - loss, "epoch": seq + 1}
            events.append(TrialReported(at, at, trial, 0, seq, metrics, "CONTINUE"))
            last = max(last, at)
        events.append(TrialEnded(last, last, trial, 0, "completed"))
    return [*events, ExperimentEnded(last, last, "done")] if ended else events


def write_experiment(
    root: Path, name: str, events: list[Event], segment_bytes: int = 500, **metadata: Any
) -> ExperimentPaths:
    paths = ExperimentPaths(root / name)
    store = FileStore(paths, segment_bytes=segment_bytes)
    store.open("test")
    for event in events:
        store.append([event])
    store.close()
    facts = {
        "metric_names": ["loss"],
        "metric_mode": ["min"],
        "entrypoint": "train",
        "st_tuner_creation_timestamp": 1_700_000_000.5,
    }
    paths.metadata.write_text(json.dumps(facts | metadata))
    return paths
