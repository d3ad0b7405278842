"""Where trials run, on the tuner's instance or in jobs of their own: what the two kinds of launchers differ in."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from cloudtune.aws.cost import HighestCost
from cloudtune.aws.images import image_uri
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import TrialBackend
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.remote.estimator_arguments import resource_arguments
from cloudtune.remote.tuning_job import JobResources
from cloudtune.stopping_criterion import StoppingCriterion

BenchmarkDefinitions: TypeAlias = "Callable[..., Mapping[str, RealBenchmarkDefinition]]"


@dataclass(frozen=True)
class Trials(ABC):
    """Of the experiments of one command.

    Args:
        arguments: Of the command line.
        benchmark_name, benchmark: What is tuned.
    """

    arguments: argparse.Namespace
    benchmark_name: str
    benchmark: RealBenchmarkDefinition

    #: Which backend runs them, as studies have it in their settings.
    backend_name: ClassVar[str]
    #: Whether trials run where the tuner does. If each has a job of its own, a command runs one experiment only.
    run_here: ClassVar[bool]

    # -- the command line

    @staticmethod
    @abstractmethod
    def benchmarks(definitions: BenchmarkDefinitions) -> Mapping[str, RealBenchmarkDefinition]:
        """Those that suit these trials."""

    @staticmethod
    @abstractmethod
    def add_arguments(parser: cli.Parser) -> None:
        """What says how trials run; a tuner's job is given the same."""

    @staticmethod
    @abstractmethod
    def add_job_arguments(parser: cli.Parser) -> None:
        """What says where tuners run, when they are sent to jobs."""

    @abstractmethod
    def check(self) -> None:
        """Raises SpecError for options that do not go together."""

    @abstractmethod
    def job_arguments(self) -> dict[str, Any]:
        """What of :meth:`add_arguments` the job of a tuner is to be given; without what is None."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What of :meth:`add_arguments` all launches of a study must have in common."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What ``metadata.json`` says of where trials run."""

    # -- tuning

    @abstractmethod
    def make_backend(self) -> TrialBackend:
        """A new one, for one experiment. May connect to where trials run."""

    def stop_criterion(self) -> StoppingCriterion:
        """When an experiment is over."""
        return StoppingCriterion(
            max_wallclock_time=self.benchmark.max_wallclock_time,
            max_num_evaluations=self.benchmark.max_num_evaluations,
        )

    def tuner_options(self) -> dict[str, Any]:
        """Further arguments of the tuner."""
        return {}

    def simulate(self, methods: Sequence[str], make_scheduler: Callable[[str, int], Scheduler]) -> bool:
        """Whether the command line says that the experiments are to be played, not run: that is done then."""
        return False

    # -- jobs of tuners

    @abstractmethod
    def resources(self, region: str, role_arn: str) -> JobResources:
        """What the job of a tuner runs on.

        Raises:
            SpecError: ``estimator_kwargs`` of the benchmark has what no job has, or no image is known.
        """

    @abstractmethod
    def role_arn(self, tuner_role_arn: str, resolve: Callable[[str], str]) -> str | None:
        """That of trials' own jobs, see :class:`TuningJob`; ``resolve`` finds the ARN of a role."""

    @abstractmethod
    def jobs_at_once(self, num_experiments: int) -> int | None:
        """How many jobs must be able to run at once for so many experiments to come to an end; None: one."""

    @abstractmethod
    def highest_cost(self, specs: Sequence[TrainingJobSpec], region: str) -> HighestCost:
        """Of the jobs of these tuners, and all that they start."""

    def facts(self, region: str) -> dict[str, str]:
        """What ``--dry_run`` tells of where trials run, by what it is about."""
        return {}

    @abstractmethod
    def interrupted_names(self, tag: str) -> list[tuple[str, str]]:
        """Which spot jobs of a study ``--interrupt_after`` concerns: what their names begin with, and contain."""

    # -- what the benchmark says

    def known_resources(self) -> dict[str, Any]:
        """``estimator_kwargs`` of the benchmark, but for the image, as arguments of JobResources."""
        try:
            return resource_arguments(self.benchmark.estimator_kwargs or {})
        except SpecError as error:
            text = f"Benchmark {self.benchmark_name}, estimator_kwargs: {error.message}"
            raise SpecError(text, error.hint) from error

    def image(self, instance_type: str, region: str) -> str:
        """That of the command line, of the benchmark, or of its framework; raises SpecError if none is known."""
        given = self.benchmark.estimator_kwargs or {}
        return (
            self.arguments.image_uri
            or given.get("image_uri")
            or image_uri(
                self.benchmark.framework.lower(),
                region=region,
                instance_type=instance_type,
                version=given.get("framework_version"),
                py_version=given.get("py_version"),
            )
        )

    def asked_resources(self) -> dict[str, Any]:
        """:meth:`known_resources`, with what the command line says instead."""
        asked = {"spot": self.arguments.spot or None, "volume_size_gb": self.arguments.volume_size}
        return self.known_resources() | {name: value for name, value in asked.items() if value is not None}
