"""How a study ends: with a table and a picture that compare its methods, or with what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cloudtune.errors import AwsError, JobFailed, MissingExtra
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.retries import MAX_RUNS
from cloudtune.names import retry_name
from cloudtune.paths import experiments_root

if TYPE_CHECKING:
    from cloudtune.aws.job_status import JobStatus
    from cloudtune.aws.training_jobs import TrainingJobs

_LOG_LINES = 15


def conclude(tag: str, benchmark: str, experiments: Sequence[ExperimentResult]) -> None:
    """Compares the experiments of a study on ``benchmark``, on standard output. Without anything to draw with,
    there is a table only."""
    from rich.console import Console

    from cloudtune.experiments.comparison import compare_methods

    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    chosen = [e for e in experiments if e.metadata.get("benchmark") == benchmark]
    if not any(experiment.num_reports for experiment in chosen):
        say("There is nothing to compare: no experiment has results.")
        return
    comparison = compare_methods(chosen)
    comparison.print(console)
    # A tag may have studies of several benchmarks; each has its picture.
    name = "comparison.png" if len(chosen) == len(experiments) else f"comparison-{benchmark}.png"
    try:
        say(f"Picture: {comparison.plot(experiments_root() / tag / name)}")
    except MissingExtra as error:
        say(f"No picture: {error}")
    say(f"Each experiment: cloudtune list --tag {tag}; in Python cloudtune.experiments.load_experiments({tag!r})")


def failure_of(failed: Mapping[str, JobStatus], num_jobs: int, training_jobs: TrainingJobs) -> JobFailed:
    """The error that says of the jobs that did not complete which they are, and why the first of them."""
    job, status = next(iter(failed.items()))
    reason = (status.failure_reason or status.phase).strip()
    message = f"{len(failed)} of {num_jobs} jobs did not complete: {', '.join(failed)}."
    message += f"\n{job} is {status.state}: {reason}"
    if "\n" not in reason:  # what our own jobs write says it all
        message += f"\nThe end of its log:\n{_log_of(job, training_jobs)}"
    hint = "Mend the cause and run the same command again: these experiments are run again, in new jobs."
    if any(name.endswith(retry_name("x", MAX_RUNS)[1:]) for name in failed):
        hint = "Mend the cause and begin a new study (--experiment_tag): this one has used up its jobs."
    return JobFailed(message, hint)


def _log_of(job: str, training_jobs: TrainingJobs) -> str:
    try:
        lines = training_jobs.log_tail(job, _LOG_LINES)
    except AwsError as error:
        return f"  It cannot be read: {error.message}"
    return "\n".join(f"  | {line}" for line in lines) or "  It is empty."
