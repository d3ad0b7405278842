"""Submits the jobs of a study; what an earlier launch has begun is found again, what has failed is run again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from cloudtune.aws.job_status import JobState
from cloudtune.aws.session import AwsSession
from cloudtune.aws.submission import Submission, SubmissionState
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.errors import AwsError
from cloudtune.experiments.launchers.launch_plan import PlannedExperiment
from cloudtune.experiments.retries import MAX_RUNS, has_failed
from cloudtune.experiments.s3_experiments import Located, S3Experiments
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.names import retry_name
from cloudtune.paths import S3ExperimentPaths, experiments_root

#: More jobs than this take longer than a moment.
_MANY = 8
_TOO_EARLY = (JobState.failed, JobState.stopped)
#: Makes the job of an experiment.
MakeSpec = Callable[[PlannedExperiment], TrainingJobSpec]


@dataclass(frozen=True)
class SubmittedJob:
    """The job that runs an experiment now. ``experiment`` may be a new run of the one that was planned."""

    experiment: PlannedExperiment
    spec: TrainingJobSpec


def jobs_to_make(specs: Sequence[TrainingJobSpec], training_jobs: TrainingJobs) -> list[TrainingJobSpec]:
    """Those of ``specs`` for which :class:`StudySubmission` would make a job: there is none, or the last one has
    ended too early."""
    runs = {spec.name: [retry_name(spec.name, run) for run in range(1, MAX_RUNS + 1)] for spec in specs}
    known = training_jobs.statuses([name for names in runs.values() for name in names])

    def is_needed(spec: TrainingJobSpec) -> bool:
        there = [known[name] for name in runs[spec.name] if name in known]
        return not there or there[-1].state in _TOO_EARLY

    return [spec for spec in specs if is_needed(spec)]


class StudySubmission:
    """Submits.

    Args:
        training_jobs, session: Where to.
        bucket, tag: Of the study.
        make_spec: Called again for experiments that are run anew.
        console: For progress.
    """

    def __init__(
        self,
        training_jobs: TrainingJobs,
        session: AwsSession,
        bucket: str,
        tag: str,
        make_spec: MakeSpec,
        console: Console,
    ) -> None:
        self._training_jobs = training_jobs
        self._session = session
        self._bucket = bucket
        self._tag = tag
        #: Whether there is a job now, of this launch or an earlier one.
        self.has_jobs = False
        self._make_spec = make_spec
        self._console = console

    def run(self, experiments: Sequence[PlannedExperiment]) -> list[SubmittedJob]:
        """The job of each experiment, submitted now or earlier.

        A job's name is used up when it has ended. If it has failed or was stopped, another one continues its
        experiment; if the experiment itself has ended with an error, another one begins it anew.

        Raises:
            AwsError: If some could not be submitted. Repeating is safe.
        """
        if not experiments:
            return []
        current = {e.name: SubmittedJob(e, self._make_spec(e)) for e in experiments}
        wanted = list(current)
        for run in range(2, MAX_RUNS + 2):
            submissions = self._submit([current[name].spec for name in wanted])
            broken = [n for n, item in zip(wanted, submissions, strict=True) if _has_ended_too_early(item)]
            if not broken or run > MAX_RUNS:
                break
            self._say(f"{len(broken)} of the jobs there have not completed: running these experiments again.")
            for name in broken:
                current[name] = self._next(name, current[name], run)
            wanted = broken
        return list(current.values())

    def _next(self, name: str, last: SubmittedJob, run: int) -> SubmittedJob:
        again = retry_name(name, run)
        if self._experiment_has_failed(last.experiment.name):
            anew = dataclasses.replace(last.experiment, name=again)
            return SubmittedJob(anew, self._make_spec(anew))
        return SubmittedJob(last.experiment, dataclasses.replace(last.spec, name=again))

    def _experiment_has_failed(self, name: str) -> bool:
        folder = experiments_root() / self._tag / name
        located = Located(S3ExperimentPaths.of(self._bucket, name, self._tag), self._tag)
        S3Experiments(self._session, self._bucket).fetch(located, folder, load_tuner=False)
        return has_failed(folder)

    def _submit(self, specs: Sequence[TrainingJobSpec]) -> list[Submission]:
        hidden = not self._console.is_terminal
        if hidden and len(specs) > _MANY:
            self._say(f"Submitting {len(specs)} jobs ...")
        # The clock moves also while the service lets us wait.
        columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            task = progress.add_task("Submitting jobs", total=len(specs))
            submissions = self._training_jobs.submit_all(
                specs,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
                on_message=self._say,
            )
        failed = [submission for submission in submissions if submission.state is SubmissionState.failed]
        self.has_jobs |= len(failed) < len(specs)
        if failed:
            first = failed[0].error
            hint = f"{first.hint} " if first is not None else ""
            raise AwsError(
                f"{len(failed)} of {len(specs)} jobs could not be submitted. {failed[0].spec.name}: "
                f"{first.message if first else 'no reason known'}",
                f"{hint}Then run the same command: jobs that were submitted are not submitted twice.",
                getattr(first, "code", ""),
            )
        self._say(_what_was_done(submissions))
        return submissions

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _has_ended_too_early(submission: Submission) -> bool:
    return submission.status is not None and submission.status.state in _TOO_EARLY


def _what_was_done(submissions: Sequence[Submission]) -> str:
    """``3 jobs submitted; 2 there already (1 Completed, 1 InProgress).``"""
    there = [s.status.state for s in submissions if s.state is SubmissionState.existing and s.status is not None]
    number = len(submissions) - len(there)
    parts = [f"{number} job{'' if number == 1 else 's'} submitted"] if number else []
    if there:
        counts = ", ".join(f"{count} {state}" for state, count in Counter(there).most_common())
        noun = "" if parts else f"job{'' if len(there) == 1 else 's'} "
        parts.append(f"{len(there)} {noun}there already ({counts})")
    return f"{'; '.join(parts)}."
