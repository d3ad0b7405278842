"""A study of a user's own: folder with training script, entry point and requirements."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cloudtune.config_space import uniform
from cloudtune.experiments import RealBenchmarkDefinition
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers import launch_plan as planning
from cloudtune.experiments.launchers.arguments import choose
from cloudtune.experiments.launchers.hpo_main import select_benchmark
from cloudtune.experiments.launchers.launch_arguments import add_launch_arguments
from cloudtune.experiments.launchers.study_command import StudyCommand
from cloudtune.experiments.launchers.trials import Trials
from cloudtune.experiments.launchers.trials_here import TrialsHere
from cloudtune.paths import S3Uri
from cloudtune.remote.tuning_job import JobResources

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY_POINT = REPOSITORY / "entry_points" / "hpo_main.py"
ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMaker-ExecutionRole-cloudtune"
CODE = S3Uri("bucket-of-mine", "cloudtune/_code/0123")
WHERE = planning.Destination(CODE, JobResources("ml.m5.large", ROLE, "image:1"), "us-east-1")

_PROLOGUE = """\
import argparse
from cloudtune import Reporter
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--epochs", type=int)
parser.add_argument("--st_checkpoint_dir")
arguments = parser.parse_args()
report = Reporter()
"""
GOOD = "for epoch in range(1, arguments.epochs + 1): report(epoch=epoch, loss=arguments.x)"


def write_script(folder: Path, body: str = GOOD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "train.py"
    script.write_text(_PROLOGUE + body + "\n")
    return script


def benchmark_of(script: Path, **fields: Any) -> dict[str, RealBenchmarkDefinition]:
    settings: dict[str, Any] = {
        "script": script,
        "config_space": {"x": uniform(0, 1), "epochs": 2},
        "max_wallclock_time": 20,
        "max_num_evaluations": 2,
        "n_workers": 2,
        "instance_type": "ml.m5.large",
        "metric": "loss",
        "mode": "min",
        "max_resource_attr": "epochs",
        "resource_attr": "epoch",
    }
    return {"mine": RealBenchmarkDefinition(**{**settings, **fields})}


def study_of(
    argv: list[str],
    definitions: dict[str, RealBenchmarkDefinition],
    extra_args: list[dict[str, Any]] | None = None,
    kind: type[Trials] = TrialsHere,
) -> planning.Study:
    """What ``launch_remote`` makes of a command line."""
    parser = StudyCommand(kind, "", "").parser(methods, definitions)
    extra = add_launch_arguments(parser, kind, extra_args)
    arguments: argparse.Namespace = parser.parse_args(argv)
    chosen = choose("method", methods, arguments.method)
    name, benchmark = select_benchmark(definitions, arguments)
    experiments = planning.plan_experiments(arguments, name, list(chosen))
    return planning.Study(arguments, experiments, name, benchmark, ENTRY_POINT, kind, tuple(extra))
