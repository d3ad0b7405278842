"""Launches methods x seeds as SageMaker training jobs, each of which tunes; then compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from cloudtune.aws.code_archive import CodeArchive, upload_code
from cloudtune.aws.job_status import JobState
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.aws.training_request import create_training_job_request, validate_request
from cloudtune.clock import WallClock
from cloudtune.errors import CloudtuneError, NotFound, SpecError
from cloudtune.experiments.baselines import Methods
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers import launch_plan as planning
from cloudtune.experiments.launchers.command_line import configure_logging, run_program
from cloudtune.experiments.launchers.dry_run import describe
from cloudtune.experiments.launchers.hpo_main import ExtraArguments, SchedulerMaker, select_benchmark
from cloudtune.experiments.launchers.launch_arguments import add_launch_arguments, check
from cloudtune.experiments.launchers.study_binding import StudyBinding, settings_of
from cloudtune.experiments.launchers.study_command import StudyCommand
from cloudtune.experiments.launchers.study_end import conclude, failure_of
from cloudtune.experiments.launchers.study_record import (
    StudyRecord,
    new_tag,
    open_study,
    require_writable_root,
)
from cloudtune.experiments.launchers.study_submission import StudySubmission, SubmittedJob, jobs_to_make
from cloudtune.experiments.launchers.study_view import StudyView, WatchedStudy
from cloudtune.experiments.launchers.trials import BenchmarkDefinitions
from cloudtune.experiments.loading import load_experiments
from cloudtune.experiments.retries import is_complete_here
from cloudtune.paths import S3Uri, code_archive, experiments_root, tag_prefix
from cloudtune.remote.cloud import Cloud, connect

#: Seconds between two looks at the jobs.
_LOOK_AT_AWS_S = 15.0
_LOOK_AT_EMULATOR_S = 1.0
#: Shown by --dry_run where no account is asked.
_DRY_REGION = "us-east-1"
_DRY_BUCKET = "sagemaker-{region}-000000000000"
_DRY_ROLE = "AmazonSageMaker-ExecutionRole"


class LaunchCommand(StudyCommand):
    """The function ``launch_remote`` for one kind of trials."""

    def __call__(
        self,
        entry_point: str | Path,
        methods: Methods,
        benchmark_definitions: BenchmarkDefinitions,
        source_dependencies: Sequence[str | Path] | None = None,
        extra_args: ExtraArguments = None,
        argv: Sequence[str] | None = None,
    ) -> int:
        """Parses the command line and launches.

        Args:
            entry_point: The script that each job runs; it calls ``hpo_main_*.main`` with the same methods and
                benchmarks. Its folder travels with it.
            methods: Name to a function of MethodArguments that makes a scheduler.
            benchmark_definitions: Called for name to benchmark; with ``sagemaker_backend=True`` where each trial
                has a job of its own.
            source_dependencies: Folders of Python packages that the jobs need besides.
            extra_args: As for ``hpo_main_*.main``.
            argv: Default: the process's.

        Returns:
            The exit code; without ``argv``, one other than 0 ends the process.
        """
        kind = self.kind

        def command(argv: Sequence[str]) -> int:
            definitions = kind.benchmarks(benchmark_definitions)
            parser = self.parser(methods, definitions)
            extra = add_launch_arguments(parser, kind, extra_args)
            arguments = parser.parse_args(argv)
            configure_logging(arguments.verbose)
            chosen = cli.choose("method", methods, arguments.method)
            name, benchmark = select_benchmark(definitions, arguments)
            cli.seeds_of(arguments)
            entry = Path(entry_point)
            trials = kind(arguments, name, benchmark)
            check(arguments, trials)
            if trials.simulate(list(chosen), SchedulerMaker(trials, methods)):
                return 0
            record = None
            if arguments.experiment_tag is not None:
                cli.check_tag(arguments.experiment_tag)
            elif arguments.dry_run:
                arguments.experiment_tag = new_tag(WallClock().now())
            else:
                require_writable_root()
                record = open_study(entry, arguments)
                arguments.experiment_tag = record.tag
            experiments = planning.plan_experiments(arguments, name, list(chosen))
            study = planning.Study(arguments, experiments, name, benchmark, entry, kind, tuple(extra))
            launcher = StudyLauncher(study, source_dependencies or (), record)
            try:
                return launcher.run()
            finally:
                if record is not None and not record.continued and not launcher.submitting:
                    record.done()  # nothing was begun

        return run_program(command, argv)


class StudyLauncher:
    """One launch, step by step. ``submitting``: from now on there may be jobs."""

    def __init__(
        self, study: planning.Study, dependencies: Sequence[str | Path], record: StudyRecord | None
    ) -> None:
        self._study = study
        self._arguments = study.arguments
        self._tag = str(study.arguments.experiment_tag)
        self._record = record
        self._dependencies = dependencies
        self._binding = StudyBinding(self._tag)
        self._settings = settings_of(study.trials, study.extra)
        self._clock = WallClock()
        self._console = Console(stderr=True)
        self.submitting = False

    def run(self) -> int:
        archive = planning.build_code(self._study.entry_point, self._study.trials, self._dependencies)
        if self._arguments.dry_run:
            print(describe(self._study, *self._rehearse(archive), self._arguments.verbose))
            return 0
        if archive.skipped:
            self._say(f"Not sent, since jobs should not need them: {', '.join(archive.skipped)}")
        self._rehearse(archive)
        require_writable_root()
        self._binding.check(self._study.benchmark_name, self._settings)
        cloud = self._connect()
        self._say_where(cloud)
        bucket = self._bucket(cloud)
        region = cloud.session.region
        where = self._destination(code_archive(bucket, archive.digest), region, cloud.session.role_arn)
        plan = planning.plan_launch(self._study, archive, where)
        for spec in plan.specs:
            validate_request(create_training_job_request(spec))
        self._binding.claim(bucket)
        training_jobs = TrainingJobs(cloud.session, self._clock)
        self._confirm(plan, cloud, training_jobs)
        upload_code(S3Objects(cloud.session), bucket, archive)
        self._plan_interruptions(cloud)
        return self._submit_and_wait(cloud, where, training_jobs)

    def _submit_and_wait(self, cloud: Cloud, where: planning.Destination, training_jobs: TrainingJobs) -> int:
        study, bucket = self._study, where.code.bucket
        submission = StudySubmission(
            training_jobs,
            cloud.session,
            bucket,
            self._tag,
            lambda experiment: planning.job_of(study, experiment, where),
            self._console,
        )
        self.submitting = True
        try:
            jobs = self._submit(submission, self._to_be_run(cloud))
            self._say(f"Results: {tag_prefix(bucket, self._tag)}")
            if not self._arguments.wait:
                self._say("The jobs run without this command. To wait and compare: the same without --no_wait.")
                return 0
            statuses = self._view(cloud, bucket, jobs).wait(training_jobs) if jobs else {}
        except KeyboardInterrupt:
            self._say(
                "Jobs that were submitted go on without this command; the same command comes back to them. "
                f"To end them: {_how_to_stop(cloud)}"
            )
            raise
        failed = {
            item.spec.name: statuses[item.experiment.name]
            for item in jobs
            if statuses[item.experiment.name].state is not JobState.completed
        }
        self._compare(cloud, bucket)
        if failed:
            raise failure_of(failed, len(jobs), training_jobs)
        if self._record is not None:
            self._record.done()
        return 0

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _submit(
        self, submission: StudySubmission, experiments: Sequence[planning.PlannedExperiment]
    ) -> list[SubmittedJob]:
        """From the first job on, the study has its settings."""
        is_new = self._binding.bind(self._study.benchmark_name, self._settings)
        try:
            return submission.run(experiments)
        except CloudtuneError:
            if is_new and not submission.has_jobs:
                self._binding.release(self._study.benchmark_name)
            raise

    def _rehearse(self, archive: CodeArchive) -> tuple[planning.LaunchPlan, list[dict[str, Any]], str]:
        """Plan, requests and place; asks no account for anything: a bucket and a role that were not given are
        zeros. Raises SpecError for what the service would refuse."""
        session = AwsSession()
        on_aws = session.has_credentials() and not self._arguments.local
        region = session.region if on_aws else _DRY_REGION
        bucket = self._arguments.bucket or _DRY_BUCKET.format(region=region)
        where = self._destination(code_archive(bucket, archive.digest), region, _dry_role)
        plan = planning.plan_launch(self._study, archive, where)
        requests = [create_training_job_request(spec) for spec in plan.specs]
        for request in requests:
            validate_request(request)
        why = "--local" if self._arguments.local else "no AWS credentials found"
        return plan, requests, f"AWS, region {region}" if on_aws else f"the emulator on this machine ({why})"

    def _destination(self, code: S3Uri, region: str, resolve: Callable[[str | None], str]) -> planning.Destination:
        trials = self._study.trials
        role_arn = resolve(self._arguments.role)
        return planning.Destination(
            code, trials.resources(region, role_arn), region, trials.role_arn(role_arn, resolve)
        )

    def _connect(self) -> Cloud:
        """Starting the emulator takes seconds: says so."""
        if self._arguments.local or not AwsSession().has_credentials():
            from cloudtune.emulator.daemon import running_daemon

            if running_daemon() is None:
                self._say("Starting the emulator ...")
        jobs_at_once = self._study.trials.jobs_at_once(len(self._study.experiments))
        return connect(self._arguments.local, jobs_at_once)

    def _say_where(self, cloud: Cloud) -> None:
        if cloud.emulator is not None:
            why = "--local" if self._arguments.local else "no AWS credentials found"
            how = "leave out --local" if self._arguments.local else "run 'aws configure' or set AWS_PROFILE"
            self._say(
                f"Running on the emulator on this machine, {cloud.emulator.endpoint_url} ({why}). For AWS: {how}."
            )
        else:
            if self._arguments.interrupt_after is not None:
                raise SpecError("--interrupt_after works on the emulator only.", "Add --local.")
            at = f" at {cloud.session.endpoint_url}" if cloud.session.endpoint_url else ""
            self._say(f"Running on AWS{at}: account {cloud.session.account_id()}, region {cloud.session.region}.")
        if self._record is not None and self._record.continued:
            begun = datetime.fromtimestamp(self._record.begun, tz=timezone.utc)
            self._say(
                f"This command has begun study {self._tag} at {begun:%Y-%m-%d %H:%M} UTC, which is not done yet: "
                "continuing it. For a new one: --experiment_tag NAME."
            )

    def _bucket(self, cloud: Cloud) -> str:
        given = self._arguments.bucket
        return cloud.session.check_bucket(given) if given else cloud.session.default_bucket()

    def _confirm(self, plan: planning.LaunchPlan, cloud: Cloud, training_jobs: TrainingJobs) -> None:
        """Money is spent on AWS only with a yes. Jobs of an earlier launch cost nothing more."""
        benchmark = self._study.benchmark
        specs = list(plan.specs) if cloud.emulator else jobs_to_make(plan.specs, training_jobs)
        there = len(plan.specs) - len(specs)
        if not specs:
            self._say(f"Study {self._tag}: {_count(there, 'job')} of an earlier launch, none to be started.")
            return
        cost = self._study.trials.highest_cost(specs, cloud.session.region)
        self._say(
            f"Study {self._tag}: {_count(len(specs), 'job')} on {specs[0].instance_type}"
            f"{' (spot)' if specs[0].spot else ''}, each tuning {self._study.benchmark_name} for "
            f"{benchmark.max_wallclock_time:g} s with {_count(benchmark.n_workers, 'worker')}. "
            f"{'On AWS' if cloud.emulator else 'Cost'}: {cost}."
            + (f" Besides, there are {there} of an earlier launch." if there else "")
        )
        if cloud.emulator is not None or self._arguments.yes:
            return
        if not sys.stdin.isatty():
            raise SpecError(
                "This would start jobs that cost money.", "Add --yes to go on, or --dry_run to look first."
            )
        try:
            answer = input("Go on? [y/N] ")
        except EOFError:  # Ctrl-D
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise SpecError("Nothing was started.")

    def _plan_interruptions(self, cloud: Cloud) -> None:
        if self._arguments.interrupt_after is not None and cloud.emulator is not None:
            from cloudtune.emulator.faults import InterruptRule

            for begin, part in self._study.trials.interrupted_names(self._tag):
                rule = InterruptRule(
                    name_prefix=begin, name_contains=part, after_s=self._arguments.interrupt_after
                )
                cloud.emulator.add_interrupt_rule(rule)

    def _to_be_run(self, cloud: Cloud) -> list[planning.PlannedExperiment]:
        """All experiments; AWS knows jobs for ever. What the emulator keeps may be removed: what is complete
        here needs no job."""
        if cloud.emulator is None:
            return list(self._study.experiments)
        parent = experiments_root() / self._tag
        missing = [e for e in self._study.experiments if not is_complete_here(parent, e.name)]
        complete = len(self._study.experiments) - len(missing)
        if complete:
            self._say(f"Already complete: {complete} of {len(self._study.experiments)} experiments.")
        return missing

    def _view(self, cloud: Cloud, bucket: str, jobs: Sequence[SubmittedJob]) -> StudyView:
        if cloud.emulator is not None:
            parallel = cloud.emulator.health().get("max_parallel_jobs", 1)
            why, interval_s = f"the emulator runs {parallel} at a time", _LOOK_AT_EMULATOR_S
        else:
            why, interval_s = "SageMaker is getting instances", _LOOK_AT_AWS_S
        study = WatchedStudy(
            self._tag,
            [item.experiment for item in jobs],
            {item.experiment.name: item.spec.name for item in jobs},
            self._study.benchmark.max_wallclock_time,
            bucket,
            why,
        )
        return StudyView(study, cloud.session, self._clock, interval_s, self._console)

    def _compare(self, cloud: Cloud, bucket: str) -> None:
        """All experiments of the study on this benchmark, those of earlier launches included."""
        try:
            experiments = load_experiments(self._tag, session=cloud.session, s3_bucket=bucket)
        except NotFound:  # no job has come as far as that
            experiments = []
        conclude(self._tag, self._study.benchmark_name, experiments)


def _dry_role(given: str | None) -> str:
    name = given or _DRY_ROLE
    return f"arn:aws:iam::000000000000:role/{name}" if re.fullmatch(r"[\w+=,.@-]{1,64}", name) else name


def _how_to_stop(cloud: Cloud) -> str:
    if cloud.emulator is not None:
        return "cloudtune emulator --stop (ends the emulator and its jobs)."
    return "aws sagemaker stop-training-job --training-job-name NAME."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
