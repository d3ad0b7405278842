"""Launching tuners whose trials have jobs of their own: from a command line to jobs, costs and refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from launcher_helpers import CODE, REPOSITORY, ROLE, benchmark_of, study_of, write_script

from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.errors import SpecError
from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers import hpo_main_sagemaker, launch_remote_sagemaker
from cloudtune.experiments.launchers import launch_plan as planning
from cloudtune.experiments.launchers.dry_run import describe
from cloudtune.experiments.launchers.hpo_main import select_benchmark
from cloudtune.experiments.launchers.launch_arguments import check
from cloudtune.experiments.launchers.study_binding import StudyBinding, settings_of
from cloudtune.experiments.launchers.study_command import StudyCommand
from cloudtune.experiments.launchers.trials_in_jobs import KEEP_ALIVE_S, TrialsInJobs
from cloudtune.instance_info import price_per_hour, prices_date

DEFINITIONS = real_benchmark_definitions(sagemaker_backend=True)
ENTRY_POINT = REPOSITORY / "entry_points" / "hpo_main_sagemaker.py"
TRIAL_ROLE = "arn:aws:iam::123456789012:role/trials"


def study(*argv: str) -> planning.Study:
    return study_of(["--experiment_tag", "demo", *argv], DEFINITIONS, kind=TrialsInJobs)


def destination(of: planning.Study) -> planning.Destination:
    role = of.trials.role_arn(ROLE, lambda name: name)
    return planning.Destination(CODE, of.trials.resources("us-east-1", ROLE), "us-east-1", role)


def request_of(of: planning.Study) -> dict[str, Any]:
    request = create_training_job_request(planning.job_of(of, of.experiments[0], destination(of)))
    validate_request(request)
    return request


def test_the_job_of_the_tuner_is_small_and_leaves_checkpoints_alone() -> None:
    request = request_of(study("--instance_type", "ml.g5.xlarge", "--spot_tuner", "--trial_role", TRIAL_ROLE))
    assert request["ResourceConfig"]["InstanceType"] == "ml.m5.large"
    assert request["EnableManagedSpotTraining"] is True
    assert "CheckpointConfig" not in request
    assert request["Environment"]["AWS_ROLE"] == TRIAL_ROLE
    assert request["Environment"]["CLOUDTUNE_TUNER_INSTANCE"] == "ml.m5.large spot"
    assert request_of(study())["Environment"]["AWS_ROLE"] == ROLE


def test_the_job_makes_the_trials_that_the_command_line_says() -> None:
    """Hyperparameters, to JSON, to arguments, and parsed, as in the job."""
    argv = [
        "--instance_type",
        "ml.g5.xlarge",
        "--fallback_instance_types",
        "ml.g4dn.xlarge,ml.p3.2xlarge",
        "--spot",
    ]
    argv += ["--max_cost", "12.5", "--volume_size", "77", "--start_jobs_without_delay", "yes", "--n_workers", "3"]
    here = study(*argv)
    words: list[str] = []
    for name, text in request_of(here)["HyperParameters"].items():
        value = json.loads(text)
        words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    parser = StudyCommand(TrialsInJobs, "", "").parser(methods, DEFINITIONS)
    parser.add_argument("--launched_remotely", type=int, default=0)
    arguments = parser.parse_args(words)
    there = TrialsInJobs(arguments, *select_benchmark(DEFINITIONS, arguments))
    assert arguments.launched_remotely == 1
    assert there.trial_spec("us-east-1") == here.trials.trial_spec("us-east-1")  # type: ignore[attr-defined]
    assert there.stop_criterion() == here.trials.stop_criterion()
    assert there.tuner_options() == here.trials.tuner_options() == {"start_jobs_without_delay": True}
    assert there.metadata() == here.trials.metadata()
    spec = there.trial_spec("us-east-1")
    assert (spec.spot, spec.keep_alive_s, spec.volume_size_gb) == (True, None, 77)
    assert there.stop_criterion().max_cost == 12.5
    backend: Any = there.make_backend()
    assert backend.template.spec.instance_type == "ml.g5.xlarge" and backend.s3_path is None


def test_instances_are_kept_for_the_next_trial_unless_they_are_spot() -> None:
    def kept(*argv: str) -> int | None:
        found: int | None = study(*argv).trials.trial_spec("us-east-1").keep_alive_s  # type: ignore[attr-defined]
        return found

    assert (kept(), kept("--warm_pool", "no"), kept("--spot")) == (KEEP_ALIVE_S, None, None)
    with pytest.raises(SpecError, match="--warm_pool does not go with --spot"):
        study("--spot", "--warm_pool", "yes").trials.check()


def test_what_a_benchmark_says_of_its_jobs_is_meant_for_trials(tmp_path: Path) -> None:
    settings = {
        "environment": {"WANDB_MODE": "offline"},
        "subnets": ["subnet-1"],
        "security_group_ids": ["sg-1"],
        "image_uri": "mine:1",
        "max_run": 5000,
    }
    definitions = benchmark_of(write_script(tmp_path), estimator_kwargs=settings)
    found = study_of(["--experiment_tag", "t"], definitions, kind=TrialsInJobs)
    trial = found.trials.trial_spec("us-east-1")  # type: ignore[attr-defined]
    assert (trial.image, trial.max_run_s, trial.environment) == ("mine:1", 5000, {"WANDB_MODE": "offline"})
    tuner = found.trials.resources("us-east-1", ROLE)
    assert trial.subnets == tuple(tuner.subnets) == ("subnet-1",), "the tuner is in the same network"
    assert "pytorch" in tuner.image and tuner.max_run_s is None and not tuner.environment


def test_the_highest_cost_is_that_of_tuners_and_trials() -> None:
    argv = ["--num_seeds", "2", "--method", "RS", "--n_workers", "4", "--warm_pool", "no"]
    both = study(*argv, "--instance_type", "ml.g5.xlarge")
    plan = planning.plan_launch(both, planning.build_code(ENTRY_POINT, both.trials), destination(both))
    tuner, trial = price_per_hour("ml.m5.large"), price_per_hour("ml.g5.xlarge")
    assert tuner is not None and trial is not None
    seconds = both.benchmark.max_wallclock_time
    at_least = 2 * (4 * trial * seconds + tuner * plan.specs[0].max_run_s) / 3600
    assert at_least < plan.cost.usd < 1.5 * at_least
    limited = planning.plan_launch(study(*argv, "--max_cost", "0.01"), plan.archive, destination(both))
    assert math.isfinite(limited.cost.usd) and limited.cost.usd < plan.cost.usd
    twice = planning.plan_launch(
        study(*argv, "--start_jobs_without_delay", "yes"), plan.archive, destination(both)
    )
    once = planning.plan_launch(study(*argv), plan.archive, destination(both))
    assert twice.cost.usd > 1.5 * once.cost.usd, "a trial runs while the last one stops"
    text = describe(both, plan, [create_training_job_request(spec) for spec in plan.specs], "nowhere", full=False)
    assert "one job each, on ml.g5.xlarge, on demand" in text and str(plan.cost) in text


def test_the_tuner_installs_nothing_for_the_script() -> None:
    archive = planning.build_code(ENTRY_POINT, study("--benchmark", "mlp_digits").trials)
    sizes = dict(archive.listing)
    assert "cloudtune/experiments/training_scripts/mlp_digits/requirements.txt" in sizes
    script = (REPOSITORY / "cloudtune/experiments/training_scripts/mlp_digits/requirements.txt").read_text()
    assert "torch" in script
    local = planning.build_code(ENTRY_POINT, study_of(["--experiment_tag", "t"], DEFINITIONS).trials)
    assert sizes["requirements.txt"] < dict(local.listing)["requirements.txt"]


def test_every_tuner_can_get_on() -> None:
    """If tuners took all places of the emulator, none of their trials would ever run."""
    three = study("--num_seeds", "3", "--method", "RS", "--n_workers", "2")
    assert three.trials.jobs_at_once(len(three.experiments)) == 5


def test_which_jobs_lose_their_instances() -> None:
    assert study("--spot_tuner").trials.interrupted_names("demo") == [("demo-", "")]
    assert study("--spot").trials.interrupted_names("demo") == [("", "-demo-")]
    found = study("--interrupt_after", "5")
    with pytest.raises(SpecError, match="only spot jobs"):
        check(found.arguments, found.trials)


def test_a_study_has_one_kind_of_trials() -> None:
    binding = StudyBinding("demo")
    local = study_of(["--experiment_tag", "demo"], DEFINITIONS)
    binding.bind("mlp_digits", settings_of(local.trials, ()))
    with pytest.raises(SpecError, match=r"with the local backend.*this command says the sagemaker backend"):
        binding.check("mlp_digits", settings_of(study().trials, ()))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--num_seeds", "2", "--method", "RS"], "one experiment, and its arguments say 2: 1 methods x 2 seeds"),
        ([], "its arguments say 3: 3 methods x 1 seeds"),
        (["--method", "RS", "--simulate"], "--simulate cannot know how long training takes"),
        (["--method", "RS", "--fallback_instance_types", "g5"], "no list of instance types"),
    ],
)
def test_what_cannot_be_run_is_refused(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hpo_main_sagemaker.main(methods, real_benchmark_definitions, argv=argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--instance_type", "--fallback_instance_types"])
def test_instances_that_do_not_exist_are_refused_before_a_tuner_is_launched(argument: str) -> None:
    with pytest.raises(SpecError, match=r"'ml.g5.xlarg' is none(.|\n)*Near are ml.g5.xlarge"):
        destination(study(argument, "ml.g5.xlarg"))


def test_a_rehearsal_sends_nothing_and_tells_what_it_would_take(
    capsys: pytest.CaptureFixture[str], own_folder: Path
) -> None:
    argv = ["--method", "RS", "--benchmark", "train_height", "--max_wallclock_time", "600", "--n_workers", "2"]
    argv += ["--simulate", "--simulate_epoch_s", "20"]
    code = launch_remote_sagemaker.launch_remote(ENTRY_POINT, methods, real_benchmark_definitions, argv=argv)
    said = capsys.readouterr().out
    assert code == 0 and "RS: Rehearsal, 5 runs" in said
    assert "Nothing was sent" in said and "duration" in said and "$" in said
    assert f"and of the tuner's own ml.m5.large, per experiment; prices of {prices_date()}" in said
    assert not own_folder.exists(), "no study was begun"
