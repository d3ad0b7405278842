"""Benchmark definitions and the scripts that they name, run as backends run them."""

from __future__ import annotations

import ast
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudtune import constants
from cloudtune.errors import SpecError
from cloudtune.experiments.benchmark_definitions import (
    RealBenchmarkDefinition,
    mlp_digits_benchmark,
    real_benchmark_definitions,
)
from cloudtune.report import retrieve

DEFINITIONS = real_benchmark_definitions()
FAST = {"sleep_time": 0}
MLP = {"n_units_1": 64, "n_units_2": 32, "batch_size": 64, "dropout_1": 0.2, "dropout_2": 0.1}
MLP |= {"learning_rate": 0.01, "weight_decay": 1e-4}


def run_script(script: Path, config: dict, env: dict | None = None) -> list[dict]:
    done = run_process(script, config, env)
    assert done.returncode == 0, done.stderr
    return retrieve(done.stdout.splitlines())


def run_process(script: Path, config: dict, env: dict | None = None) -> subprocess.CompletedProcess:
    args = [part for key, value in config.items() for part in (f"--{key}", str(value))]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CLOUDTUNE_")}
    return subprocess.run(
        [sys.executable, str(script), *args],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**clean, **(env or {})},
    )


def curve(reports: list[dict], *names: str) -> list[tuple]:
    return [tuple(report[name] for name in names) for report in reports]


# --- definitions ---


def test_the_default_comes_first():
    assert list(DEFINITIONS) == ["mlp_digits", "train_height", "checkpoint_example"]
    assert all(isinstance(d, RealBenchmarkDefinition) for d in DEFINITIONS.values())


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("sagemaker_backend", [False, True])
def test_definitions_are_consistent(name, sagemaker_backend):
    definition = real_benchmark_definitions(sagemaker_backend)[name]
    assert definition.script.is_file()
    assert isinstance(definition.config_space[definition.max_resource_attr], int)
    assert definition.mode in ("min", "max")
    assert definition.instance_type.startswith("ml.")


def test_overrides():
    definitions = real_benchmark_definitions(n_workers=7, max_num_evaluations=3)
    assert {(d.n_workers, d.max_num_evaluations) for d in definitions.values()} == {(7, 3)}
    assert mlp_digits_benchmark(config_space={"epochs": 2}).config_space == {"epochs": 2}
    with pytest.raises(SpecError, match="no field 'workers'") as error:
        mlp_digits_benchmark(workers=7)
    assert "n_workers" in str(error.value)


def test_fields_are_those_that_people_know():
    names = [field.name for field in dataclasses.fields(RealBenchmarkDefinition)]
    assert names == [
        *("script", "config_space", "max_wallclock_time", "n_workers", "instance_type", "metric", "mode"),
        *("max_resource_attr", "framework", "resource_attr", "estimator_kwargs", "max_num_evaluations"),
        "points_to_evaluate",
    ]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_script_has_the_names_of_its_definition(name):
    definition = DEFINITIONS[name]
    tree = ast.parse(definition.script.read_text())
    names = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert names["METRIC_NAME"] == definition.metric
    assert names["METRIC_MODE"] == definition.mode
    assert names["RESOURCE_ATTR"] == definition.resource_attr
    assert names["MAX_RESOURCE_ATTR"] == definition.max_resource_attr


def test_definitions_wake_no_torch():
    code = "import sys, cloudtune.experiments.benchmark_definitions; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


# --- train_height ---


def test_train_height():
    config = {"steps": 3, "width": 5, "height": -20, "unknown": "argument", **FAST}
    reports = run_script(DEFINITIONS["train_height"].script, config)
    assert curve(reports, "step", "epoch", "mean_loss") == [
        (0, 1, pytest.approx(100 / 10 - 2)),
        (1, 2, pytest.approx(100 / 15 - 2)),
        (2, 3, pytest.approx(100 / 20 - 2)),
    ]


def test_train_height_needs_its_arguments():
    done = run_process(DEFINITIONS["train_height"].script, {"steps": 3})
    assert done.returncode == 2
    assert "--width" in done.stderr


# --- checkpoint_example ---


def test_checkpoint_example(tmp_path):
    script = DEFINITIONS["checkpoint_example"].script
    config = {"multiplier": 0.5, "st_checkpoint_dir": tmp_path / "new", **FAST}
    expected = [(1, 0.5), (2, 0.75), (3, 0.875), (4, 0.9375)]
    assert curve(run_script(script, {"num-epochs": 2, **config}), "epoch", "train_acc") == expected[:2]
    assert curve(run_script(script, {"num_epochs": 4, **config}), "epoch", "train_acc") == expected[2:]
    seen = tmp_path / "seen"
    seen.write_text("1")
    env = {constants.ENV_SEEN_LEVEL_FILE: str(seen)}
    assert curve(run_script(script, {"num_epochs": 4, **config}, env), "epoch", "train_acc") == expected[1:]


def test_checkpoint_example_without_directory():
    reports = run_script(DEFINITIONS["checkpoint_example"].script, {"num_epochs": 2, **FAST})
    assert curve(reports, "epoch", "train_acc") == [(1, 1), (2, 2)]


# --- mlp_digits ---


def test_mlp_digits_learns_and_continues_exactly(tmp_path):
    script = DEFINITIONS["mlp_digits"].script
    names = ("epoch", "accuracy", "val_loss")
    undisturbed = run_script(script, {"epochs": 6, **MLP})
    assert [r["epoch"] for r in undisturbed] == [1, 2, 3, 4, 5, 6]
    assert undisturbed[-1]["accuracy"] > 0.85
    assert undisturbed[-1]["accuracy"] > undisturbed[0]["accuracy"] + 0.2
    config = {"st_checkpoint_dir": tmp_path, **MLP}
    env = {constants.ENV_RUNG_LEVELS: "1,3,9"}
    first = run_script(script, {"epochs": 4, **config}, env)  # ends at 4, the last checkpoint is at 3
    second = run_script(script, {"epochs": 6, **config}, env)
    assert curve(first, *names) == curve(undisturbed[:4], *names)
    assert curve(second, *names) == curve(undisturbed[3:], *names)
    assert second[0]["elapsed_time"] > first[2]["elapsed_time"] > first[0]["elapsed_time"] > 0


def test_mlp_digits_does_not_import_the_slow_things():
    """scikit-learn takes 1.5 s and torch's compiler as much; a trial takes less."""
    code = f"""
import runpy, sys
sys.argv = ["mlp_digits.py", "--epochs", "1"]
runpy.run_path({str(DEFINITIONS["mlp_digits"].script)!r}, run_name="__main__")
print("slow:", sorted({{"sklearn", "torch._dynamo", "torch._inductor", "pandas", "scipy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert len(retrieve(done.stdout.splitlines())) == 1
    assert done.stdout.splitlines()[-1] == "slow: []"


def test_mlp_digits_takes_json(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"epochs": 1, "n_units_1": 4, "batch_size": 128}')
    reports = run_script(DEFINITIONS["mlp_digits"].script, {"st_config_json_filename": file})
    assert [r["epoch"] for r in reports] == [1]


def test_mlp_digits_errors_are_clear(tmp_path):
    done = run_process(DEFINITIONS["mlp_digits"].script, {"st_config_json_filename": tmp_path / "none.json"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "none.json" in done.stderr
