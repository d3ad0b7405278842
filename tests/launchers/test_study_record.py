"""The same command continues the same study."""

from __future__ import annotations

import argparse
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from launcher_helpers import benchmark_of, study_of, write_script

from cloudtune.errors import QuotaExceeded, SpecError, StoreError
from cloudtune.experiments.launchers.study_binding import StudyBinding, settings_of
from cloudtune.experiments.launchers.study_launch import StudyLauncher
from cloudtune.experiments.launchers.study_record import new_tag, open_study, require_writable_root
from cloudtune.experiments.launchers.study_submission import StudySubmission, SubmittedJob
from cloudtune.names import is_legal_name, tuner_name

PROGRAM = Path("launch_remote.py")


def arguments(**changed: object) -> argparse.Namespace:
    values = {"num_seeds": 2, "method": None, "wait": True, "verbose": False, "experiment_tag": None}
    return argparse.Namespace(**{**values, **changed})


def test_an_unfinished_study_is_continued_and_a_finished_one_is_not() -> None:
    first = open_study(PROGRAM, arguments())
    assert not first.continued
    again = open_study(PROGRAM, arguments())
    assert again.continued and again.tag == first.tag and again.begun == first.begun
    again.done()
    again.done()
    later = open_study(PROGRAM, arguments())
    assert not later.continued


def test_how_one_looks_at_a_study_makes_no_difference() -> None:
    first = open_study(PROGRAM, arguments())
    assert open_study(PROGRAM, arguments(wait=False, verbose=True)).tag == first.tag
    assert not open_study(PROGRAM, arguments(num_seeds=3)).continued
    assert not open_study(PROGRAM, arguments(method="RS")).continued
    assert not open_study(Path("elsewhere") / PROGRAM, arguments()).continued


def test_two_launches_at_once_have_one_study() -> None:
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda _: open_study(PROGRAM, arguments()), range(32)))
    assert len({record.tag for record in records}) == 1
    assert sum(not record.continued for record in records) == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"tag": "a", "begun": "yesterday"}'])
def test_a_damaged_record_is_replaced(content: bytes) -> None:
    record = open_study(PROGRAM, arguments())
    record.path.write_bytes(content)
    assert not open_study(PROGRAM, arguments()).continued


def test_default_tags_are_short_and_leave_room_for_names() -> None:
    tag = new_tag(1_795_248_000.0)
    assert re.fullmatch(r"study-\d{4}-\d{4}-[0-9a-f]{2}", tag) and is_legal_name(tag)
    name = tuner_name(tag, "checkpoint_example", "ASHA-PROM", 99)
    assert name == f"{tag}-checkpoint-example-ASHA-PROM-99"  # nothing was cut off


def test_a_tag_that_was_rehearsed_elsewhere_is_refused() -> None:
    StudyBinding("demo").claim("sagemaker-us-east-1-123456789012")
    StudyBinding("demo").claim("sagemaker-us-east-1-123456789012")
    with pytest.raises(SpecError, match="not from sagemaker-us-east-1-999999999999") as raised:
        StudyBinding("demo").claim("sagemaker-us-east-1-999999999999")
    assert "--experiment_tag" in raised.value.hint
    StudyBinding("other").claim("sagemaker-us-east-1-999999999999")


SETTINGS = {"n_workers": 2, "max_wallclock_time": 8.0, "random_seed": 7}


def test_a_study_that_was_launched_keeps_its_settings() -> None:
    binding = StudyBinding("demo")
    binding.claim("bucket-of-mine")
    binding.check("digits", SETTINGS)  # binds nobody
    assert binding.bind("digits", SETTINGS)
    assert not StudyBinding("demo").bind("digits", SETTINGS)
    StudyBinding("demo").check("digits", SETTINGS)
    with pytest.raises(SpecError) as raised:
        StudyBinding("demo").check("digits", {**SETTINGS, "n_workers": 1, "max_wallclock_time": 20.0})
    assert raised.value.message == (
        "Study demo was launched with --n_workers 2, --max_wallclock_time 8 on digits; "
        "this command says --n_workers 1, --max_wallclock_time 20."
    )
    binding.check("another", {**SETTINGS, "n_workers": 1})
    binding.release("digits")
    binding.check("digits", {**SETTINGS, "n_workers": 1})
    with pytest.raises(SpecError):
        binding.claim("another-bucket")  # which is not forgotten


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"bucket": 1}', b'{"settings": {"digits": 3}}'])
def test_a_damaged_binding_binds_nobody(content: bytes, own_folder: Path) -> None:
    (own_folder / "demo").mkdir(parents=True)
    (own_folder / "demo" / ".study.json").write_bytes(content)
    StudyBinding("demo").check("digits", SETTINGS)
    assert StudyBinding("demo").bind("digits", SETTINGS)
    with pytest.raises(SpecError):
        StudyBinding("demo").check("digits", {**SETTINGS, "random_seed": 8})


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be written to") as raised:
        require_writable_root()
    assert "CLOUDTUNE_FOLDER" in raised.value.hint


@dataclass
class Refused:
    """A submission that the account refuses."""

    has_jobs: bool

    def run(self, _: object) -> list[SubmittedJob]:
        raise QuotaExceeded("No instances for you.")


@pytest.mark.parametrize("has_jobs", [True, False])
def test_what_was_refused_as_a_whole_binds_nobody(has_jobs: bool, tmp_path: Path) -> None:
    definitions = benchmark_of(write_script(tmp_path / "s"))
    launcher = StudyLauncher(study_of(["--experiment_tag", "demo"], definitions), (), None)
    with pytest.raises(QuotaExceeded):
        launcher._submit(cast(StudySubmission, Refused(has_jobs)), [])
    other = study_of(["--experiment_tag", "demo", "--n_workers", "1"], definitions)
    settings = settings_of(other.trials, other.extra)
    with pytest.raises(SpecError) if has_jobs else nullcontext():
        StudyBinding("demo").check("mine", settings)
