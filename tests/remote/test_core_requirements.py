"""What jobs install for the tuner is what the package itself requires."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import cloudtune
from cloudtune.remote.tuning_job import BOTO3, CORE_REQUIREMENTS


def test_jobs_install_what_the_package_requires() -> None:
    text = (Path(cloudtune.__file__).parents[1] / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(.+?)"', listed[1]) == list(CORE_REQUIREMENTS)


@pytest.mark.parametrize(
    ("version", "is_enough"),
    # Which of them know PutObject's IfMatch and IfNoneMatch, without which claims are never renewed.
    [("1.34.162", False), ("1.35.68", False), ("1.35.69", True), ("1.36.0", True), ("1.44.5", True)],
)
def test_boto3_knows_conditional_writes(version: str, is_enough: bool) -> None:
    assert Requirement(BOTO3).specifier.contains(version) is is_enough
