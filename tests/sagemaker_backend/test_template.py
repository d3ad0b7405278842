"""What users may give as the job of trials, and what is refused at the door."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudtune.errors import SpecError
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.sagemaker_backend.template import as_template
from cloudtune.sagemaker_backend.trial_script import moved, script_path

SPEC = TrainingJobSpec(name="", image="", role_arn="", output_s3_uri="")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A user's folder."""
    folder = tmp_path / "code"
    (folder / "src").mkdir(parents=True)
    (folder / "train.py").write_text("print('hello')\n")
    (folder / "src" / "main.py").write_text("print('hello')\n")
    (folder / "run.sh").write_text("#!/bin/sh\necho hello\n")
    return folder


def test_a_spec_and_a_script(code: Path) -> None:
    spec = replace(SPEC, hyperparameters={"epochs": 9, "lr": 1.0}, channels={"train": "s3://bucket/train"})
    template = as_template(
        spec,
        entry_point=code / "train.py",
        hyperparameters={"lr": 0.5},
        inputs={"test": "s3://bucket/test/", "train": "s3://bucket/new"},
    )
    assert template.source_dir == code
    assert template.command == ("train.py",)
    assert template.hyperparameters == {"epochs": 9, "lr": 0.5}
    assert template.spec == replace(SPEC, channels={"train": "s3://bucket/new", "test": "s3://bucket/test/"})
    assert pickle.loads(pickle.dumps(template)) == template


@pytest.mark.parametrize(
    ("entry_point", "command"),
    [
        ("train.py", ("train.py",)),
        ("src/main.py", ("src/main.py",)),
        ("{code}/src/main.py", ("src/main.py",)),
        ("{code}/src/../train.py", ("train.py",)),
        (("torchrun", "--nproc_per_node", "2", "train.py"), ("torchrun", "--nproc_per_node", "2", "train.py")),
        (("torchrun", "{code}/train.py"), ("torchrun", "train.py")),
        (("bash", "run.sh"), ("bash", "run.sh")),
        (("python", "-m", "src.main"), ("python", "-m", "src.main")),
        ("nnunet-train", ("nnunet-train",)),
    ],
)
def test_commands_inside_the_folder(code: Path, entry_point: Any, command: tuple[str, ...]) -> None:
    def placed(word: str) -> str:
        return word.format(code=code)

    given = placed(entry_point) if isinstance(entry_point, str) else tuple(map(placed, entry_point))
    template = as_template(SPEC, entry_point=given, source_dir=code)
    assert template.command == command
    assert template.source_dir == code


def test_without_a_folder_the_script_has_its_own(code: Path) -> None:
    template = as_template(SPEC, entry_point=("torchrun", str(code / "src" / "main.py")))
    assert template.source_dir == code / "src"
    assert template.command == ("torchrun", "main.py")


def test_paths_are_relative_to_where_one_is(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(code.parent)
    assert as_template(SPEC, entry_point="code/train.py").source_dir == code
    assert as_template(SPEC, entry_point="code/train.py", source_dir="code").command == ("train.py",)


def test_executables_are_called_as_files(code: Path) -> None:
    (code / "run.sh").chmod(0o755)
    assert as_template(SPEC, entry_point=code / "run.sh").command == ("./run.sh",)


def test_a_folder_behind_a_link(code: Path) -> None:
    link = code.parent / "link"
    link.symlink_to(code)
    assert as_template(SPEC, entry_point=code / "train.py", source_dir=link).command == ("train.py",)


def test_a_template_moves_with_its_folder(code: Path, tmp_path: Path) -> None:
    template = as_template(
        SPEC, entry_point=("torchrun", "src/main.py"), source_dir=code, dependencies=[code / "src"]
    )
    assert script_path(template) == code / "src" / "main.py"
    after = moved(template, tmp_path / "there", tmp_path / "packages")
    assert script_path(after) == tmp_path / "there" / "src" / "main.py"
    assert after.dependencies == (tmp_path / "packages" / "src",)
    assert after.command == template.command


Change = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda code: {"entry_point": None}, ["names no script", "entry_point="]),
        (lambda code: {"entry_point": code / "trian.py"}, ["trian.py", "does not exist", "train.py"]),
        (lambda code: {"entry_point": code / "run.sh"}, ["chmod +x"]),
        (lambda code: {"entry_point": code}, ["is a folder"]),
        (lambda code: {"entry_point": "nnunet-train"}, ["source_dir="]),
        (lambda code: {"entry_point": code / "train.py", "source_dir": code / "src"}, ["not in source_dir"]),
        (
            lambda code: {"entry_point": "train.py", "source_dir": "s3://bucket/code"},
            ["s3://bucket/code", "clone"],
        ),
        (lambda code: {"entry_point": "train.py", "source_dir": code / "nowhere"}, ["nowhere", "no folder"]),
        (lambda code: {"dependencies": [code / "nowhere"]}, ["nowhere", "does not exist"]),
        (lambda code: {"dependencies": str(code)}, ["must be a list"]),
        (lambda code: {"entry_point": ("python", *["x" * 100] * 6, str(code / "train.py"))}, ["512"]),
        (lambda code: {"hyperparameters": {"x": object()}}, ["hyperparameter 'x'"]),
        (lambda code: {"inputs": {"cloudtune": "s3://bucket/x"}}, ["'cloudtune'", "Rename"]),
        (lambda code: {"inputs": {"a b": "s3://bucket/x"}}, ["a b"]),
        (lambda code: {"given": replace(SPEC, entrypoint=("bash",))}, ["entrypoint", "entry_point="]),
        (
            lambda code: {"given": replace(SPEC, checkpoint_s3_uri="s3://bucket/c")},
            ["checkpoints", "Leave it out"],
        ),
        (lambda code: {"given": replace(SPEC, checkpoint_local_path="/tmp/x")}, ["--st_checkpoint_dir"]),
        (lambda code: {"given": replace(SPEC, instance_type="ml.m5.huge")}, ["ml.m5.huge"]),
        (lambda code: {"given": replace(SPEC, instance_count=0)}, ["InstanceCount"]),
        (lambda code: {"given": replace(SPEC, spot=True, keep_alive_s=600)}, ["keep_alive_s"]),
        (lambda code: {"given": replace(SPEC, tags={"aws:x": "y"})}, ["aws:"]),
        (lambda code: {"given": "train.py"}, ["TrainingJobSpec", "version 2", "ModelTrainer"]),
        (lambda code: {"given": None}, ["TrainingJobSpec", "version 2", "ModelTrainer"]),
    ],
)
def test_refused(code: Path, change: Change, words: list[str]) -> None:
    arguments = {"given": SPEC, "entry_point": code / "train.py", **change(code)}
    with pytest.raises(SpecError) as caught:
        as_template(arguments.pop("given"), **arguments)
    for word in words:
        assert word in str(caught.value)


def test_the_package_itself_is_no_dependency(code: Path) -> None:
    (code / "cloudtune").mkdir()
    with pytest.raises(SpecError, match="hide the package"):
        as_template(SPEC, entry_point=code / "train.py", dependencies=[code / "cloudtune"])
