"""Scenarios in a few words, and the emulator's own pages."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults import Scenario


def of(*faults: dict[str, Any], **members: Any) -> Scenario:
    return Scenario.from_json({"schema": 1, "faults": list(faults), **members})


def page(endpoint_url: str, method: str, name: str, document: object = None) -> Any:
    """What the emulator's page answers; HTTPError for a refusal."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"{endpoint_url}/_emulator/{name}", data=body, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def struck(emulator: SageMakerEmulator, fault: str, since: int = 0) -> list[dict[str, Any]]:
    """Entries of the audit log."""
    return [entry for entry in emulator.audit.entries("fault", since) if entry["fault"] == fault]
