"""Where users of Syne Tune look for these; loaded on use."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = ["SageMakerBackend"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_NAMES)}")
    return getattr(importlib.import_module("cloudtune.sagemaker_backend.backend"), name)
