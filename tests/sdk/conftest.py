from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from sdk_rig import Account

from cloudtune.emulator import SageMakerEmulator


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account on the emulator, which this process's environment leads to, through the proxy where need be."""
    with SageMakerEmulator(max_parallel_jobs=2, stop_grace_s=3) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment(proxy=True).items():
            patch.setenv(name, value)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # the SDKs read settings there
        patch.setenv("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield Account(aws)
