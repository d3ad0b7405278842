from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from client_rig import Account

from cloudtune.emulator import SageMakerEmulator


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=2, stop_grace_s=5) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def account(aws: SageMakerEmulator) -> Account:
    return Account(aws.environment())


@pytest.fixture(scope="module")
def clean_environment() -> dict[str, str]:
    """Of a user without AWS."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
