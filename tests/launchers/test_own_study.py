"""A study with arguments, settings of methods and columns of its own, as scripts of Syne Tune have them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from launcher_helpers import benchmark_of, write_script

from cloudtune import Tuner
from cloudtune.experiments import load_experiments
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_local import main
from cloudtune.results_callback import ExtraResultsComposer

EXTRA_ARGS = [{"name": "first_x", "type": float, "required": True, "help": "x of the first trial"}]


class NumTrials(ExtraResultsComposer):
    def __call__(self, tuner: Tuner) -> dict[str, Any]:
        return {"num_trials": tuner.tuning_status.num_trials_started}

    def keys(self) -> list[str]:
        return ["num_trials"]


def with_first_point(arguments: argparse.Namespace, method: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "points_to_evaluate": [{"x": arguments.first_x}]} if method == "RS" else kwargs


def run(script: Path, *argv: str) -> int:
    definitions = benchmark_of(script, n_workers=1)
    return main(
        methods,
        lambda: definitions,
        EXTRA_ARGS,
        with_first_point,
        NumTrials(),
        argv=["--experiment_tag", "own", "--method", "RS", *argv],
    )


def test_arguments_settings_and_columns(
    tmp_path: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = write_script(tmp_path)
    assert run(script) == 2
    assert "--first_x" in capsys.readouterr().err
    assert not own_folder.exists()
    assert run(script, "--first_x", "0.125") == 0
    (found,) = load_experiments("own", download_if_not_found=False)
    assert found.metadata["first_x"] == 0.125
    assert found.results["config_x"].tolist() == found.results["loss"].tolist() == [0.125, 0.125]
    assert found.results["num_trials"].tolist() == [1, 1]
    assert run(script, "--first_x", "0.25") == 2  # what of it ran before would be shown as this
    assert "--first_x 0.125" in capsys.readouterr().err
