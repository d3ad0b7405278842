"""Whether somebody tunes an experiment now, and where."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass

from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import ResourceNotFound
from cloudtune.experiments.operations.account import Account
from cloudtune.experiments.operations.local_tuner import LocalTuner, tuner_here
from cloudtune.experiments.operations.subject import Subject
from cloudtune.paths import S3ExperimentPaths
from cloudtune.remote.writer_claim import CLAIM_NAME

#: A tuner writes to its journal at least every half minute. Without a sign for so long, seconds, it counts as dead
#: where nothing else is known of it.
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
    """What S3 tells of the session that wrote last."""

    holder: str
    silent_s: float
    #: Seconds since the epoch, by S3's clock.
    last: float


def life_of(subject: Subject) -> TunerLife:
    """Looks at the lock on this machine first, then at jobs, then at what was written to S3 and when."""
    process = tuner_here(subject.paths)
    job = next(iter(subject.jobs.tuner), None)
    if process is not None:
        return TunerLife(Life.here, process.holder, process, job)
    sign = _sign_of(subject)
    holder, silent_s = (sign.holder, sign.silent_s) if sign is not None else (_last_holder(subject), None)
    if subject.ended is not None:
        return TunerLife(Life.ended, holder, None, job, silent_s)
    if subject.jobs.running_tuner is not None:
        return TunerLife(Life.job, holder, None, subject.jobs.running_tuner, silent_s)
    if sign is not None and _is_fresh(sign, job) and not (subject.is_from_here and _was_here(holder)):
        return TunerLife(Life.elsewhere, holder, None, job, silent_s)
    return TunerLife(Life.dead, holder, None, job, silent_s)


def sign_of(account: Account, paths: S3ExperimentPaths) -> Sign | None:
    """The last sign of life of a tuner in S3; None without any. Three calls, and one more for each thousand
    objects."""
    claim = paths.state / CLAIM_NAME
    written = {item.uri: item.last_modified for item in account.objects.list(paths.state)}
    if claim not in written:
        return None
    age_s = account.objects.age_s(claim)
    if age_s is None:
        return None
    last = max(written.values())
    try:
        holder = str(json.loads(account.objects.get(claim))["holder"])
    except (ResourceNotFound, ValueError, KeyError, TypeError):
        holder = ""
    return Sign(holder, max(0.0, written[claim] + age_s - last), last)


def _sign_of(subject: Subject) -> Sign | None:
    account, located = subject.access.account if subject.has_jobs else None, subject.located
    return None if account is None or located is None else sign_of(account, located.paths)


def _is_fresh(sign: Sign, last_job: JobStatus | None) -> bool:
    """Whether it may still be alive; what a job wrote before it ended tells nothing."""
    by_the_job = last_job is not None and last_job.ended is not None and sign.last <= last_job.ended
    return sign.silent_s < SILENCE_S and not by_the_job


def _was_here(holder: str) -> bool:
    return holder.rpartition(":")[0] == socket.gethostname()


def _last_holder(subject: Subject) -> str:
    return next((e.holder for e in reversed(subject.events) if hasattr(e, "holder")), "")
