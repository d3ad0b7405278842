"""The environment holds the SDK that it was made for."""

from __future__ import annotations

import importlib.metadata
import os

import pytest

pytestmark = pytest.mark.sdk


def test_the_environment_has_the_sdk_it_is_named_after() -> None:
    wanted = os.environ.get("CLOUDTUNE_SDK")
    if wanted is None:
        pytest.skip("run by hand, not by run_in_environments.py")
    assert f"v{importlib.metadata.version('sagemaker').partition('.')[0]}" == wanted
