from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulator_rig import Rig

from cloudtune.emulator import SageMakerEmulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with SageMakerEmulator(max_parallel_jobs=2, stop_grace_s=60) as aws:
        yield aws


@pytest.fixture(scope="module")
def rig(emulator: SageMakerEmulator) -> Rig:
    return Rig(emulator.endpoint_url, emulator.role_arn)
