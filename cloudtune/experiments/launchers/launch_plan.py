"""What a launch will do, as data: which experiments, which jobs, which code. Nothing is sent from here."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudtune import names
from cloudtune.aws.code_archive import CodeArchive, build_archive, import_name
from cloudtune.aws.cost import HighestCost
from cloudtune.aws.requirements import RequirementsText, merge_requirements
from cloudtune.errors import SpecError
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.trials import Trials
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote.tuning_job import (
    CORE_REQUIREMENTS,
    JobResources,
    TuningJob,
    package_folder,
    tuning_job_spec,
)

_ENTRY = "entry"


@dataclass(frozen=True)
class PlannedExperiment:
    """One method and seed."""

    name: str
    method: str
    seed: int


@dataclass(frozen=True)
class LaunchPlan:
    """A launch: experiments, one job each, one code archive for all; what it costs at most."""

    experiments: tuple[PlannedExperiment, ...]
    specs: tuple[TrainingJobSpec, ...]
    archive: CodeArchive
    code: S3Uri
    cost: HighestCost
    region: str


def plan_experiments(
    arguments: argparse.Namespace, benchmark_name: str, methods: Sequence[str]
) -> tuple[PlannedExperiment, ...]:
    """Methods x seeds; seeds vary slowest, so that early results compare all methods.

    Raises:
        SpecError: Two methods would have one job name.
    """
    planned = [
        PlannedExperiment(names.tuner_name(arguments.experiment_tag, benchmark_name, method, seed), method, seed)
        for seed in cli.seeds_of(arguments)
        for method in methods
    ]
    seen: dict[str, str] = {}
    for experiment in planned:
        other = seen.setdefault(experiment.name, experiment.method)
        if other != experiment.method:
            raise SpecError(
                f"Methods {other!r} and {experiment.method!r} would both be called {experiment.name!r}: "
                "names of jobs have letters, digits and hyphens only.",
                "Rename one of them.",
            )
    return tuple(planned)


def build_code(entry_point: Path, trials: Trials, source_dependencies: Sequence[str | Path] = ()) -> CodeArchive:
    """Package, entry point with its folder, dependencies, and merged requirements.

    Raises:
        SpecError: Something is missing, too large, or requirements contradict each other.
    """
    entry_point = Path(entry_point).resolve()
    if not entry_point.is_file():
        raise SpecError(f"There is no entry point {entry_point}.", "It is the script that each job runs.")
    requirements: list[Path | RequirementsText] = [RequirementsText("cloudtune", "\n".join(CORE_REQUIREMENTS))]
    scripts = [Path(trials.benchmark.script).resolve().parent] if trials.run_here else []
    for folder in dict.fromkeys([entry_point.parent, *scripts]):
        requirements += sorted(folder.glob("requirements*.txt"))
    entries: list[tuple[Path | bytes, str]] = [
        (package_folder(), "cloudtune"),
        (entry_point.parent, _ENTRY),
        (merge_requirements(requirements).encode(), layout.REQUIREMENTS),
    ]
    entries += [(Path(path).expanduser().resolve(), import_name(Path(path))) for path in source_dependencies]
    return build_archive(entries)


@dataclass(frozen=True)
class Study:
    """What is compared.

    Args:
        arguments: Of the command line.
        experiments: Methods x seeds.
        benchmark_name, benchmark: What is tuned.
        entry_point: The script that each job runs.
        kind: Where trials run.
        extra: Names of the study's own arguments.
    """

    arguments: argparse.Namespace
    experiments: tuple[PlannedExperiment, ...]
    benchmark_name: str
    benchmark: RealBenchmarkDefinition
    entry_point: Path
    kind: type[Trials]
    extra: tuple[str, ...] = ()

    @property
    def trials(self) -> Trials:
        return self.kind(self.arguments, self.benchmark_name, self.benchmark)


def hyperparameters_of(study: Study, experiment: PlannedExperiment) -> dict[str, Any]:
    """The arguments with which the job runs its one experiment."""
    arguments = study.arguments
    values: dict[str, Any] = {
        **study.trials.job_arguments(),
        "experiment_tag": arguments.experiment_tag,
        "benchmark": study.benchmark_name,
        "method": experiment.method,
        "start_seed": experiment.seed,
        "num_seeds": experiment.seed + 1,
        "random_seed": cli.master_seed(arguments),
        "max_failures": arguments.max_failures,
        "scale_max_wallclock_time": arguments.scale_max_wallclock_time,
        "save_tuner": arguments.save_tuner,
        "delete_checkpoints": arguments.delete_checkpoints,
        "launched_remotely": 1,
    }
    for name in ("n_workers", "max_wallclock_time", *study.extra):
        value = getattr(arguments, name)
        if value is not None:
            values[name] = value
    return values


@dataclass(frozen=True)
class Destination:
    """Where the jobs of a study run: folder of the code in S3, what each job runs on, region; the role of the jobs
    of trials, if those have any."""

    code: S3Uri
    resources: JobResources
    region: str
    trials_role_arn: str | None = None


def plan_launch(study: Study, archive: CodeArchive, destination: Destination) -> LaunchPlan:
    """The jobs of a launch; pure."""
    specs = tuple(job_of(study, experiment, destination) for experiment in study.experiments)
    cost = study.trials.highest_cost(specs, destination.region)
    return LaunchPlan(study.experiments, specs, archive, destination.code, cost, destination.region)


def job_of(study: Study, experiment: PlannedExperiment, destination: Destination) -> TrainingJobSpec:
    """The job that runs ``experiment``; pure."""
    arguments, code = study.arguments, destination.code
    job = TuningJob(
        name=experiment.name,
        job_name=experiment.name,
        where=S3ExperimentPaths.of(code.bucket, experiment.name, arguments.experiment_tag),
        code=code,
        command=[f"{_ENTRY}/{study.entry_point.name}"],
        hyperparameters=hyperparameters_of(study, experiment),
        wallclock_s=study.benchmark.max_wallclock_time,
        n_workers=study.benchmark.n_workers,
        trials_role_arn=destination.trials_role_arn,
        store_logs=getattr(arguments, "store_logs", False),
    )
    tags = {
        "cloudtune-tag": arguments.experiment_tag,
        "cloudtune-method": experiment.method,
        "cloudtune-seed": str(experiment.seed),
        **destination.resources.tags,
    }
    return tuning_job_spec(job, dataclasses.replace(destination.resources, tags=tags), destination.region)
