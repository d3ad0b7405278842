"""Tuning inside a SageMaker training job."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtune.remote.remote_launcher import RemoteLauncher

__all__ = ["RemoteLauncher"]


def __getattr__(name: str) -> Any:
    # On use: the supervisor imports this package before anything is installed.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module("cloudtune.remote.remote_launcher"), name)
