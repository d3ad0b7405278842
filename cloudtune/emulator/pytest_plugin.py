"""A fixture for tests against AWS.

Put ``pytest_plugins = ["cloudtune.emulator.pytest_plugin"]`` into ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from cloudtune import emulator

if TYPE_CHECKING:
    from cloudtune.emulator import SageMakerEmulator


@pytest.fixture
def sagemaker_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    """A fresh emulator; the environment of the test points to it."""
    with emulator.SageMakerEmulator() as aws:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        yield aws
