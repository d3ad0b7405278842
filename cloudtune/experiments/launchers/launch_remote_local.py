"""Launches methods x seeds as SageMaker training jobs, each of which tunes on its instance; then compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from cloudtune.aws.code_archive import CodeArchive, upload_code
from cloudtune.aws.images import image_uri
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.submission import Submission, SubmissionState
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.clock import WallClock
from cloudtune.errors import AwsError, JobFailed, SpecError
from cloudtune.experiments.baselines import Methods
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers import launch_plan as planning
from cloudtune.experiments.launchers.command_line import configure_logging, run_command
from cloudtune.experiments.launchers.hpo_main_local import (
    BenchmarkDefinitions,
    ExtraArguments,
    select_benchmark,
)
from cloudtune.experiments.launchers.study_record import StudyRecord, open_study
from cloudtune.experiments.launchers.study_view import StudyView, show_comparison
from cloudtune.experiments.loading import load_experiments
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import code_archive, experiments_root, tag_prefix
from cloudtune.remote.cloud import Cloud, connect
from cloudtune.remote.tuning_job import JobResources

#: Seconds between two looks at the jobs.
_LOOK_AT_AWS_S = 15.0
_LOOK_AT_EMULATOR_S = 2.0
#: An experiment whose jobs keep ending too early is given up.
_MAX_JOBS = 5
#: Shown by --dry_run where no account is asked.
_DRY_BUCKET = "sagemaker-{region}-000000000000"
_DRY_ROLE = "arn:aws:iam::000000000000:role/AmazonSageMaker-ExecutionRole"


def launch_remote(
    entry_point: str | Path,
    methods: Methods,
    benchmark_definitions: BenchmarkDefinitions,
    source_dependencies: Sequence[str | Path] | None = None,
    extra_args: ExtraArguments = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Parses the command line and launches.

    Args:
        entry_point: The script that each job runs; it calls ``hpo_main_local.main`` with the same methods and
            benchmarks. Its folder travels with it.
        methods: Name to a function of MethodArguments that makes a scheduler.
        benchmark_definitions: Called for name to benchmark.
        source_dependencies: Folders of Python packages that the jobs need besides.
        extra_args: As for ``hpo_main_local.main``.
        argv: Default: the process's.

    Returns:
        The exit code.
    """
    argv = list(sys.argv[1:] if argv is None else argv)

    def command() -> int:
        parser, extra = _parser(extra_args)
        arguments = parser.parse_args(argv)
        configure_logging(arguments.verbose)
        _check(arguments)
        chosen = cli.choose("method", methods, arguments.method)
        name, benchmark = select_benchmark(benchmark_definitions(), arguments)
        record = None
        if arguments.experiment_tag is None:
            record = open_study(parser.prog, argv)
            arguments.experiment_tag = record.tag
        cli.check_tag(arguments.experiment_tag)
        experiments = planning.plan_experiments(arguments, name, list(chosen))
        study = planning.Study(arguments, experiments, name, benchmark, Path(entry_point), tuple(extra))
        return _Launcher(study, source_dependencies or (), record).run()

    return run_command(command)


def _parser(extra_args: ExtraArguments) -> tuple[cli.Parser, list[str]]:
    program = Path(sys.argv[0]).stem or "launch-remote"
    parser = cli.experiment_parser(
        program,
        "Compare tuning methods: one SageMaker training job per method and seed, each running several trials\n"
        "at a time on its instance. State goes to S3 all the while, so interrupted jobs continue where they\n"
        "were, and so does this command: run it again. Without AWS credentials, jobs run on the emulator.",
    )
    jobs = parser.add_argument_group("the jobs")
    jobs.add_argument("--instance_type", help="for example ml.g4dn.12xlarge. Default: the benchmark's")
    jobs.add_argument("--role", help="IAM role of the jobs. Default: $AWS_ROLE, or the account's SageMaker role")
    jobs.add_argument("--image_uri", help="container image. Default: the public PyTorch training image")
    jobs.add_argument("--bucket", help="S3 bucket. Default: the account's SageMaker bucket")
    jobs.add_argument("--spot", action="store_true", help="use spot instances; interrupted jobs continue")
    jobs.add_argument("--max_run", type=cli.at_least(1), help="limit of a job, seconds. Default: from wallclock")
    jobs.add_argument("--volume_size", type=cli.at_least(1), default=30, help="disk of a job in GB (default: 30)")
    jobs.add_argument("--store_logs", action="store_true", help="upload what the trials print")
    launch = parser.add_argument_group("the launch")
    launch.add_argument("--dry_run", action="store_true", help="print plan, requests, highest cost; send nothing")
    launch.add_argument("--yes", action="store_true", help="do not ask before spending money on AWS")
    wait = launch.add_mutually_exclusive_group()
    wait.add_argument("--wait", dest="wait", action="store_true", default=True, help="wait and compare (default)")
    wait.add_argument("--no_wait", dest="wait", action="store_false", help="return when all jobs are submitted")
    launch.add_argument("--local", action="store_true", help="use the embedded emulator even if there is AWS")
    launch.add_argument(
        "--interrupt_after",
        type=cli.positive,
        metavar="SECONDS",
        help="emulator only, with --spot: take the instance of each job away once, without notice",
    )
    return parser, cli.add_extra_arguments(parser, extra_args)


