"""Trials that have training jobs of their own."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudtune.aws.cost import HighestCost, highest_cost_of_trials
from cloudtune.aws.images import image_uri
from cloudtune.aws.session import AwsSession
from cloudtune.backend import SageMakerBackend
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import TrialBackend
from cloudtune.experiments.benchmark_definitions import RealBenchmarkDefinition
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.study_binding import StudyBinding
from cloudtune.experiments.launchers.trials import BenchmarkDefinitions, Trials
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import tag_prefix
from cloudtune.remote.cloud import connect
from cloudtune.remote.remote_launcher import SMALL_INSTANCE_TYPE
from cloudtune.remote.tuning_job import JobResources, max_run_s
from cloudtune.script_args import parse_bool
from cloudtune.stopping_criterion import StoppingCriterion

#: How long an instance is kept for the next trial, seconds.
KEEP_ALIVE_S = 600
#: What of JobResources the jobs of tuners and of trials have in common.
_SHARED = ("tags", "subnets", "security_group_ids", "volume_kms_key")


class TrialsInJobs(Trials):
    """For SageMakerBackend. ``instance_type`` and ``estimator_kwargs`` of the benchmark are those of trials."""

    backend_name = "sagemaker"
    run_here = False

    @staticmethod
    def benchmarks(definitions: BenchmarkDefinitions) -> Mapping[str, RealBenchmarkDefinition]:
        return definitions(sagemaker_backend=True)

    @staticmethod
    def add_arguments(parser: cli.Parser) -> None:
        jobs = parser.add_argument_group("the jobs of trials")
        cli.add_instance_arguments(jobs, "interrupted trials continue")
        jobs.add_argument(
            "--fallback_instance_types",
            type=_instance_types,
            default=[],
            metavar="TYPE,TYPE",
            help="taken, in this order, while there are no instances of the first type",
        )
        jobs.add_argument(
            "--warm_pool",
            type=parse_bool,
            metavar="BOOL",
            help=f"keep instances for the next trial, {KEEP_ALIVE_S} s at most (default: yes, but with --spot)",
        )
        jobs.add_argument(
            "--start_jobs_without_delay",
            type=parse_bool,
            default=False,
            metavar="BOOL",
            help="start a trial while the last one is still stopping: more than n_workers jobs (default: no)",
        )
        jobs.add_argument(
            "--max_cost",
            type=cli.positive,
            metavar="USD",
            help="tuning ends before it costs more; default: no limit",
        )
        jobs.add_argument(
            "--trial_role", type=cli.text, metavar="ROLE", help="IAM role of these jobs; default: the tuner's"
        )
        jobs.add_argument("--bucket", type=cli.text, help="S3 bucket; default: sagemaker-REGION-ACCOUNT")
        rehearsal = parser.add_argument_group("rehearsal")
        rehearsal.add_argument(
            "--simulate", action="store_true", help="play it on a virtual clock: what it takes, what it costs"
        )
        rehearsal.add_argument(
            "--simulate_epoch_s",
            type=cli.positive,
            metavar="SECONDS",
            help="time that a trial takes for an epoch",
        )

    @staticmethod
    def add_job_arguments(parser: cli.Parser) -> None:
        jobs = parser.add_argument_group("the jobs of tuners")
        jobs.add_argument(
            "--tuner_instance_type",
            type=cli.text,
            default=SMALL_INSTANCE_TYPE,
            metavar="TYPE",
            help=f"default: {SMALL_INSTANCE_TYPE}",
        )
        jobs.add_argument(
            "--spot_tuner",
            action="store_true",
            help="use spot instances; interrupted tuners come back to their trials",
        )

    def check(self) -> None:
        if self.arguments.spot and self.arguments.warm_pool:
            raise SpecError(
                "--warm_pool does not go with --spot: instances of spot jobs are not kept.", "Leave one out."
            )
        if self.arguments.simulate and self.arguments.simulate_epoch_s is None:
            raise SpecError(
                "--simulate cannot know how long training takes.",
                "Add --simulate_epoch_s SECONDS, the time that your script takes for an epoch.",
            )

    def job_arguments(self) -> dict[str, Any]:
        names = ("instance_type", "image_uri", "volume_size", "warm_pool", "max_cost")
        values = {name: getattr(self.arguments, name) for name in names}
        values["spot"] = self.arguments.spot
        values["start_jobs_without_delay"] = self.arguments.start_jobs_without_delay
        values["fallback_instance_types"] = ",".join(self.arguments.fallback_instance_types) or None
        return {name: value for name, value in values.items() if value is not None}

    def settings(self) -> dict[str, Any]:
        return {"max_cost": self.arguments.max_cost}

    def metadata(self) -> dict[str, Any]:
        return {"instance_type": self._instance_type}

    def trial_spec(self, region: str | None) -> TrainingJobSpec:
        """What the jobs of trials are like; ``region`` None: where this process has to do with."""
        arguments, benchmark = self.arguments, self.benchmark
        asked = self.asked_resources()
        spot = asked.get("spot", False)
        kept = not spot if arguments.warm_pool is None else arguments.warm_pool
        return TrainingJobSpec(
            name="",
            image=self._trial_image(region),
            role_arn=arguments.trial_role or "",
            output_s3_uri="",
            environment=dict(asked.get("environment", {})),
            instance_type=self._instance_type,
            volume_size_gb=asked.get("volume_size_gb", 30),
            max_run_s=asked.get("max_run_s") or max_run_s(benchmark.max_wallclock_time),
            max_wait_s=asked.get("max_wait_s"),
            spot=spot,
            keep_alive_s=asked.get("keep_alive_s", KEEP_ALIVE_S) if kept else None,
            **{name: asked[name] for name in _SHARED if name in asked},
        )

    def make_backend(self) -> TrialBackend:
        arguments, s3_path = self.arguments, None
        if not arguments.launched_remotely:  # there, the launcher has said where things are kept
            session = connect(force_emulator=False, jobs_at_once=self.benchmark.n_workers).session
            bucket = session.check_bucket(arguments.bucket) if arguments.bucket else session.default_bucket()
            StudyBinding(arguments.experiment_tag).claim(bucket)
            s3_path = str(tag_prefix(bucket, arguments.experiment_tag))
        return self._backend(self.trial_spec(None), s3_path=s3_path)

    def _backend(self, spec: TrainingJobSpec, **place: Any) -> SageMakerBackend:
        metric = self.benchmark.metric
        return SageMakerBackend(
            spec,
            metrics_names=[metric] if isinstance(metric, str) else metric,
            delete_checkpoints=self.arguments.delete_checkpoints,
            entry_point=str(self.benchmark.script),
            fallback_instance_types=self.arguments.fallback_instance_types,
            **place,
        )

    def stop_criterion(self) -> StoppingCriterion:
        return dataclasses.replace(super().stop_criterion(), max_cost=self.arguments.max_cost)

    def tuner_options(self) -> dict[str, Any]:
        return {"start_jobs_without_delay": self.arguments.start_jobs_without_delay}

    def simulate(self, methods: Sequence[str], make_scheduler: Callable[[str, int], Scheduler]) -> bool:
        if not self.arguments.simulate:
            return False
        from cloudtune.experiments.launchers.rehearsing import rehearse_methods
        from cloudtune.simulated_cloud.job_desk import REGION

        spec = self.trial_spec(REGION)
        kind = getattr(self.arguments, "tuner_instance_type", None)  # of launchers: their tuners run in jobs
        rehearse_methods(
            methods,
            make_scheduler,
            lambda cloud: self._backend(spec, cloud=cloud),
            self.stop_criterion(),
            self.benchmark.n_workers,
            self.arguments.simulate_epoch_s,
            None if kind is None else (kind, self.arguments.spot_tuner),
            max_failures=self.arguments.max_failures,
            **self.tuner_options(),
        )
        return True

    def resources(self, region: str, role_arn: str) -> JobResources:
        self._backend(self.trial_spec(region))  # refuses at once what each tuner's job would
        instance_type = self.arguments.tuner_instance_type
        image = image_uri(region=region, instance_type=instance_type)
        known = self.known_resources()
        shared = {name: known[name] for name in _SHARED if name in known}
        return JobResources(instance_type, role_arn, image, spot=self.arguments.spot_tuner, **shared)

    def role_arn(self, tuner_role_arn: str, resolve: Callable[[str], str]) -> str | None:
        return resolve(self.arguments.trial_role) if self.arguments.trial_role else tuner_role_arn

    def jobs_at_once(self, num_experiments: int) -> int | None:
        return num_experiments + self.benchmark.n_workers

    def highest_cost(self, specs: Sequence[TrainingJobSpec], region: str) -> HighestCost:
        if not specs:
            return HighestCost(0.0)
        one = highest_cost_of_trials(
            self.trial_spec(region),
            self.benchmark.n_workers,
            self.benchmark.max_wallclock_time,
            self.arguments.max_cost,
            (specs[0].instance_type, specs[0].max_run_s),
            region=region,
            other_types=self.arguments.fallback_instance_types,
            overlap=self.arguments.start_jobs_without_delay,
        )
        why = one.why if len(specs) == 1 else f"{len(specs)} experiments, each {one.why}"
        return HighestCost(one.usd * len(specs), one.unknown_types, why)

    def facts(self, region: str) -> dict[str, str]:
        spec = self.trial_spec(region)
        types = ", else ".join([spec.instance_type, *self.arguments.fallback_instance_types])
        usage = "spot" if spec.spot else "on demand"
        kept = f", kept for the next one for {spec.keep_alive_s} s" if spec.keep_alive_s else ""
        return {"trials": f"one job each, on {types}, {usage}{kept}"}

    def interrupted_names(self, tag: str) -> list[tuple[str, str]]:
        trials = [("", f"-{tag}-")] if self.arguments.spot else []  # their names begin with their numbers
        return [*trials, (f"{tag}-", "")] if self.arguments.spot_tuner else trials

    @property
    def _instance_type(self) -> str:
        return self.arguments.instance_type or self.benchmark.instance_type

    def _trial_image(self, region: str | None) -> str:
        """Empty: the newest PyTorch image for the kind of instance that each trial gets."""
        given = self.benchmark.estimator_kwargs or {}
        is_default = self.benchmark.framework.lower() == "pytorch" and not {
            "framework_version",
            "py_version",
        } & set(given)
        if is_default and not (self.arguments.image_uri or given.get("image_uri")):
            return ""
        return self.image(self._instance_type, region or AwsSession().region)


def _instance_types(given: str) -> list[str]:
    found = [name.strip() for name in given.split(",")]
    if not all(name.startswith("ml.") for name in found):
        raise argparse.ArgumentTypeError(
            f"{given!r} is no list of instance types, such as ml.g5.xlarge,ml.g4dn.xlarge"
        )
    return found
