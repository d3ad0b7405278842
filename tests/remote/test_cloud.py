"""Which cloud is meant."""

from __future__ import annotations

import sys

import pytest

from cloudtune.errors import MissingExtra
from cloudtune.remote.cloud import connect


def test_without_credentials_and_emulator_both_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moto", None)  # as if it were not installed
    with pytest.raises(MissingExtra) as caught:
        connect(force_emulator=False)
    assert "no AWS credentials" in caught.value.message
    assert "aws configure" in caught.value.hint and "cloudtune[emulator]" in caught.value.hint
    with pytest.raises(MissingExtra) as asked_for:
        connect(force_emulator=True)
    assert "credentials" not in str(asked_for.value)
