"""Every test has a folder for experiments of its own, and no AWS but what it starts itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine makes any example slow; and what one run finds, the next one finds, too.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("any machine", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile("any machine")

# Once, before anything is imported: credentials of whoever runs the tests are out of reach.
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull

# A shell's background jobs, CI's among them, ignore Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``CLOUDTUNE_FOLDER`` of the test."""
    folder = tmp_path / "cloudtune"
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(folder))
    return folder
