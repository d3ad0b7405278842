"""Whether somebody tunes an experiment now, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.objects import S3Object
from cloudtune.errors import ResourceNotFound
from cloudtune.experiment.events import SessionStarted
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.local_tuner import LocalTuner, tuner_here
from cloudtune.experiments.operations.subject import Subject
from cloudtune.paths import S3Uri
from cloudtune.remote.claim_record import ClaimRecord, this_machine
from cloudtune.remote.writer_claim import CLAIM_NAME

#: A tuner renews its claim every twenty seconds. Without a sign for so long, seconds, it counts as dead where
#: nothing else is known of it; a laptop that sleeps does, too.
SILENCE_S = 180.0


class Life(StrEnum):
    """Of an experiment's tuner."""

    here = "here"  #: a process that holds the folder on this machine
    job = "job"  #: a training job
    elsewhere = "elsewhere"  #: a process of another machine, known by what it writes to S3
    ended = "ended"  #: the experiment is over
    dead = "dead"  #: nobody tunes it, and it is not over

    @property
    def is_alive(self) -> bool:
        return self in (Life.here, Life.job, Life.elsewhere)


@dataclass(frozen=True)
class TunerLife:
    """The tuner of one experiment, now.

    Args:
        life: Whether it is alive, and where.
        holder: ``host:pid`` of the one that is, or was the last.
        process: With ``Life.here``.
        job: The job that runs it, or ran it last; None if none did.
        silent_s: Seconds since it last wrote to S3, by S3's clock; None if it never did, or nobody has looked.
    """

    life: Life
    holder: str = ""
    process: LocalTuner | None = None
    job: JobStatus | None = None
    silent_s: float | None = None
    #: Whether somebody must say that it is gone before another one may go on.
    must_take_over: bool = False

    def __str__(self) -> str:
        """``process 17 on this machine``, ``job NAME (Training)``, ..."""
        host, _, pid = self.holder.rpartition(":")
        if self.life is Life.here:
            where = "this machine" if self.process is None or self.process.is_here else host
            return f"process {pid} on {where}"
        if self.life is Life.job and self.job is not None:
            return f"job {self.job.name} ({self.job.phase or self.job.state})"
        if self.life is Life.elsewhere:
            return f"process {pid} on {host or 'another machine'}"
        return "over" if self.life is Life.ended else "nobody"


@dataclass(frozen=True)
class Sign:
    """What S3 tells of the session that wrote last.

    Args:
        claim: Its claim.
        silent_s: Seconds since it has written anything, by S3's clock.
        last: When that was, seconds since the epoch.
    """

    claim: ClaimRecord
    silent_s: float
    last: float

    @property
    def may_be_alive(self) -> bool:
        """Not if it has let go, or was a process of this machine that is gone, or is silent for too long."""
        return not (self.claim.released or self.claim.has_died_here() or self.silent_s >= SILENCE_S)


def life_of(subject: Subject) -> TunerLife:
    """Looks at the lock on this machine first, then at jobs, then at what was written to S3 and when."""
    process = tuner_here(subject.paths)
    job = next(iter(subject.jobs.tuner), None)
    if process is not None:
        return TunerLife(Life.here, process.holder, process, job)
    sign = _sign_of(subject)
    if sign is None:
        return TunerLife(_life(subject, None), _last_holder(subject), None, subject.jobs.running_tuner or job)
    life = _life(subject, sign)
    must_take_over = life is Life.dead and not (
        sign.claim.released or sign.claim.has_died_here() or job is not None
    )
    return TunerLife(
        life, sign.claim.holder, None, subject.jobs.running_tuner or job, sign.silent_s, must_take_over
    )


def sign_in(account: Account, state: S3Uri, written: Iterable[S3Object]) -> Sign | None:
    """The last sign of life of a tuner in S3; None without any. Two calls.

    Args:
        state: Of the experiment.
        written: All objects there, as listed.
    """
    moments = {item.uri: item.last_modified for item in written}
    claim = state / CLAIM_NAME
    age_s = account.objects.age_s(claim) if claim in moments else None
    if age_s is None:
        return None
    try:
        record = ClaimRecord.parse(account.objects.get(claim))
    except ResourceNotFound:
        return None
    last = max(moments.values())
    return Sign(record, max(0.0, moments[claim] + age_s - last), last)


def _life(subject: Subject, sign: Sign | None) -> Life:
    if subject.ended is not None:
        return Life.ended
    if subject.jobs.running_tuner is not None:
        return Life.job
    if sign is None or not sign.may_be_alive:
        return Life.dead
    last_job = next(iter(subject.jobs.tuner), None)
    if last_job is not None and last_job.ended is not None and sign.last <= last_job.ended:
        return Life.dead  # what a job wrote before it ended
    # Of this machine it would hold the lock.
    is_of_here = subject.is_from_here and sign.claim.machine == this_machine()
    return Life.dead if is_of_here else Life.elsewhere


def _sign_of(subject: Subject) -> Sign | None:
    account, located = subject.access.account if subject.has_jobs else None, subject.located
    if account is None or located is None:
        return None
    state = located.paths.state
    return sign_in(account, state, account.objects.list(state))


def _last_holder(subject: Subject) -> str:
    return next((e.holder for e in reversed(subject.events) if isinstance(e, SessionStarted)), "")
