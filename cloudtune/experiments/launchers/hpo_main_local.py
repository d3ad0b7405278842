"""Runs methods x seeds on one benchmark here, one experiment after the other, several trials at a time.

The same code runs inside the jobs of ``launch_remote_local``; there it is given one method and one seed, and
keeps its state in S3.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cloudtune import names
from cloudtune.backend import LocalBackend
from cloudtune.errors import SpecError, TuningFailed
from cloudtune.experiments.baselines import MethodArguments, Methods
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.command_line import configure_logging, run_program
from cloudtune.experiments.launchers.study_binding import StudyBinding, settings_of
from cloudtune.experiments.launchers.study_end import conclude
from cloudtune.experiments.launchers.study_record import open_study, require_writable_root
from cloudtune.experiments.loading import load_experiments
from cloudtune.experiments.retries import first_that_has_not_failed
from cloudtune.paths import ExperimentPaths, experiments_root
from cloudtune.remote import in_job
from cloudtune.stopping_criterion import StoppingCriterion
from cloudtune.tuner import Tuner

logger = logging.getLogger(__name__)

BenchmarkDefinitions: TypeAlias = "Callable[..., Mapping[str, RealBenchmarkDefinition]]"
ExtraArguments: TypeAlias = "Sequence[Mapping[str, Any]] | None"
MapMethodArguments: TypeAlias = "Callable[[argparse.Namespace, str, dict[str, Any]], dict[str, Any]] | None"

_DESCRIPTION = """\
Run tuning experiments on this machine: methods x seeds, one after the other, several trials at a time.
Ctrl-C, a crash or a reboot lose nothing: the same command continues."""

_EXAMPLES = """\
examples:
  {prog} --method ASHA --max_wallclock_time 30     one experiment
  {prog} --num_seeds 3                             all methods, three repetitions each, compared at the end
  {prog} --experiment_tag demo --num_seeds 5       a study with a name; with more seeds, only new ones run
"""


def main(
    methods: Methods,
    benchmark_definitions: BenchmarkDefinitions,
    extra_args: ExtraArguments = None,
    map_method_args: MapMethodArguments = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Parses the command line and runs the experiments.

    Args:
        methods: Name to a function of MethodArguments that makes a scheduler.
        benchmark_definitions: Called for name to benchmark.
        extra_args: Further command line arguments; dicts of ``name`` and what ``add_argument`` takes. Their values
            become metadata.
        map_method_args: ``(arguments, method, scheduler_kwargs) -> scheduler_kwargs``.
        argv: Default: the process's.

    Returns:
        The exit code; without ``argv``, one other than 0 ends the process.
    """
    return run_program(
        lambda argv: _run_all(methods, benchmark_definitions, extra_args, map_method_args, argv), argv
    )


def _run_all(
    methods: Methods,
    benchmark_definitions: BenchmarkDefinitions,
    extra_args: ExtraArguments,
    map_method_args: MapMethodArguments,
    argv: Sequence[str],
) -> int:
    program = Path(sys.argv[0])
    definitions = benchmark_definitions()
    parser = cli.experiment_parser(program.name or "hpo_main.py", _DESCRIPTION, methods, definitions, _EXAMPLES)
    parser.add_argument("--launched_remotely", type=int, default=0, help=argparse.SUPPRESS)
    extra = cli.add_extra_arguments(parser, extra_args)
    arguments = parser.parse_args(argv)
    configure_logging(arguments.verbose)
    chosen = cli.choose("method", methods, arguments.method)
    name, benchmark = select_benchmark(definitions, arguments)
    runs = [(method, seed) for method in chosen for seed in cli.seeds_of(arguments)]
    study = None
    if arguments.experiment_tag is not None:
        cli.check_tag(arguments.experiment_tag)
    if not arguments.launched_remotely:
        require_writable_root()
    if arguments.experiment_tag is None:
        study = open_study(program, arguments)
        arguments.experiment_tag = study.tag
        if study.continued:
            logger.info(
                "Continuing study %s, which is not done yet (a new one: --experiment_tag NAME).", study.tag
            )
    settings = settings_of(arguments, benchmark, extra)
    if not arguments.launched_remotely:
        StudyBinding(arguments.experiment_tag).check(name, settings)
    for number, (method, seed) in enumerate(runs, 1):
        method_arguments = method_arguments_of(arguments, benchmark, seed)
        if map_method_args is not None:
            scheduler_kwargs = map_method_args(arguments, method, dict(method_arguments.scheduler_kwargs))
            method_arguments = dataclasses.replace(method_arguments, scheduler_kwargs=scheduler_kwargs)
        metadata = {
            **experiment_metadata(arguments, name, benchmark, method, seed),
            **{key: getattr(arguments, key) for key in extra},
        }
        tuner = build_tuner(arguments, name, benchmark, chosen[method](method_arguments), metadata)
        if arguments.launched_remotely:
            in_job.settle(tuner)
            _run(tuner)
        else:
            logger.info("Experiment %d of %d: %s, seed %d.", number, len(runs), method, seed)
            _run_here(tuner, arguments.experiment_tag, name, settings)
    if not arguments.launched_remotely:
        conclude(
            arguments.experiment_tag, name, load_experiments(arguments.experiment_tag, download_if_not_found=False)
        )
    if study is not None:
        study.done()
    return 0