def _check(arguments: argparse.Namespace) -> None:
    if arguments.interrupt_after is not None and not arguments.spot:
        raise SpecError("--interrupt_after needs --spot: only spot jobs are interrupted.", "Add --spot.")


class _Launcher:
    """One launch, step by step."""

    def __init__(
        self, study: planning.Study, dependencies: Sequence[str | Path], record: StudyRecord | None
    ) -> None:
        self._study = study
        self._arguments = study.arguments
        self._tag = str(study.arguments.experiment_tag)
        self._record = record
        self._dependencies = dependencies
        self._clock = WallClock()
        self._console = Console(stderr=True)

    def run(self) -> int:
        archive = planning.build_code(self._study.entry_point, self._study.benchmark, self._dependencies)
        if self._arguments.dry_run:
            return self._dry_run(archive)
        cloud = connect(self._arguments.local)
        self._say_where(cloud)
        bucket = self._bucket(cloud)
        resources = self._resources(cloud.session.region, cloud.session.role_arn(self._arguments.role))
        code = code_archive(bucket, archive.digest)
        plan = planning.plan_launch(self._study, archive, code, resources, cloud.session.region)
        for spec in plan.specs:
            validate_request(create_training_job_request(spec))
        self._confirm(plan, cloud)
        upload_code(S3Objects(cloud.session), bucket, archive)
        self._plan_interruptions(cloud)
        training_jobs = TrainingJobs(cloud.session, self._clock)
        jobs = self._submit(training_jobs, plan)
        self._say(f"Results: {tag_prefix(bucket, self._tag)}")
        if not self._arguments.wait:
            self._say("The same command continues here, waits and compares (without --no_wait).")
            return 0
        statuses = self._wait(cloud, training_jobs, plan, jobs)
        return self._finish(cloud, training_jobs, statuses, jobs)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def _dry_run(self, archive: CodeArchive) -> int:
        """Asks no account for anything: a bucket and a role that were not given are shown as zeros."""
        from cloudtune.aws.session import AwsSession

        session = AwsSession()
        region = session.region if session.has_credentials() and not self._arguments.local else "us-east-1"
        bucket = self._arguments.bucket or _DRY_BUCKET.format(region=region)
        resources = self._resources(region, self._arguments.role or _DRY_ROLE)
        plan = planning.plan_launch(self._study, archive, code_archive(bucket, archive.digest), resources, region)
        requests = [create_training_job_request(spec) for spec in plan.specs]
        for request in requests:
            validate_request(request)
        print(planning.describe(plan, requests))
        return 0

    def _say_where(self, cloud: Cloud) -> None:
        if cloud.emulator is not None:
            why = "--local" if self._arguments.local else "no AWS credentials found"
            self._say(
                f"Using the embedded emulator at {cloud.emulator.endpoint_url} ({why}). "
                "For AWS: configure credentials ('aws configure') and leave out --local."
            )
        elif self._arguments.interrupt_after is not None:
            raise SpecError("--interrupt_after works on the emulator only.", "Add --local.")
        if self._record is not None and self._record.continued:
            self._say(
                f"Continuing the study {self._tag}, which was interrupted (--experiment_tag begins a new one)."
            )

    def _bucket(self, cloud: Cloud) -> str:
        given = self._arguments.bucket
        return cloud.session.check_bucket(given) if given else cloud.session.default_bucket()

    def _resources(self, region: str, role_arn: str) -> JobResources:
        instance_type = self._arguments.instance_type or self._study.benchmark.instance_type
        image = self._arguments.image_uri or image_uri(
            self._study.benchmark.framework.lower(), region=region, instance_type=instance_type
        )
        return JobResources(
            instance_type=instance_type,
            role_arn=role_arn,
            image=image,
            spot=self._arguments.spot,
            volume_size_gb=self._arguments.volume_size,
            max_run_s=self._arguments.max_run,
        )

    def _confirm(self, plan: planning.LaunchPlan, cloud: Cloud) -> None:
        """Money is spent on AWS only with a yes."""
        self._say(
            f"{len(plan.specs)} jobs on {plan.specs[0].instance_type}{' (spot)' if self._arguments.spot else ''}, "
            f"study {self._tag}: {plan.cost}{' if this were AWS' if cloud.emulator else ''}."
        )
        if cloud.emulator is not None or self._arguments.yes:
            return
        if not sys.stdin.isatty():
            raise SpecError(
                "This would start jobs that cost money.", "Add --yes to go on, or --dry_run to look first."
            )
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise SpecError("Nothing was started.")

    def _plan_interruptions(self, cloud: Cloud) -> None:
        if self._arguments.interrupt_after is not None and cloud.emulator is not None:
            from cloudtune.emulator.faults import InterruptRule

            for experiment in self._study.experiments:
                cloud.emulator.add_interrupt_rule(
                    InterruptRule(name_prefix=experiment.name, after_s=self._arguments.interrupt_after)
                )

    def _submit(self, training_jobs: TrainingJobs, plan: planning.LaunchPlan) -> dict[str, str]:
        """Job name of each experiment. One whose job has ended too early in an earlier launch gets another."""
        jobs: dict[str, str] = {}
        wanted = dict(zip((experiment.name for experiment in plan.experiments), plan.specs, strict=True))
        for number in range(2, _MAX_JOBS + 2):
            submissions = self._submit_with_progress(training_jobs, list(wanted.values()))
            jobs.update({name: item.spec.name for name, item in zip(wanted, submissions, strict=True)})
            broken = {
                name
                for name, item in zip(wanted, submissions, strict=True)
                if item.status is not None and item.status.state in (JobState.failed, JobState.stopped)
            }
            wanted = {
                experiment.name: planning.continued(spec, number)
                for experiment, spec in zip(plan.experiments, plan.specs, strict=True)
                if experiment.name in broken
            }
            if not wanted:
                break
        return jobs

    def _submit_with_progress(
        self, training_jobs: TrainingJobs, specs: Sequence[TrainingJobSpec]
    ) -> list[Submission]:
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task("Submitting jobs", total=len(specs))
            submissions = training_jobs.submit_all(
                specs,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
                on_message=lambda message: progress.console.print(message, highlight=False, markup=False),
            )
        failed = [submission for submission in submissions if submission.state is SubmissionState.failed]
        if failed:
            first = failed[0].error
            raise AwsError(
                f"{len(failed)} of {len(specs)} jobs could not be submitted. {failed[0].spec.name}: {first}",
                "Run the same command again: jobs that were submitted are not submitted twice.",
                getattr(first, "code", ""),
            )
        existing = sum(submission.state is SubmissionState.existing for submission in submissions)
        self._say(f"{len(specs) - existing} jobs submitted, {existing} were there already.")
        return submissions

    def _wait(
        self, cloud: Cloud, training_jobs: TrainingJobs, plan: planning.LaunchPlan, jobs: dict[str, str]
    ) -> dict[str, JobStatus]:
        view = StudyView(
            self._tag,
            plan.experiments,
            jobs,
            cloud.session,
            self._clock,
            _LOOK_AT_EMULATOR_S if cloud.emulator else _LOOK_AT_AWS_S,
            self._console,
        )
        try:
            return view.wait(training_jobs)
        except KeyboardInterrupt:
            self._say("The jobs go on. The same command looks at them again; stop one with 'aws sagemaker'.")
            raise

    def _finish(
        self, cloud: Cloud, training_jobs: TrainingJobs, statuses: dict[str, JobStatus], jobs: dict[str, str]
    ) -> int:
        failed = {name: status for name, status in statuses.items() if status.state is not JobState.completed}
        if len(failed) < len(statuses):
            experiments = load_experiments(self._tag, session=cloud.session)
            picture = show_comparison(experiments, experiments_root() / self._tag, Console())
            self._say(f"Picture: {picture}\nLoad with: load_experiments({self._tag!r})")
        if failed:
            name, status = next(iter(failed.items()))
            tail = "\n".join(training_jobs.log_tail(jobs[name], 20))
            raise JobFailed(
                f"{len(failed)} of {len(statuses)} jobs did not complete. {jobs[name]} is {status.state}: "
                f"{status.failure_reason or status.phase}\n{tail}",
                "Mend the cause and run the same command again: these experiments continue in new jobs.",
            )
        if self._record is not None:
            self._record.done()
        return 0
