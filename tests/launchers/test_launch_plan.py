"""From a command line to experiments, code archive and jobs."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from launcher_helpers import CODE, ENTRY_POINT, ROLE, WHERE, benchmark_of, study_of, write_script

from cloudtune.aws.code_archive import CodeArchive
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.errors import SpecError
from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers import launch_plan as planning
from cloudtune.experiments.launchers.dry_run import describe
from cloudtune.experiments.launchers.hpo_main import experiment_metadata, select_benchmark
from cloudtune.experiments.launchers.trials_here import TrialsHere
from cloudtune.remote.tuning_job import JobResources

DEFINITIONS = real_benchmark_definitions()
TAG = ["--experiment_tag", "demo"]


def job_arguments(
    study: planning.Study, experiment: planning.PlannedExperiment, extra: list[dict[str, Any]]
) -> Any:
    """The namespace that the script in the job sees: hyperparameters, to JSON, to arguments, and parsed."""
    request = create_training_job_request(planning.job_of(study, experiment, WHERE))
    argv: list[str] = []
    for name, text in request["HyperParameters"].items():
        value = json.loads(text)
        argv += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    parser = cli.experiment_parser("hpo_main.py", "", methods, DEFINITIONS, "")
    study.kind.add_arguments(parser)
    parser.add_argument("--launched_remotely", type=int, default=0)
    cli.add_extra_arguments(parser, extra)
    return parser.parse_args(argv)


def test_methods_times_seeds_with_seeds_slowest() -> None:
    study = study_of([*TAG, "--start_seed", "3", "--num_seeds", "5"], DEFINITIONS)
    assert [(e.method, e.seed) for e in study.experiments] == [(m, s) for s in (3, 4) for m in methods]
    assert study.experiments[0].name == "demo-mlp-digits-RS-3"


def test_names_are_a_function_of_the_command_line() -> None:
    few, many = (study_of([*TAG, "--num_seeds", n], DEFINITIONS).experiments for n in ("2", "12"))
    assert set(few) < set(many)
    assert len({e.name for e in many}) == 36


def test_long_names_stay_distinct_and_legal() -> None:
    tag = "a" * cli.MAX_TAG_LENGTH
    study = study_of(
        ["--experiment_tag", tag, "--benchmark", "checkpoint_example", "--num_seeds", "12"], DEFINITIONS
    )
    found = [e.name for e in study.experiments]
    assert len(set(found)) == 36 and max(map(len, found)) <= 63


def test_methods_whose_names_collide_are_refused() -> None:
    arguments = study_of(TAG, DEFINITIONS).arguments
    with pytest.raises(SpecError, match="would both be called"):
        planning.plan_experiments(arguments, "mlp_digits", ["BO_1", "BO-1"])


def test_the_job_does_what_the_command_line_says() -> None:
    extra = [{"name": "note", "type": str, "default": None}, {"name": "brackets", "type": int, "default": 1}]
    argv = [*TAG, "--num_seeds", "3", "--n_workers", "1", "--max_wallclock_time", "7.5", "--max_failures", "0"]
    argv += [
        "--scale_max_wallclock_time",
        "yes",
        "--save_tuner",
        "no",
        "--note",
        'a "b" c',
        "--num_gpus_per_trial",
        "0.5",
    ]
    study = study_of(argv, DEFINITIONS, extra)
    for experiment in study.experiments:
        seen = job_arguments(study, experiment, extra)
        assert seen.launched_remotely == 1
        assert (seen.experiment_tag, seen.method, seen.benchmark) == ("demo", experiment.method, "mlp_digits")
        assert list(cli.seeds_of(seen)) == [experiment.seed]
        for name in ("n_workers", "max_failures", "save_tuner", "note", "brackets", "num_gpus_per_trial"):
            assert getattr(seen, name) == getattr(study.arguments, name), name
        name, benchmark = select_benchmark(DEFINITIONS, seen)
        assert benchmark == study.benchmark  # the same limits after scaling
        here, there = (
            experiment_metadata(TrialsHere(a, name, benchmark), experiment.method, experiment.seed)
            for a in (study.arguments, seen)
        )
        assert here == there  # the same random seed above all


def test_fewer_workers_get_more_time_if_asked() -> None:
    scaled = study_of([*TAG, "--n_workers", "1", "--scale_max_wallclock_time", "1"], DEFINITIONS).benchmark
    assert scaled.max_wallclock_time == 2 * DEFINITIONS["mlp_digits"].max_wallclock_time
    assert study_of([*TAG, "--n_workers", "1"], DEFINITIONS).benchmark.max_wallclock_time == 15


def test_the_random_seed_depends_on_the_tag_or_is_given() -> None:
    seeds = [
        cli.master_seed(study_of(argv, DEFINITIONS).arguments) for argv in (TAG, TAG, ["--experiment_tag", "b"])
    ]
    assert seeds[0] == seeds[1] != seeds[2]
    assert cli.master_seed(study_of([*TAG, "--random_seed", "5"], DEFINITIONS).arguments) == 5


def test_requests_are_legal_and_say_which_experiment_they_are() -> None:
    study = study_of([*TAG, "--spot"], DEFINITIONS)
    for experiment in study.experiments:
        request = create_training_job_request(planning.job_of(study, experiment, WHERE))
        validate_request(request)
        tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        assert tags["cloudtune-method"] == experiment.method and tags["cloudtune-tag"] == "demo"
        prefix = f"s3://{CODE.bucket}/cloudtune/demo/{experiment.name}/"
        assert request["CheckpointConfig"]["S3Uri"].startswith(prefix)
        assert request["Environment"]["CLOUDTUNE_STATE_URI"].startswith(prefix)


def files_of(archive: CodeArchive) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers() if m.isfile()}


def test_the_code_of_the_default_study_is_complete() -> None:
    files = files_of(planning.build_code(ENTRY_POINT, study_of(TAG, DEFINITIONS).trials))
    assert "entry/hpo_main.py" in files
    package = Path(cloudtune_folder())
    for path in package.rglob("*"):  # csv, requirements and py.typed as well as modules
        if path.is_file() and "__pycache__" not in path.parts:
            assert files[f"cloudtune/{path.relative_to(package).as_posix()}"] == path.read_bytes()
    assert not [name for name in files if name.startswith("tests") or "__pycache__" in name]
    required = files["requirements.txt"].decode()
    assert "torch" in required and "scikit-learn" in required and "dill" in required


def cloudtune_folder() -> Path:
    import cloudtune

    return Path(cloudtune.__file__).parent


def test_the_code_of_a_users_study(tmp_path: Path) -> None:
    script = write_script(tmp_path / "mine")
    entry = tmp_path / "mine" / "hpo_main.py"
    entry.write_text("print('hello')\n")
    (tmp_path / "mine" / "requirements-mine.txt").write_text("numpy>=1.26\ntqdm==4.66.1  # progress\n")
    helper = tmp_path / "helper"
    helper.mkdir()
    (helper / "__init__.py").write_text("")
    trials = study_of(TAG, benchmark_of(script)).trials
    files = files_of(planning.build_code(entry, trials, [helper]))
    assert {"entry/hpo_main.py", "entry/train.py", "helper/__init__.py"} <= set(files)
    assert "tqdm==4.66.1" in files["requirements.txt"].decode()
    with pytest.raises(SpecError, match="no entry point"):
        planning.build_code(tmp_path / "other.py", trials)


def test_a_dry_run_shows_one_request_and_what_differs() -> None:
    study = study_of([*TAG, "--num_seeds", "10"], DEFINITIONS)
    archive = planning.build_code(ENTRY_POINT, study.trials)
    plan = planning.plan_launch(study, archive, WHERE)
    requests = [create_training_job_request(spec) for spec in plan.specs]
    text = describe(study, plan, requests, "nowhere", full=False)
    assert text.count('"TrainingJobName"') == 1 and len(text.splitlines()) < 150
    assert 'demo-mlp-digits-ASHA-9: method="ASHA", num_seeds=10, start_seed=9' in text
    assert "30 = 3 methods (RS, ASHA, ASHA-PROM) x 10 seeds (0 to 9)" in text
    assert str(plan.cost) in text
    full = describe(study, plan, requests, "nowhere", full=True)
    assert full.count('"TrainingJobName"') == 30 and "cloudtune/instance_prices.csv" in full


def test_a_benchmark_says_more_about_its_jobs(tmp_path: Path) -> None:
    settings = {
        "environment": {"WANDB_MODE": "offline"},
        "tags": [{"Key": "team", "Value": "vision"}],
        "subnets": ["subnet-1"],
        "security_group_ids": ["sg-1"],
        "max_run": 5000,
        "volume_size": 200,
        "use_spot_instances": True,
        "image_uri": "mine:1",
    }
    definitions = benchmark_of(write_script(tmp_path), estimator_kwargs=settings)

    def resources(*argv: str) -> JobResources:
        study = study_of(["--experiment_tag", "t", *argv], definitions)
        return study.trials.resources("us-east-1", ROLE)

    found = resources()
    assert (found.image, found.max_run_s, found.volume_size_gb, found.spot) == ("mine:1", 5000, 200, True)
    assert (found.subnets, found.environment) == (("subnet-1",), {"WANDB_MODE": "offline"})
    assert found.tags == {"team": "vision"}
    found = resources("--max_run", "6000", "--volume_size", "50", "--image_uri", "yours:1")
    assert (found.image, found.max_run_s, found.volume_size_gb) == ("yours:1", 6000, 50)
    definitions = benchmark_of(write_script(tmp_path), estimator_kwargs={"subnet": ["subnet-1"]})
    with pytest.raises(SpecError, match=r"Benchmark mine, estimator_kwargs: .*'subnet'") as raised:
        resources()
    assert "Did you mean subnets?" in raised.value.hint
