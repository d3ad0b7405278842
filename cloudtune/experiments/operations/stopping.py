"""Stops what runs of an experiment: its tuner first, which would make new trials, then all that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import CloudtuneError, Conflict
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.local_trials import stop_local_trials
from cloudtune.experiments.operations.local_tuner import LocalTuner, wait_until_gone
from cloudtune.experiments.operations.subject import Subject
from cloudtune.experiments.operations.tuner_life import Life, TunerLife, life_of

#: A tuner takes half a minute for its trials, and S3 may take another for the rest of its state.
LOCAL_TUNER_S = 120.0
#: A job is given two minutes; its instances take some more to go.
JOBS_S = 900.0
Say = Callable[[str], None]


@dataclass
class Stopped:
    """What was done for one experiment, for people; empty if nothing ran."""

    name: str
    done: list[str] = field(default_factory=list)


def what_to_stop(subject: Subject) -> list[str]:
    """What :func:`stop` would stop, for people; empty if nothing runs."""
    life = life_of(subject)
    found = [f"the tuner ({life})"] if life.life in (Life.here, Life.job) else []
    num_jobs = len(subject.jobs.running_trials)
    return found + ([f"{num_jobs} {'job' if num_jobs == 1 else 'jobs'} of trials"] if num_jobs else [])


def stop(subject: Subject, say: Say) -> Stopped:
    """Stops the tuner, waits for its end, then stops every job of a trial that still runs, and processes of trials
    that a dead tuner has left, and waits until all have ended. Nothing is lost: the experiment can be resumed.

    Args:
        say: Told what goes on.

    Raises:
        Conflict: The tuner is out of reach: on another machine, another user's, or it does not end.
        AwsError: A job cannot be stopped.
    """
    stopped = Stopped(subject.name)
    life = life_of(subject)
    if life.life is Life.elsewhere:
        raise Conflict(
            f"{subject.name} is tuned by {life}, out of reach, and it would start its trials anew.",
            f"Stop it there: kill {life.holder.rpartition(':')[2]}. If it is dead, repeat this in three minutes.",
        )
    if life.process is not None:
        _stop_process(subject, life.process, say)
        stopped.done.append(f"tuner ({life})")
    elif subject.is_from_here:
        num = stop_local_trials(subject.paths, subject.events, subject.access.clock)
        if num:
            stopped.done.append(f"{num} processes of trials that the dead tuner has left")
    account = subject.access.account if subject.has_jobs else None
    if account is not None:
        _stop_jobs(subject, life, account, say, stopped)
    return stopped


def wait_for_end(subject: Subject, names: Sequence[str], say: Say) -> None:
    """Until the jobs ``names`` have ended; one listing a look.

    Raises:
        Conflict: They have not within 15 minutes.
    """
    account, clock = subject.access.required("wait for jobs"), subject.access.clock
    give_up, said = clock.now() + JOBS_S, -1
    while True:
        left = [job for job in subject.look_for_jobs().running if job.name in names]
        if not left:
            return
        if len(left) != said:
            said = len(left)
            say(f"{subject.name}: waiting for {said} {'job' if said == 1 else 'jobs'} to end ...")
        if clock.now() > give_up:
            raise Conflict(
                f"{len(left)} jobs of {subject.name} have not ended within {JOBS_S / 60:.0f} minutes: "
                f"{', '.join(job.name for job in left[:3])}.",
                "They were asked to. Look again with 'cloudtune status', or in the SageMaker console.",
            )
        clock.sleep(account.look_again_s)


def _stop_process(subject: Subject, process: LocalTuner, say: Say) -> None:
    if not process.is_here:
        raise Conflict(
            f"{subject.name} is tuned by {process.holder}, another machine that shares {subject.paths.dir}.",
            f"Stop it there: kill {process.pid}.",
        )
    say(f"{subject.name}: asking process {process.pid} to end ...")
    try:
        process.ask_to_end()
    except PermissionError as error:
        raise Conflict(
            f"Process {process.pid}, which tunes {subject.name}, belongs to another user.", "Ask them to stop it."
        ) from error
    if not wait_until_gone(subject.paths, subject.access.clock, LOCAL_TUNER_S):
        raise Conflict(
            f"Process {process.pid} has not ended within {LOCAL_TUNER_S:.0f} s.",
            f"'kill -9 {process.pid}' ends it at once and loses nothing; then repeat this command for its trials.",
        )


def _stop_jobs(subject: Subject, life: TunerLife, account: Account, say: Say, stopped: Stopped) -> None:
    if life.life is Life.job and life.job is not None:
        say(f"{subject.name}: stopping the tuner's job {life.job.name} ...")
        account.jobs.stop(life.job.name)
        wait_for_end(subject, [life.job.name], say)
        stopped.done.append(f"tuner (job {life.job.name})")
    # A listing may lag behind: what it shows only after the first ones have ended is stopped as well.
    asked: set[str] = set()
    while True:
        fresh = [job for job in subject.look_for_jobs().running if job.name not in asked]
        if not fresh:
            break
        say(f"{subject.name}: stopping {len(fresh)} {'job' if len(fresh) == 1 else 'jobs'} ...")
        stop_all(account, fresh)
        asked |= {job.name for job in fresh}
        wait_for_end(subject, sorted(asked), say)
    if asked:
        stopped.done.append(f"{len(asked)} {'job' if len(asked) == 1 else 'jobs'}")


def stop_all(account: Account, jobs: Sequence[JobStatus]) -> None:
    """Asks each to end, and raises the first error after all were asked."""
    failed: list[CloudtuneError] = []
    for job in jobs:
        try:
            account.jobs.stop(job.name)
        except CloudtuneError as error:
            failed.append(error)
    if failed:
        raise failed[0]
