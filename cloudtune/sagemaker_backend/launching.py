"""Creating jobs, each once: as far as quota, capacity and rates allow; and finding those that exist already."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace

from cloudtune import constants
from cloudtune.aws.job_status import JobStatus
from cloudtune.errors import (
    AccessDenied,
    AlreadyExists,
    AwsError,
    CapacityUnavailable,
    InvalidRequest,
    QuotaExceeded,
    ResourceNotFound,
    SpecError,
)
from cloudtune.experiment.ports import AttemptEnded
from cloudtune.job_spec import TrainingJobSpec, decode_hyperparameters, encode_hyperparameters
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.admission import Grant
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.trial_job_spec import instances_of, trial_job
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun
from cloudtune.sagemaker_backend.watching import Watcher
from cloudtune.trial import Outcome

logger = logging.getLogger(__name__)

#: A job that was created so long before its trial belongs to an earlier experiment of the same name, seconds.
_CLOCK_SKEW_S = 900.0
#: Why jobs wait is told this often, seconds.
_REMIND_S = 60.0


class Launcher:
    """Brings queued runs to life, first come, first served."""

    def __init__(self, desk: Desk, watcher: Watcher) -> None:
        self._desk = desk
        self._watcher = watcher
        self._queue: deque[TrialRun] = deque()
        self._creating = Activity("create training jobs")
        self._has_created = False
        self._waits_until = 0.0
        self._remind_at = float("-inf")

    def put(self, run: TrialRun) -> None:
        """A run without a job, as far as is known."""
        self._queue.append(run)

    def next_at(self) -> float:
        """When something may be done for those that wait; infinity if none does."""
        return max(self._creating.next_at(), self._waits_until) if self._queue else float("inf")

    def step(self, now: float) -> None:
        if self._queue and self._creating.is_due(now):
            self._creating.attempt(now, lambda: self._work(now))

    def adopt(self, run: TrialRun, status: JobStatus, now: float, details: bool) -> None:
        """The job exists."""
        run.phase, run.created_at = Phase.created, now
        if status.instance_type:
            run.instance_type, run.instance_count = status.instance_type, status.instance_count or 1
        run.instance_type = run.instance_type or self._desk.template.spec.instance_type
        self._watcher.learn(run, status, now, details)
        if run.terminal_at is None:
            self._desk.admission.occupied(run.job, run.instance_type, run.instance_count)

    def _work(self, now: float) -> None:
        for _ in range(len(self._queue)):
            run = self._queue[0]
            done = self._find(run, now) if run.stop_asked or not run.may_create else self._create(run, now)
            if not done:
                return
            self._queue.popleft()

    # -- finding

    def _find(self, run: TrialRun, now: float) -> bool:
        """Of a run that is not to be created: its job, the last if there are several. Whether it is settled."""
        if not self._desk.describe_budget.try_take():
            return False
        found = self._describe(run)
        if found is None:
            reason = "" if run.stop_asked else "No job of it is known."
            self._end(run, Outcome.stopped if run.stop_asked else Outcome.interrupted, reason)
            return True
        while (
            found.state.is_final and (following := self._describe(replace(run, number=run.number + 1))) is not None
        ):
            run.number, found = run.number + 1, following
        self.adopt(run, found, now, details=True)
        return True

    def _describe(self, run: TrialRun) -> JobStatus | None:
        try:
            return self._desk.jobs.describe(run.job)
        except ResourceNotFound:
            return None

    # -- creating

    def _create(self, run: TrialRun, now: float) -> bool:
        """Whether the run needs no further attention here."""
        desk = self._desk
        try:
            wanted_type, wanted_count = instances_of(desk.template, run.trial.config)
        except SpecError as error:
            self._end(run, Outcome.failed, str(error))
            return True
        if constants.ST_INSTANCE_TYPE not in run.trial.config:
            wanted_type = ""  # whichever of the template's types there is
        grant = desk.admission.choose(now, wanted_type or None, wanted_count)
        if not isinstance(grant, Grant):
            hopeless = desk.admission.is_hopeless(wanted_type or None, wanted_count)
            if hopeless and wanted_type:  # another trial may want another type
                self._end(run, Outcome.failed, hopeless)
                return True
            if hopeless:
                raise Hopeless(QuotaExceeded(hopeless, "The same command continues the experiment."))
            self._wait(now, grant.until, grant.reason)
            return False
        try:
            spec = trial_job(desk.template, desk.place, run.trial, run.number, run.seen_level, grant.instance_type)
        except SpecError as error:
            self._end(run, Outcome.failed, str(error))
            return True
        self._copy_checkpoint(run)
        if not desk.create_budget.try_take():
            self._waits_until = desk.create_budget.ready_at()
            return False
        return self._send(run, spec, now)

    def _send(self, run: TrialRun, spec: TrainingJobSpec, now: float) -> bool:
        desk = self._desk
        try:
            desk.jobs.create(spec)
        except AlreadyExists:
            return self._exists(run, spec, now)
        except QuotaExceeded as error:
            desk.admission.refused(spec.instance_type, error.message, now)
            return False
        except CapacityUnavailable:
            desk.admission.capacity_failed(spec.instance_type, now)
            return False
        except (InvalidRequest, SpecError) as error:
            self._end(run, Outcome.failed, str(error))
            return True
        except AccessDenied as error:
            if not self._has_created:
                raise Hopeless(error) from error
            raise
        self._has_created = run.created_here = True
        run.phase, run.created_at, run.looked_at = Phase.created, now, now
        run.instance_type, run.instance_count = spec.instance_type, spec.instance_count
        desk.admission.occupied(run.job, spec.instance_type, spec.instance_count)
        return True

    def _exists(self, run: TrialRun, spec: TrainingJobSpec, now: float) -> bool:
        """The name is in use: by the job that an earlier tuner (or a call whose answer was lost) has created, or
        by one that has nothing to do with this attempt, which is passed over."""
        found = self._describe(run)
        if found is None:
            return False
        if _is_of_this_attempt(found, run, spec):
            self.adopt(run, found, now, details=True)
            return True
        logger.warning(
            "Job %s exists and is not of this experiment, or of another configuration; it is passed over.", run.job
        )
        if not found.state.is_final:
            self._desk.jobs.stop(run.job)
        run.next_job()
        return False

    def _copy_checkpoint(self, run: TrialRun) -> None:
        """Puts the checkpoint that a new trial begins with in its place."""
        trial = run.trial
        if trial.checkpoint_trial_id is None or trial.attempt > 0 or run.copied:
            return
        if self._describe(run) is None:  # else it has begun: the copy is its own by now
            self._desk.files.copy_checkpoint(trial.checkpoint_trial_id, trial.trial_id)
        run.copied = True

    def _wait(self, now: float, until: float, reason: str) -> None:
        self._waits_until = until
        if now >= self._remind_at:
            self._remind_at = now + _REMIND_S
            logger.info("%d trials wait: %s", len(self._queue), reason)

    def _end(self, run: TrialRun, outcome: Outcome, reason: str) -> None:
        run.phase = Phase.ended
        self._desk.outbox.end(AttemptEnded(run.trial.trial_id, run.trial.attempt, outcome, reason))


class Hopeless(Exception):
    """Waiting will not help: the session ends."""

    def __init__(self, error: AwsError) -> None:
        super().__init__(str(error))
        self.error = error


def _is_of_this_attempt(found: JobStatus, run: TrialRun, spec: TrainingJobSpec) -> bool:
    if found.created is not None and found.created < run.trial.creation_time - _CLOCK_SKEW_S:
        return False
    wanted = decode_hyperparameters(encode_hyperparameters(spec.hyperparameters))
    theirs = decode_hyperparameters(found.hyperparameters)
    if constants.ST_INSTANCE_TYPE not in run.trial.config:  # which of several it got is a matter of capacity
        wanted.pop(constants.ST_INSTANCE_TYPE, None)
        theirs.pop(constants.ST_INSTANCE_TYPE, None)
    return theirs == wanted
