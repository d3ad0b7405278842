"""Training jobs that outlive the emulator: what is kept of them, and how they go on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cloudtune.emulator.fleet.job_states import INTERNAL_ERROR, Phase
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext, TrainingJob
from cloudtune.emulator.fleet.warm_pools import PoolStatus
from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.state.journal import Journal

_log = logging.getLogger(__name__)
#: All that changes in a job, and its request.
FIELDS = (
    "request",
    "tags",
    "created",
    "_phase",
    "_facts",
    "_transitions",
    "_cluster",
    "_seconds_used",
    "_attempts_ended",
    "_attempt_began",
    "_trained_until",
    "_interruptions",
    "_retries",
)
_LOST = "Training job interrupted: its instance was lost with the emulator"


class JobJournal:
    """The jobs of an emulator, in a file.

    Args:
        path: The file.

    Raises:
        StoreError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)

    def changed(self, job: TrainingJob) -> None:
        """Keeps the job as it is now. The caller holds the lock of the jobs."""
        self._apply(job, {name: vars(job)[name] for name in FIELDS})

    def removed(self, job: TrainingJob) -> None:
        """Forgets the job. The caller holds the lock of the jobs."""
        self._apply(job, None)

    def load(self, table: JobTable) -> None:
        """Puts all jobs into an empty table, as they were."""
        for (region, name), fields in self._journal.items():
            table.put(_restored(fields, table.arn(region, name), region, table.context))

    def close(self) -> None:
        self._journal.close()

    def _apply(self, job: TrainingJob, document: JsonObject | None) -> None:
        try:
            self._journal.apply({(job.region, job.name): document})
        except OSError as error:  # the disk is full: the job goes on, and its next change is tried again
            _log.error("job %s could not be kept: %s", job.name, error)


def _restored(fields: JsonObject, arn: str, region: str, context: JobContext) -> TrainingJob:
    job = TrainingJob.__new__(TrainingJob)  # not created once more: that would be a transition
    values: dict[str, Any] = {name: fields[name] for name in FIELDS}
    values["_phase"] = Phase(fields["_phase"])
    values["_cluster"] = tuple((kind, count) for kind, count in fields["_cluster"])
    vars(job).update(values, name=fields["request"]["TrainingJobName"], arn=arn, region=region)
    vars(job).update(_context=context, _lock=context.lock)
    return job


def goes_on(job: TrainingJob, lost_at: float) -> bool:
    """What becomes of a job whose emulator has ended, and its instances with it.

    A spot job is interrupted. Another one has met an internal error of the platform: it is tried again if its
    RetryStrategy allows. One that was being stopped is Stopped. What it has used is billed up to ``lost_at``.

    Args:
        lost_at: Service time of the emulator's end.

    Returns:
        Whether it is in Starting and wants new instances.
    """
    if job.status.is_terminal:
        if job.warm_pool_status in (PoolStatus.in_use, PoolStatus.available):
            ended = job.view()["LastModifiedTime"]
            retained_s = min(max(0.0, lost_at - ended), job.keep_alive_s)
            job.set_warm_pool(PoolStatus.terminated, retained_s)
        return False
    job.end_attempt(lost_at)
    phase = job.phase
    if phase is Phase.starting:
        return True
    if phase is Phase.stopping:
        job.enter(Phase.stopped)
        return False
    if phase not in (Phase.interrupted, Phase.restarting):
        if job.is_spot:
            job.enter(Phase.interrupted, _LOST)
        elif not job.restart():
            job.fail(INTERNAL_ERROR)
            return False
    return job.enter(Phase.starting)
