"""What scripts written for Syne Tune ask for before they make an estimator. With an SDK: tests/sdk."""

from __future__ import annotations

import sys

import pytest

from cloudtune.backend.sagemaker_backend.sagemaker_utils import default_sagemaker_session, get_execution_role
from cloudtune.errors import MissingExtra

ROLE = "arn:aws:iam::123456789012:role/mine"


def test_the_role_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "given")
    monkeypatch.setenv("AWS_ROLE", ROLE)
    assert get_execution_role() == ROLE


@pytest.mark.parametrize("sdk", [None, sys], ids=["none", "without_sessions"])
def test_a_session_needs_version_2_of_the_sdk(sdk: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sagemaker", sdk)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"cloudtune\[sagemaker2\]"):
        default_sagemaker_session()
