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
from cloudtune.aws.cost import HighestCost, highest_cost
from cloudtune.aws.images import image_uri
from cloudtune.aws.requirements import RequirementsText, merge_requirements
from cloudtune.errors import SpecError
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote.estimator_arguments import resource_arguments
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
    """A launch: experiments, one job each, one code archive for all."""

    experiments: tuple[PlannedExperiment, ...]
    specs: tuple[TrainingJobSpec, ...]
    archive: CodeArchive
    code: S3Uri

    @property
    def cost(self) -> HighestCost:
        return highest_cost(self.specs)


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


def build_code(
    entry_point: Path, benchmark: RealBenchmarkDefinition, source_dependencies: Sequence[str | Path] = ()
) -> CodeArchive:
    """Package, entry point with its folder, dependencies, and merged requirements.

    Raises:
        SpecError: Something is missing, too large, or requirements contradict each other.
    """
    entry_point = Path(entry_point).resolve()
    if not entry_point.is_file():
        raise SpecError(f"There is no entry point {entry_point}.", "It is the script that each job runs.")
    requirements: list[Path | RequirementsText] = [RequirementsText("cloudtune", "\n".join(CORE_REQUIREMENTS))]
    for folder in dict.fromkeys([entry_point.parent, Path(benchmark.script).resolve().parent]):
        requirements += sorted(folder.glob("requirements*.txt"))
    entries: list[tuple[Path | bytes, str]] = [
        (package_folder(), "cloudtune"),
        (entry_point.parent, _ENTRY),
        (merge_requirements(requirements).encode(), layout.REQUIREMENTS),
    ]
    entries += [(Path(path).expanduser().resolve(), import_name(Path(path))) for path in source_dependencies]
    return build_archive(entries)


def hyperparameters_of(
    arguments: argparse.Namespace, experiment: PlannedExperiment, benchmark_name: str, extra: Sequence[str]
) -> dict[str, Any]:
    """The arguments with which the job runs its one experiment."""
    values: dict[str, Any] = {
        "experiment_tag": arguments.experiment_tag,
        "benchmark": benchmark_name,
        "method": experiment.method,
        "start_seed": experiment.seed,
        "num_seeds": experiment.seed + 1,
        "random_seed": cli.master_seed(arguments),
        "max_failures": arguments.max_failures,
        "num_gpus_per_trial": arguments.num_gpus_per_trial,
        "scale_max_wallclock_time": arguments.scale_max_wallclock_time,
        "save_tuner": arguments.save_tuner,
        "delete_checkpoints": arguments.delete_checkpoints,
        "launched_remotely": 1,
    }
    for name in ("n_workers", "max_wallclock_time", *extra):
        value = getattr(arguments, name)
        if value is not None:
            values[name] = value
    return values


@dataclass(frozen=True)
class Study:
    """What is compared.

    Args:
        arguments: Of the command line.
        experiments: Methods x seeds.
        benchmark_name, benchmark: What is tuned.
        entry_point: The script that each job runs.
        extra: Names of the study's own arguments.
    """

    arguments: argparse.Namespace
    experiments: tuple[PlannedExperiment, ...]
    benchmark_name: str
    benchmark: RealBenchmarkDefinition
    entry_point: Path
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Destination:
    """Where the jobs of a study run: folder of the code in S3, what each job runs on, region."""

    code: S3Uri
    resources: JobResources
    region: str


def resources_of(study: Study, region: str, role_arn: str) -> JobResources:
    """What the jobs of a study run on. The command line goes before the benchmark's ``estimator_kwargs``.

    Raises:
        SpecError: ``estimator_kwargs`` has what no job has, or no image is known.
    """
    arguments, benchmark = study.arguments, study.benchmark
    given = benchmark.estimator_kwargs or {}
    try:
        known = resource_arguments(given)
    except SpecError as error:
        text = f"Benchmark {study.benchmark_name}, estimator_kwargs: {error.message}"
        raise SpecError(text, error.hint) from error
    instance_type = arguments.instance_type or benchmark.instance_type
    image = arguments.image_uri or given.get("image_uri")
    if image is None:
        image = image_uri(
            benchmark.framework.lower(),
            region=region,
            instance_type=instance_type,
            version=given.get("framework_version"),
            py_version=given.get("py_version"),
        )
    asked = {
        "spot": arguments.spot or None,
        "volume_size_gb": arguments.volume_size,
        "max_run_s": arguments.max_run,
    }
    known |= {name: value for name, value in asked.items() if value is not None}
    return JobResources(instance_type, role_arn, image, **known)


def plan_launch(study: Study, archive: CodeArchive, destination: Destination) -> LaunchPlan:
    """The jobs of a launch; pure."""
    specs = tuple(job_of(study, experiment, destination) for experiment in study.experiments)
    return LaunchPlan(study.experiments, specs, archive, destination.code)


def job_of(study: Study, experiment: PlannedExperiment, destination: Destination) -> TrainingJobSpec:
    """The job that runs ``experiment``; pure."""
    arguments, code = study.arguments, destination.code
    job = TuningJob(
        name=experiment.name,
        job_name=experiment.name,
        where=S3ExperimentPaths.of(code.bucket, experiment.name, arguments.experiment_tag),
        code=code,
        command=[f"{_ENTRY}/{study.entry_point.name}"],
        hyperparameters=hyperparameters_of(arguments, experiment, study.benchmark_name, study.extra),
        wallclock_s=study.benchmark.max_wallclock_time,
        n_workers=study.benchmark.n_workers,
        store_logs=arguments.store_logs,
    )
    tags = {
        "cloudtune-tag": arguments.experiment_tag,
        "cloudtune-method": experiment.method,
        "cloudtune-seed": str(experiment.seed),
        **destination.resources.tags,
    }
    return tuning_job_spec(job, dataclasses.replace(destination.resources, tags=tags), destination.region)
