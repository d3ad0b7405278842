"""What is written down about an experiment before it starts: ``metadata.json``, and the fingerprint by which the
same command is recognised when it is run again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudtune.config_space import config_space_to_json_dict
from cloudtune.errors import SpecError, StoreError
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths, write_atomic

_FINGERPRINT = "fingerprint"
#: What two runs of one command may differ in.
_VOLATILE = ("random_seed", "random_seed_given")


def describe(
    scheduler: Scheduler, backend: Mapping[str, Any], stop_criterion: Mapping[str, Any], n_workers: int
) -> dict[str, Any]:
    """The facts that make an experiment what it is; JSON-able. A seed that was given belongs to them, one that
    was drawn does not."""
    given = getattr(scheduler, "random_seed_given", True)
    facts = scheduler.metadata()
    return {
        "scheduler": {k: v for k, v in facts.items() if given or k not in _VOLATILE},
        "scheduler_name": type(scheduler).__name__,
        "config_space": config_space_to_json_dict(scheduler.config_space),
        "metric_names": scheduler.metric_names(),
        "metric_mode": scheduler.metric_mode(),
        "backend": dict(backend),
        "stop_criterion": dict(stop_criterion),
        "n_workers": n_workers,
    }


def fingerprint(description: Mapping[str, Any]) -> dict[str, str]:
    """A digest for each entry of ``description``, so that a difference can be named."""
    return {
        key: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
        for key, value in description.items()
    }


def metadata_of(
    description: Mapping[str, Any], scheduler: Scheduler, created: float, user: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Content of ``metadata.json``: keys of Syne Tune, then ours, then the user's.

    Raises:
        SpecError: If the user's cannot be written as JSON.
    """
    import cloudtune

    backend = description["backend"]
    metadata: dict[str, Any] = {
        "st_tuner_creation_timestamp": created,
        "st_tuner_start_timestamp": created,
        "entrypoint": backend.get("entrypoint", ""),
        "backend": backend.get("backend", ""),
        **({"s3_path": backend["s3_path"]} if "s3_path" in backend else {}),
        "metric_names": description["metric_names"],
        "metric_mode": description["metric_mode"],
        "scheduler_name": description["scheduler_name"],
        "config_space": json.dumps(description["config_space"]),
        "scheduler": scheduler.metadata(),
        "stop_criterion": description["stop_criterion"],
        "n_workers": description["n_workers"],
        "random_seed": scheduler.random_seed,
        "cloudtune_version": cloudtune.__version__,
        _FINGERPRINT: fingerprint(description),
    }
    try:
        metadata.update(json.loads(json.dumps(dict(user or {}))))
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"Tuner(metadata=...) cannot be written as JSON: {error}.", "Use strings and numbers."
        ) from error
    return metadata


def write_metadata(paths: ExperimentPaths, metadata: Mapping[str, Any]) -> None:
    try:
        write_atomic(paths.metadata, json.dumps(metadata, indent=1, default=str))
    except OSError as error:
        raise StoreError(
            f"{paths.dir} cannot be written: {error.strerror or error}.",
            "Set the environment variable CLOUDTUNE_FOLDER to a directory that can.",
        ) from error


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """None if there is none that can be read."""
    try:
        content = json.loads(ExperimentPaths(folder).metadata.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def differences(metadata: Mapping[str, Any], description: Mapping[str, Any]) -> list[str]:
    """Which entries of ``description`` are not what they were when ``metadata`` was written."""
    recorded = metadata.get(_FINGERPRINT, {})
    return [key for key, digest in fingerprint(description).items() if recorded.get(key) != digest]
