"""AWS for rehearsals: SageMaker training jobs that really run, beside moto's S3, STS, IAM and CloudWatch Logs.

::

    with SageMakerEmulator() as aws:
        os.environ.update(aws.environment())
        boto3.client("sagemaker").create_training_job(...)

``cloudtune emulator`` serves until Ctrl-C; :func:`ensure_running` keeps one in the background;
:mod:`cloudtune.emulator.pytest_plugin` has fixtures for tests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cloudtune.errors import MissingExtra

if TYPE_CHECKING:
    from cloudtune.emulator.daemon import (
        EmulatorHandle,
        daemon_status,
        ensure_running,
        running_daemon,
        stop_daemon,
    )
    from cloudtune.emulator.faults import InterruptRule
    from cloudtune.emulator.server import SageMakerEmulator

__all__ = [
    "EmulatorHandle",
    "InterruptRule",
    "SageMakerEmulator",
    "daemon_status",
    "ensure_running",
    "running_daemon",
    "stop_daemon",
]

_LAZY = {
    "SageMakerEmulator": "cloudtune.emulator.server",
    "InterruptRule": "cloudtune.emulator.faults",
    "EmulatorHandle": "cloudtune.emulator.daemon",
    "daemon_status": "cloudtune.emulator.daemon",
    "ensure_running": "cloudtune.emulator.daemon",
    "running_daemon": "cloudtune.emulator.daemon",
    "stop_daemon": "cloudtune.emulator.daemon",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("moto", "flask", "flask_cors", "werkzeug", "regex"):
            raise MissingExtra.of("moto", "emulator", "The emulator") from error
        raise
