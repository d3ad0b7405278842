"""Trials that share the tuner's instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudtune.aws.cost import HighestCost, highest_cost
from cloudtune.backend import LocalBackend
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import TrialBackend
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.trials import BenchmarkDefinitions, Trials
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.remote.tuning_job import JobResources


class TrialsHere(Trials):
    """For LocalBackend."""

    backend_name = "local"
    run_here = True

    @staticmethod
    def benchmarks(definitions: BenchmarkDefinitions) -> Mapping[str, RealBenchmarkDefinition]:
        return definitions()

    @staticmethod
    def add_arguments(parser: cli.Parser) -> None:
        parser.add_argument(
            "--num_gpus_per_trial",
            type=cli.positive,
            default=1,
            metavar="N",
            help="GPUs of a trial, where there are any; fractions share (default: 1)",
        )

    @staticmethod
    def add_job_arguments(parser: cli.Parser) -> None:
        jobs = parser.add_argument_group("the jobs")
        cli.add_instance_arguments(jobs, "interrupted jobs continue")
        jobs.add_argument("--bucket", type=cli.text, help="S3 bucket; default: sagemaker-REGION-ACCOUNT")
        jobs.add_argument(
            "--max_run",
            type=cli.at_least(1),
            metavar="SECONDS",
            help="limit of a job; default: 1.2 x max_wallclock_time + 900",
        )
        jobs.add_argument("--store_logs", action="store_true", help="upload what the trials print")

    def check(self) -> None:
        limit, seconds = getattr(self.arguments, "max_run", None), self.benchmark.max_wallclock_time
        if limit is not None and limit <= seconds:
            raise SpecError(
                f"--max_run {limit} would end each job before it has tuned for {seconds:g} s.",
                "Leave --max_run out, or allow for some minutes of setup besides; or lower --max_wallclock_time.",
            )

    def job_arguments(self) -> dict[str, Any]:
        return {"num_gpus_per_trial": self.arguments.num_gpus_per_trial}

    def settings(self) -> dict[str, Any]:
        return self.job_arguments()

    def metadata(self) -> dict[str, Any]:
        return {
            "instance_type": getattr(self.arguments, "instance_type", None) or self.benchmark.instance_type,
            "num_gpus_per_trial": self.arguments.num_gpus_per_trial,
        }

    def make_backend(self) -> TrialBackend:
        return LocalBackend(
            str(self.benchmark.script),
            delete_checkpoints=self.arguments.delete_checkpoints,
            num_gpus_per_trial=self.arguments.num_gpus_per_trial,
        )

    def resources(self, region: str, role_arn: str) -> JobResources:
        instance_type = self.arguments.instance_type or self.benchmark.instance_type
        known = self.asked_resources()
        if self.arguments.max_run is not None:
            known["max_run_s"] = self.arguments.max_run
        return JobResources(instance_type, role_arn, self.image(instance_type, region), **known)

    def role_arn(self, tuner_role_arn: str, resolve: Callable[[str], str]) -> str | None:
        return None

    def jobs_at_once(self, num_experiments: int) -> int | None:
        return None

    def highest_cost(self, specs: Sequence[TrainingJobSpec], region: str) -> HighestCost:
        return highest_cost(specs, region)

    def interrupted_names(self, tag: str) -> list[tuple[str, str]]:
        # All names begin with the tag. One rule: prefixes of single jobs would match RS-1 and RS-10.
        return [(f"{tag}-", "")] if self.arguments.spot else []
