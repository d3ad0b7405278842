"""Hyperparameter tuning on Amazon SageMaker: nothing lost when a process, an instance or a zone dies.

Public names are loaded on use: importing the package wakes neither boto3, torch, dill nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cloudtune.remote.remote_launcher import RemoteLauncher as RemoteLauncher
    from cloudtune.report import Reporter as Reporter
    from cloudtune.stopping_criterion import StoppingCriterion as StoppingCriterion
    from cloudtune.tuner import Tuner as Tuner

_HOME = {
    "RemoteLauncher": "cloudtune.remote.remote_launcher",
    "Reporter": "cloudtune.report",
    "StoppingCriterion": "cloudtune.stopping_criterion",
    "Tuner": "cloudtune.tuner",
}
__all__ = ["RemoteLauncher", "Reporter", "StoppingCriterion", "Tuner"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cloudtune' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
