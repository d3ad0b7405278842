"""A fixture for tests against AWS.

Put ``pytest_plugins = ["cloudtune.emulator.pytest_plugin"]`` into ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest

from cloudtune import emulator

if TYPE_CHECKING:
    from cloudtune.emulator import SageMakerEmulator


@pytest.fixture
def sagemaker_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    """A fresh emulator; the environment of the test points to it."""
    with emulator.SageMakerEmulator() as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the environment of its first use
        yield aws
