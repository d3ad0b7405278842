"""Helpers under the names that training scripts import them by; each is loaded on use."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "add_checkpointing_to_argparse": "cloudtune.checkpointing",
    "add_config_json_to_argparse": "cloudtune.script_args",
    "checkpoint_model_at_rung_level": "cloudtune.checkpointing",
    "load_config_json": "cloudtune.script_args",
    "parse_bool": "cloudtune.script_args",
    "pytorch_load_save_functions": "cloudtune.checkpointing",
    "resume_from_checkpointed_model": "cloudtune.checkpointing",
    "streamline_config_space": "cloudtune.config_space",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
