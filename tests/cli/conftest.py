from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from operations_lab import Lab

    from cloudtune.emulator import SageMakerEmulator


@pytest.fixture
def lab(shared_sagemaker_emulator: SageMakerEmulator, tmp_path: Path) -> Lab:
    from operations_lab import Lab  # the other tests do without

    return Lab(shared_sagemaker_emulator, tmp_path / "far")
