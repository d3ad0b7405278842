"""What the service tells a job in ``/opt/ml/input/config``. Standard library alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudtune.remote import job_layout as layout
from cloudtune.remote.process1 import hyperparameters


@dataclass(frozen=True)
class JobConfiguration:
    """One host's view of its job.

    Args:
        hyperparameters: Decoded.
        channels: ``inputdataconfig.json``, without the channel of our code.
        resources: ``resourceconfig.json``.
    """

    hyperparameters: Mapping[str, Any]
    channels: Mapping[str, Any]
    resources: Mapping[str, Any]

    @classmethod
    def read(cls) -> JobConfiguration:
        """Raises OSError or ValueError if a file is damaged; missing ones count as empty."""
        channels = _read("inputdataconfig.json")
        channels.pop(layout.CODE_CHANNEL, None)
        return cls(hyperparameters(), channels, _read("resourceconfig.json"))

    @property
    def hosts(self) -> list[str]:
        """All of the job, in the order that each of them sees."""
        return sorted(self.resources.get("hosts") or ["algo-1"])

    @property
    def host(self) -> str:
        """This one."""
        return str(self.resources.get("current_host") or self.hosts[0])

    @property
    def is_first_host(self) -> bool:
        return self.host == self.hosts[0]


def _read(name: str) -> dict[str, Any]:
    path = layout.ml_root() / "input" / "config" / name
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object.")
    return content
