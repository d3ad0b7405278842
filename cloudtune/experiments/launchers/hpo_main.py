"""Runs methods x seeds on one benchmark, one experiment after the other, several trials at a time.

The same code runs inside the jobs of the ``launch_remote_*``; there it is given one method and one seed, and keeps
its state in S3.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cloudtune import names
from cloudtune.errors import SpecError, TuningFailed
from cloudtune.experiments.baselines import MethodArguments, Methods
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.command_line import configure_logging, run_program
from cloudtune.experiments.launchers.study_binding import StudyBinding, settings_of
from cloudtune.experiments.launchers.study_command import StudyCommand
from cloudtune.experiments.launchers.study_end import conclude
from cloudtune.experiments.launchers.study_record import open_study, require_writable_root
from cloudtune.experiments.launchers.trials import BenchmarkDefinitions, Trials
from cloudtune.experiments.loading import load_experiments
from cloudtune.experiments.retries import first_that_has_not_failed
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths, experiments_root
from cloudtune.remote import in_job
from cloudtune.results_callback import ExtraResultsComposer, StoreResultsCallback
from cloudtune.tuner import Tuner

logger = logging.getLogger(__name__)

ExtraArguments: TypeAlias = "Sequence[Mapping[str, Any]] | None"
MapMethodArguments: TypeAlias = "Callable[[argparse.Namespace, str, dict[str, Any]], dict[str, Any]] | None"


class TuningCommand(StudyCommand):
    """The function ``main`` of scripts that tune, for one kind of trials."""

    def __call__(
        self,
        methods: Methods,
        benchmark_definitions: BenchmarkDefinitions,
        extra_args: ExtraArguments = None,
        map_method_args: MapMethodArguments = None,
        extra_results: ExtraResultsComposer | None = None,
        argv: Sequence[str] | None = None,
    ) -> int:
        """Parses the command line and runs the experiments.

        Args:
            methods: Name to a function of MethodArguments that makes a scheduler.
            benchmark_definitions: Called for name to benchmark; with ``sagemaker_backend=True`` where each trial
                has a job of its own.
            extra_args: Further command line arguments; dicts of ``name`` and what ``add_argument`` takes. Their
                values become metadata.
            map_method_args: ``(arguments, method, scheduler_kwargs) -> scheduler_kwargs``.
            extra_results: Makes further columns of the results.
            argv: Default: the process's.

        Returns:
            The exit code; without ``argv``, one other than 0 ends the process.
        """

        def command(argv: Sequence[str]) -> int:
            definitions = self.kind.benchmarks(benchmark_definitions)
            parser = self.parser(methods, definitions)
            parser.add_argument("--launched_remotely", type=int, default=0, help=argparse.SUPPRESS)
            extra = cli.add_extra_arguments(parser, extra_args)
            arguments = parser.parse_args(argv)
            configure_logging(arguments.verbose)
            chosen = cli.choose("method", methods, arguments.method)
            trials = self.kind(arguments, *select_benchmark(definitions, arguments))
            trials.check()
            make = SchedulerMaker(trials, methods, map_method_args)
            if trials.simulate(list(chosen), make):
                return 0
            runs = [(method, seed) for method in chosen for seed in cli.seeds_of(arguments)]
            if not self.kind.run_here and len(runs) > 1:
                raise SpecError(
                    f"This command runs one experiment, and its arguments say {len(runs)}: {len(chosen)} methods "
                    f"x {len(cli.seeds_of(arguments))} seeds.",
                    "Add --method NAME, and for seed K --start_seed K --num_seeds K+1; launchers run many.",
                )
            _run_all(trials, runs, make, extra, extra_results)
            return 0

        return run_program(command, argv)


def _run_all(
    trials: Trials,
    runs: Sequence[tuple[str, int]],
    make_scheduler: SchedulerMaker,
    extra: Sequence[str],
    extra_results: ExtraResultsComposer | None,
) -> None:
    arguments, name = trials.arguments, trials.benchmark_name
    study = None
    if arguments.experiment_tag is not None:
        cli.check_tag(arguments.experiment_tag)
    if not arguments.launched_remotely:
        require_writable_root()
    if arguments.experiment_tag is None:
        study = open_study(StudyCommand.program(), arguments)
        arguments.experiment_tag = study.tag
        if study.continued:
            logger.info(
                "Continuing study %s, which is not done yet (a new one: --experiment_tag NAME).", study.tag
            )
    settings = settings_of(trials, extra)
    if not arguments.launched_remotely:
        StudyBinding(arguments.experiment_tag).check(name, settings)
    for number, (method, seed) in enumerate(runs, 1):
        metadata = {
            **experiment_metadata(trials, method, seed),
            **{key: getattr(arguments, key) for key in extra},
        }
        tuner = build_tuner(trials, make_scheduler(method, seed), metadata, extra_results)
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
        logs = f"cloudtune logs {tuner.name} --trial N"
        hint = f"Mend the script, or raise --max_failures; the same command runs it anew. A trial's output: {logs}"
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
        num_gpus_per_trial=getattr(arguments, "num_gpus_per_trial", 1),
    )


@dataclasses.dataclass(frozen=True)
class SchedulerMaker:
    """Makes the schedulers of a study."""

    trials: Trials
    methods: Methods
    map_method_args: MapMethodArguments = None

    def __call__(self, method: str, seed: int) -> Scheduler:
        """A new one, for one repetition of a method."""
        arguments = self.trials.arguments
        given = method_arguments_of(arguments, self.trials.benchmark, seed)
        if self.map_method_args is not None:
            scheduler_kwargs = self.map_method_args(arguments, method, dict(given.scheduler_kwargs))
            given = dataclasses.replace(given, scheduler_kwargs=scheduler_kwargs)
        return self.methods[method](given)


def experiment_metadata(trials: Trials, method: str, seed: int) -> dict[str, Any]:
    """What ``metadata.json`` says about one experiment of a study."""
    arguments, benchmark = trials.arguments, trials.benchmark
    return {
        "seed": seed,
        "algorithm": method,
        "tag": arguments.experiment_tag,
        "benchmark": trials.benchmark_name,
        "random_seed": cli.run_seed(cli.master_seed(arguments), seed),
        "n_workers": benchmark.n_workers,
        "max_wallclock_time": benchmark.max_wallclock_time,
        **trials.metadata(),
    }


def build_tuner(
    trials: Trials, scheduler: Any, metadata: Mapping[str, Any], extra_results: ExtraResultsComposer | None = None
) -> Tuner:
    """The tuner of one experiment of a study; its name is a function of tag, benchmark, method and seed."""
    arguments = trials.arguments
    callbacks = [] if extra_results is None else [StoreResultsCallback(extra_results_composer=extra_results)]
    return Tuner(
        trials.make_backend(),
        scheduler,
        trials.stop_criterion(),
        n_workers=trials.benchmark.n_workers,
        max_failures=arguments.max_failures,
        tuner_name=names.tuner_name(
            arguments.experiment_tag, trials.benchmark_name, metadata["algorithm"], metadata["seed"]
        ),
        suffix_tuner_name=False,
        save_tuner=arguments.save_tuner,
        callbacks=callbacks,
        metadata=metadata,
        **trials.tuner_options(),
    )
