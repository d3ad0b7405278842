"""Experiments that are kept elsewhere in S3 than others, and names that are not those of experiments."""

from __future__ import annotations

from pathlib import Path

import pytest
from operations_lab import Lab, story, write_journal

from cloudtune import cli
from cloudtune.backend import SageMakerBackend
from cloudtune.config_space import uniform
from cloudtune.experiment_record import describe, metadata_of
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout

Capture = pytest.CaptureFixture[str]


def test_the_metadata_tell_a_place_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    spec, scheduler = TrainingJobSpec("", "", "", ""), RandomSearch({"x": uniform(0, 1)}, metric="loss")

    def place(s3_path: str | None) -> object:
        backend = SageMakerBackend(spec, entry_point=tmp_path / "train.py", s3_path=s3_path)
        return metadata_of(describe(scheduler, backend.metadata(), {}, 1), scheduler, 0.0, None).get("s3_path")

    assert [place(None), place("s3://bucket/team")] == [None, "s3://bucket/team"]


def test_one_that_is_tuned_here_is_found_in_a_place_of_its_own(
    lab: Lab, own_folder: Path, capsys: Capture
) -> None:
    where = S3ExperimentPaths(S3Uri(lab.bucket, "team/mine"))
    lab.put(where.checkpoints / "1" / "model")
    write_journal(ExperimentPaths(own_folder / "mine"), story(), s3_path=f"s3://{lab.bucket}/team")
    assert cli.main(["status", "mine"]) == 9  # nobody tunes it
    assert f"{where.root}\n" in capsys.readouterr().out
    assert cli.main(["collect", "mine", "--checkpoints", "best"]) == 0
    assert (own_folder / "mine" / "1" / "checkpoints" / "model").exists()
    assert cli.main(["clean", "mine", "--everything", "--yes"]) == 3
    assert f"aws s3 rm --recursive {where.root}" in capsys.readouterr().err
    assert lab.keys(where.root) != []


def test_one_that_is_tuned_by_a_job_in_a_place_of_its_own(lab: Lab, capsys: Capture) -> None:
    state = f"s3://{lab.bucket}/team/far/state"
    lab.start("far", environment={layout.ENV_TUNER_NAME: "far", layout.ENV_STATE_URI: state})
    assert cli.main(["status", "far"]) == 0
    assert f"is kept in {state}" in capsys.readouterr().err
    lab.start("near", environment={layout.ENV_STATE_URI: f"s3://{lab.bucket}/cloudtune/tag/near/state"})
    assert cli.main(["status", "near"]) == 0
    assert "is kept in" not in capsys.readouterr().err


def test_what_is_meant_by_a_name_that_is_none(lab: Lab, capsys: Capture) -> None:
    lab.experiment("one", tag="study")
    assert cli.main(["status", "study"]) == 3
    assert "'study' is a study, not an experiment.\n  -> Write --tag study" in capsys.readouterr().err
    assert cli.main(["cost", "qqqqqq"]) == 3
    assert "One with an s3_path of its own" in capsys.readouterr().err
