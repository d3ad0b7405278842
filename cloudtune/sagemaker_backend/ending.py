"""What the end of a job means for its trial: pure."""

from __future__ import annotations

from dataclasses import dataclass

from cloudtune.aws.job_end import JobEnd, why
from cloudtune.experiment.ports import AttemptEnded
from cloudtune.sagemaker_backend.trial_run import TrialRun
from cloudtune.trial import Outcome

#: Jobs in a row of one attempt that found no instance, before the attempt is given up.
MAX_CAPACITY_FAILURES = 10


@dataclass(frozen=True)
class TryAgain:
    """Not the attempt has ended, only its job: create another. ``reason`` for people."""

    reason: str


def verdict(run: TrialRun) -> AttemptEnded | TryAgain:
    """How an attempt has ended whose job has: its status is final, and all its reports have been read.

    - Asked to stop: stopped, unless it came to its own good end.
    - No instance: another job, unless it has trained already or that has happened too often.
    - An error of the service, or no spot instance for too long: interrupted, to be resumed.
    - All else is the script's own doing, or that of somebody else who has stopped the job.
    """
    end = JobEnd.internal if run.status is None else why(run.status)
    if end is JobEnd.completed:
        return _ended(run, Outcome.completed, exit_code=0)
    if run.stop_asked:
        return _ended(run, Outcome.stopped, exit_code=_exit_code(run))
    if end is JobEnd.capacity or end is JobEnd.max_wait:
        return _without_instance(run)
    if end is JobEnd.stopped:
        reason = "Its job was stopped by somebody else (in the console, or by StopTrainingJob)."
        return AttemptEnded(*_key(run), Outcome.stopped, reason, _exit_code(run), by_other=run.created_here)
    if end is JobEnd.max_runtime:
        limit = run.status.max_run_s if run.status is not None else None
        how_long = f", {limit} s" if limit else ""
        reason = f"Its job ran as long as it may{how_long}. Raise max_run_s (max_run), or train less."
        return _ended(run, Outcome.failed, reason)
    if end in (JobEnd.user_code, JobEnd.bad_request):
        return _ended(run, Outcome.failed, _failure(run), _exit_code(run))
    is_gone = run.status is None or not run.status.state.is_final
    return _ended(run, Outcome.interrupted, "Its job is gone." if is_gone else _service_says(run))


def _without_instance(run: TrialRun) -> AttemptEnded | TryAgain:
    reason = _service_says(run)
    if run.reports.count > 0 or run.reports.exists:
        return _ended(run, Outcome.interrupted, reason)
    if run.capacity_failures + 1 >= MAX_CAPACITY_FAILURES:
        return _ended(
            run,
            Outcome.failed,
            f"{run.capacity_failures + 1} jobs in a row found no instance. {reason} "
            "Name other instance types (fallback_instance_types), or try another region.",
        )
    return TryAgain(reason)


def _failure(run: TrialRun) -> str:
    """The end of what the script has printed as errors; the service's own words where there is nothing."""
    tail = str((run.reports.end or {}).get("tail", "")).strip()
    says = _service_says(run)
    if not tail or tail[-200:] in says:
        return says
    return f"exit code {_exit_code(run)}\n{tail}"


def _service_says(run: TrialRun) -> str:
    if run.status is None:
        return ""
    return (run.status.failure_reason or run.status.phase).strip()


def _exit_code(run: TrialRun) -> int | None:
    code = (run.reports.end or {}).get("exit_code")
    return code if isinstance(code, int) else None


def _ended(run: TrialRun, outcome: Outcome, reason: str = "", exit_code: int | None = None) -> AttemptEnded:
    return AttemptEnded(*_key(run), outcome, reason, exit_code)


def _key(run: TrialRun) -> tuple[int, int]:
    return run.trial.trial_id, run.trial.attempt
