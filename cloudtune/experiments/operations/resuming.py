"""Continues an experiment that nobody tunes: here, or in a job like the last one."""

from __future__ import annotations

import logging

from cloudtune.aws.continued_job import create_like
from cloudtune.errors import AlreadyExists, Conflict, JobFailed, NotFound, SpecError
from cloudtune.experiments.loading import load_experiment
from cloudtune.experiments.operations.jobs import tuner_job_names
from cloudtune.experiments.operations.subject import Subject
from cloudtune.experiments.operations.tuner_life import Life, life_of
from cloudtune.experiments.retries import MAX_RUNS
from cloudtune.tuner import Tuner

_log = logging.getLogger(__name__)
#: Backends that reach their trials from any machine.
_ANYWHERE = ("SageMakerBackend",)


def resume_in_job(subject: Subject, takeover: bool = False) -> str | None:
    """Creates the job that continues the experiment, like the last one but for its name; returns the name. None if
    no job has ever run its tuner: then :func:`load_to_resume` is meant.

    Raises:
        SpecError: The experiment is over.
        Conflict: It is tuned now.
        JobFailed: Too many jobs of it have ended too early.
    """
    _refuse(subject, takeover)
    if not subject.jobs.tuner:
        return None
    account = subject.access.required(f"continue {subject.name}")
    last = subject.jobs.tuner[0]
    names = tuner_job_names(subject.name)
    for name in names[names.index(last.name) + 1 :]:
        try:
            create_like(account.session, account.clock, last.name, name)
        except AlreadyExists:
            continue  # it ran another experiment, or its record is not listed any more
        return name
    raise JobFailed(
        f"{MAX_RUNS} jobs of {subject.name} have ended too early.",
        f"Look at the last log: cloudtune logs {subject.name}. To begin anew, choose another tuner_name.",
    )


def load_to_resume(subject: Subject, trust: bool = False, takeover: bool = False) -> Tuner:
    """The tuner, ready to run on this machine. Unpickles ``tuner.dill``, which can run any code: without ``trust``
    only what was tuned here, in the person's own folder.

    Raises:
        SpecError: The experiment is over, its trials are not where this machine could reach them, or it comes from
            S3 and is not trusted.
        Conflict: It is tuned now.
        SnapshotError: ``tuner.dill`` cannot be used here; the command that began the experiment can.
    """
    _refuse(subject, takeover)
    if not subject.is_from_here:
        _fetch(subject, trust)
    if not subject.paths.snapshot.exists():
        raise NotFound(
            f"There is no {subject.paths.snapshot}: the tuner was told not to keep one, or ended too soon.",
            "Run the command again that began the experiment; it continues.",
        )
    tuner = Tuner.load(subject.paths.snapshot)
    if tuner.paths.dir != subject.paths.dir:  # the folder was moved, or comes from another machine
        tuner.relocate(subject.paths)
    return tuner


def _fetch(subject: Subject, trust: bool) -> None:
    if subject.backend not in _ANYWHERE:
        raise SpecError(
            f"{subject.name} was tuned with a {subject.backend or 'backend'} on another machine, trials and all.",
            "Run its command again there. What RemoteLauncher has launched can be continued from anywhere.",
        )
    if not trust:
        raise SpecError(
            f"{subject.name} was not tuned in this folder. To continue it here, tuner.dill must be fetched from "
            f"{subject.located.paths.state if subject.located else 'S3'} and unpickled, which can run any code.",
            "If you trust all who can write there: --trust.",
        )
    _log.warning("Unpickling tuner.dill from %s.", subject.located.paths.state if subject.located else "S3")
    load_experiment(
        subject.name, load_tuner=True, experiment_name=subject.tag, session=subject.access.given_session
    )


def _refuse(subject: Subject, takeover: bool) -> None:
    life = life_of(subject)
    if life.life is Life.ended and subject.ended is not None:
        raise SpecError(
            f"{subject.name} is over: {subject.ended.error or subject.ended.reason}.",
            f"'cloudtune show {subject.name}' shows what came of it. For more trials begin another experiment.",
        )
    if life.life is Life.elsewhere and takeover:
        return
    if life.life.is_alive:
        hint = f"'cloudtune status {subject.name}' shows how far it is, 'cloudtune stop {subject.name}' stops it."
        if life.life is Life.elsewhere:
            hint = f"{hint} If that process is dead: --takeover."
        raise Conflict(f"{subject.name} is being tuned: {life}.", hint)
