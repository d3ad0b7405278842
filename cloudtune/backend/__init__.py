"""Where trials run: processes on this machine, or jobs in the cloud (whose module is loaded on use)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cloudtune.backend.local import LocalBackend

if TYPE_CHECKING:
    from cloudtune.sagemaker_backend.backend import SageMakerBackend as SageMakerBackend

_HOME = {"SageMakerBackend": "cloudtune.sagemaker_backend.backend"}
__all__ = ["LocalBackend", "SageMakerBackend"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