def _run_here(tuner: Tuner, tag: str, benchmark: str, settings: Mapping[str, Any]) -> None:
    """In the folder of the study, which has its settings from the first experiment on that has begun."""
    parent, binding = experiments_root() / tag, StudyBinding(tag)
    tuner.relocate(ExperimentPaths(parent / first_that_has_not_failed(parent, tuner.name)))
    is_new = binding.bind(benchmark, settings)
    try:
        _run(tuner)
    finally:
        if is_new and not any(tuner.paths.journal.glob("*.jsonl")):
            binding.release(benchmark)


def _run(tuner: Tuner) -> None:
    try:
        tuner.run()
    except TuningFailed as error:
        output = tuner.paths.trial(0).dir.parent / "<trial_id>" / "std.err"
        hint = f"Mend the script, or raise --max_failures; the same command runs it anew. Output: {output}"
        raise TuningFailed(error.message, hint) from error


def select_benchmark(
    definitions: Mapping[str, RealBenchmarkDefinition], arguments: argparse.Namespace
) -> tuple[str, RealBenchmarkDefinition]:
    """The benchmark meant (default: the first), with ``--n_workers`` and ``--max_wallclock_time`` applied.

    Raises:
        SpecError: Unknown benchmark, or its script is missing.
    """
    name, benchmark = next(iter(cli.choose("benchmark", definitions, arguments.benchmark).items()))
    if not Path(benchmark.script).is_file():
        raise SpecError(
            f"Benchmark {name}: there is no training script {benchmark.script}.", "Correct the script's path."
        )
    n_workers = arguments.n_workers or benchmark.n_workers
    seconds = arguments.max_wallclock_time or benchmark.max_wallclock_time
    if arguments.scale_max_wallclock_time:
        seconds *= benchmark.n_workers / min(benchmark.n_workers, n_workers)
    return name, dataclasses.replace(benchmark, n_workers=n_workers, max_wallclock_time=seconds)


def method_arguments_of(
    arguments: argparse.Namespace, benchmark: RealBenchmarkDefinition, seed: int
) -> MethodArguments:
    """What the method is given for repetition ``seed``."""
    scheduler_kwargs: dict[str, Any] = {}
    if benchmark.points_to_evaluate is not None:
        scheduler_kwargs["points_to_evaluate"] = benchmark.points_to_evaluate
    return MethodArguments(
        config_space=dict(benchmark.config_space),
        metric=benchmark.metric,
        mode=benchmark.mode,
        random_seed=cli.run_seed(cli.master_seed(arguments), seed),
        resource_attr=benchmark.resource_attr,
        max_resource_attr=benchmark.max_resource_attr,
        scheduler_kwargs=scheduler_kwargs,
        num_gpus_per_trial=arguments.num_gpus_per_trial,
    )


def experiment_metadata(
    arguments: argparse.Namespace, name: str, benchmark: RealBenchmarkDefinition, method: str, seed: int
) -> dict[str, Any]:
    """What ``metadata.json`` says about one experiment of a study."""
    return {
        "seed": seed,
        "algorithm": method,
        "tag": arguments.experiment_tag,
        "benchmark": name,
        "random_seed": cli.run_seed(cli.master_seed(arguments), seed),
        "n_workers": benchmark.n_workers,
        "max_wallclock_time": benchmark.max_wallclock_time,
        "instance_type": getattr(arguments, "instance_type", None) or benchmark.instance_type,
        "num_gpus_per_trial": arguments.num_gpus_per_trial,
    }


def build_tuner(
    arguments: argparse.Namespace,
    name: str,
    benchmark: RealBenchmarkDefinition,
    scheduler: Any,
    metadata: Mapping[str, Any],
) -> Tuner:
    """The tuner of one experiment of a study; its name is a function of tag, benchmark, method and seed."""
    tuner_name = names.tuner_name(arguments.experiment_tag, name, metadata["algorithm"], metadata["seed"])
    return Tuner(
        LocalBackend(
            str(benchmark.script),
            delete_checkpoints=arguments.delete_checkpoints,
            num_gpus_per_trial=arguments.num_gpus_per_trial,
        ),
        scheduler,
        StoppingCriterion(
            max_wallclock_time=benchmark.max_wallclock_time, max_num_evaluations=benchmark.max_num_evaluations
        ),
        n_workers=benchmark.n_workers,
        max_failures=arguments.max_failures,
        tuner_name=tuner_name,
        suffix_tuner_name=False,
        save_tuner=arguments.save_tuner,
        metadata=metadata,
    )
