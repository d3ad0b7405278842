"""What travels with trials."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from cloudtune.errors import SpecError
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.remote import trial_layout
from cloudtune.sagemaker_backend.template import TrialTemplate, as_template
from cloudtune.sagemaker_backend.trial_package import build_trial_archive

SPEC = TrainingJobSpec(name="", image="", role_arn="", output_s3_uri="")


@pytest.fixture
def template(tmp_path: Path) -> TrialTemplate:
    for path, text in {
        "code/train.py": "import helpers\n",
        "code/data/words.txt": "a b c\n",
        "code/.env": "PASSWORD=secret\n",
        "code/requirements.txt": "tqdm>=4\nboto3>=1.30\n",
        "code/requirements-more.txt": "einops\n",
        "helpers/__init__.py": "",
        "helpers/requirements.txt": "pyyaml\n",
        "utils.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return as_template(
        SPEC,
        entry_point=tmp_path / "code" / "train.py",
        dependencies=[tmp_path / "helpers", tmp_path / "utils.py"],
    )


def content(template: TrialTemplate) -> dict[str, str]:
    """Files of the archive, without the package."""
    with tarfile.open(fileobj=io.BytesIO(build_trial_archive(template).data)) as archive:
        members = [member for member in archive.getmembers() if not member.name.startswith("cloudtune/")]
        return {member.name: archive.extractfile(member).read().decode() for member in members}  # type: ignore[union-attr]


def test_code_dependencies_and_requirements(template: TrialTemplate) -> None:
    files = content(template)
    assert sorted(files) == [
        "requirements.txt",
        "script/data/words.txt",
        "script/helpers/__init__.py",
        "script/helpers/requirements.txt",
        "script/requirements-more.txt",
        "script/requirements.txt",
        "script/train.py",
        "script/utils.py",
    ]
    assert files["requirements.txt"].splitlines() == ["boto3>=1.30,>=1.35.69", "einops", "pyyaml", "tqdm>=4"]


def test_requirements_that_are_named_are_the_only_ones(template: TrialTemplate) -> None:
    for pattern, lines in (
        ("requirements-more.txt", ["boto3>=1.35.69", "einops"]),
        (None, ["boto3>=1.35.69"]),
    ):
        assert content(replace(template, requirements=pattern))["requirements.txt"].splitlines() == lines


def test_the_supervisor_travels(template: TrialTemplate) -> None:
    archive = build_trial_archive(template)
    assert trial_layout.SUPERVISOR in dict(archive.listing)
    assert archive.skipped == ("script/.env (looks like a key or password)",)


def test_what_cannot_travel_together(template: TrialTemplate, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.py").write_text("another one\n")
    with pytest.raises(SpecError, match=r"script/train\.py"):
        build_trial_archive(replace(template, dependencies=(other / "train.py",)))
    (tmp_path / "code" / "requirements.txt").write_text("boto3==1.20\n")
    with pytest.raises(SpecError, match=r"boto3==1\.20.*requirements\.txt:1"):
        build_trial_archive(template)
