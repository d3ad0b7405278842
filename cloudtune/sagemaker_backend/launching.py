"""Creating jobs, each once: as far as quota, capacity and rates allow; and finding those that exist already."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cloudtune import constants, names
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.errors import (
    AccessDenied,
    AlreadyExists,
    AwsError,
    CapacityUnavailable,
    InvalidRequest,
    QuotaExceeded,
    ResourceNotFound,
    SpecError,
    Throttled,
)
from cloudtune.experiment.ports import AttemptEnded, AttemptKey
from cloudtune.job_spec import TrainingJobSpec, decode_hyperparameters, encode_hyperparameters
from cloudtune.remote import trial_layout
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.admission import Grant
from cloudtune.sagemaker_backend.denials import Denials
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.patience import each_in_turn
from cloudtune.sagemaker_backend.trial_job_spec import instances_of, trial_job
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun
from cloudtune.sagemaker_backend.watching import Watcher
from cloudtune.trial import Outcome

logger = logging.getLogger(__name__)

#: A job that was created so long before its trial belongs to an earlier experiment of the same name, seconds.
_CLOCK_SKEW_S = 900.0
#: Why jobs wait is told this often, seconds.
_REMIND_S = 60.0
#: How long a job whose creation was not answered may take to be seen, and how often it is looked for, seconds.
_APPEARS_S, _LOOK_AGAIN_S = 30.0, 5.0


class Launcher:
    """Brings queued runs to life, first come, first served among those that want the same instances."""

    def __init__(self, desk: Desk, watcher: Watcher) -> None:
        self._desk = desk
        self._watcher = watcher
        self._queue: dict[AttemptKey, TrialRun] = {}
        self._creating = Activity("create training jobs")
        self._denials = Denials()
        #: Jobs that run and that no run has claimed yet, as listed.
        self._listed: Mapping[AttemptKey, JobStatus] = {}
        #: Types of instances for which runs wait; "" for any of the template's.
        self._waits: set[str] = set()
        self._again_at = 0.0
        self._remind_at = float("-inf")
        self._stepped_at = float("-inf")

    def put(self, run: TrialRun) -> None:
        """A run without a job, as far as is known."""
        self._queue[run.key] = run
        self._again_at = 0.0
        self._creating.hurry()

    def next_at(self) -> float:
        """When something may be done for those that wait; infinity if none does."""
        if not self._queue:
            return float("inf")
        # Whose pause was over at the last step has been tried there.
        failed = (at for run in self._queue.values() if (at := run.creating.not_before) > self._stepped_at)
        return max(self._creating.next_at(), min(self._again_at, min(failed, default=float("inf"))))

    @property
    def num_to_stop(self) -> int:
        """Runs that are to be stopped, if jobs of them exist."""
        return sum(1 for run in self._queue.values() if run.stop_asked)

    def step(self, now: float, may_create: bool = True) -> None:
        """Does what is possible. Without ``may_create``, looks for the jobs of runs that are to be stopped."""
        self._stepped_at = now
        if self._queue and self._creating.is_due(now):
            runs = [run for run in self._queue.values() if may_create or run.stop_asked]
            self._creating.attempt(now, lambda: self._work(runs, now))

    def _work(self, runs: Sequence[TrialRun], now: float) -> None:
        self._listed = self._watcher.unclaimed()
        self._waits.clear()
        self._again_at = float("inf")
        each_in_turn(runs, lambda run: run.creating, now, lambda run: self._advance(run, now))

    def _advance(self, run: TrialRun, now: float) -> bool:
        """Whether the run needs no further attention here."""
        is_settled = self._find(run, now) if run.stop_asked or not run.may_create else self._create(run, now)
        if is_settled:
            del self._queue[run.key]
        return is_settled

    def _come_again(self, at: float) -> bool:
        self._again_at = min(self._again_at, at)
        return False

    # -- finding

    def _find(self, run: TrialRun, now: float) -> bool:
        """Of a run that is not to be created: its job, the last if there are several."""
        listed = None if run.may_create else self._listed_job(run)
        if listed is not None:
            self._adopt(run, listed, now, details=False)
            return True
        if not self._desk.describe_budget.try_take():
            return self._come_again(self._desk.describe_budget.ready_at())
        spec = self._spec(run, None) if run.may_create else None
        if run.may_create and spec is None:
            return True
        found = self._describe(run)
        while found is not None and (found.state.is_final or not _is_of_this_attempt(found, run, spec)):
            following = self._describe(replace(run, number=run.number + 1))
            if following is None:
                break
            run.number, found = run.number + 1, following
        if found is not None and _is_of_this_attempt(found, run, spec):
            self._adopt(run, found, now, details=True)
            return True
        if run.unanswered_at is not None and now < run.unanswered_at + _APPEARS_S:
            return self._come_again(now + _LOOK_AGAIN_S)
        reason = "" if run.stop_asked else "No job of it is known."
        self._end(run, Outcome.stopped if run.stop_asked else Outcome.interrupted, reason)
        return True

    def _describe(self, run: TrialRun) -> JobStatus | None:
        try:
            return self._desk.jobs.describe(run.job)
        except ResourceNotFound:
            return None

    def _listed_job(self, run: TrialRun) -> JobStatus | None:
        """What a listing says of a job of the attempt that runs, which becomes the run's."""
        listed = self._listed.get(run.key)
        parsed = listed and names.parse_trial_job_name(self._desk.place.tuner_name, listed.name)
        if not parsed or parsed[2] < run.number:
            return None
        run.number = parsed[2]
        return listed

    def _adopt(self, run: TrialRun, status: JobStatus, now: float, details: bool) -> None:
        """The job exists."""
        run.phase, run.created_at = Phase.created, now
        # An answer was lost: who else would have created it?
        run.created_here = run.created_here or run.unanswered_at is not None
        self._note_number(run)
        self._watcher.claim(run.job)
        self._watcher.learn(run, status, now, details)
        if run.terminal_at is None:
            instance_type = run.instance_type or self._desk.template.spec.instance_type
            self._desk.admission.occupied(run.job, instance_type, run.instance_count)

    def _note_number(self, run: TrialRun) -> None:
        if run.number > 0:
            self._desk.last_job[run.key] = run.number

    # -- creating

    def _create(self, run: TrialRun, now: float) -> bool:
        desk = self._desk
        if self._listed_job(run) is not None:  # by an earlier tuner, or in a call whose answer was lost
            if not desk.describe_budget.try_take():
                return self._come_again(desk.describe_budget.ready_at())
            spec = self._spec(run, None)
            return spec is None or self._exists(run, spec, now)
        try:
            wanted_type, wanted_count = instances_of(desk.template, run.trial.config)
        except SpecError as error:
            self._end(run, Outcome.failed, str(error))
            return True
        if constants.ST_INSTANCE_TYPE not in run.trial.config:
            wanted_type = ""  # whichever of the template's types there is
        if wanted_type in self._waits:
            return False  # nobody is overtaken
        grant = desk.admission.choose(now, wanted_type or None, wanted_count)
        if not isinstance(grant, Grant):
            hopeless = desk.admission.is_hopeless(wanted_type or None, wanted_count)
            if hopeless and wanted_type:  # another trial may want another type
                self._end(run, Outcome.failed, hopeless)
                return True
            if hopeless and self._denials.created == 0 and not any(desk.in_phase(Phase.created)):
                raise Hopeless(QuotaExceeded(hopeless, "The same command continues the experiment."))
            return self._wait(now, wanted_type, grant.until, grant.reason)
        if not desk.create_budget.try_take():
            return self._come_again(desk.create_budget.ready_at())
        self._copy_checkpoint(run)
        spec = self._spec(run, grant.instance_type)
        return spec is None or self._send(run, spec, now)

    def _spec(self, run: TrialRun, instance_type: str | None) -> TrainingJobSpec | None:
        """None if there can be none: the run has ended."""
        desk = self._desk
        try:
            return trial_job(desk.template, desk.place, run.trial, run.number, run.seen_level, instance_type)
        except SpecError as error:
            self._end(run, Outcome.failed, str(error))
            return None

    def _send(self, run: TrialRun, spec: TrainingJobSpec, now: float) -> bool:
        desk = self._desk
        try:
            desk.jobs.create(spec)
        except AlreadyExists:
            return self._exists(run, spec, now)
        except QuotaExceeded as error:
            desk.admission.refused(spec.instance_type, error.message, now)
            return self._come_again(now)
        except CapacityUnavailable:
            desk.admission.capacity_failed(spec.instance_type, now)
            return self._come_again(now)
        except (InvalidRequest, ResourceNotFound, SpecError) as error:
            self._end(run, Outcome.failed, str(error))
            return True
        except AccessDenied as error:
            if self._denials.created == 0:
                raise Hopeless(error) from error
            if self._denials.is_last(run.key, error, now):
                self._end(run, Outcome.failed, str(error))
                return True
            raise
        except AwsError as error:
            if not isinstance(error, Throttled):
                run.unanswered_at = now
            raise
        self._denials.was_created(run.key)
        run.created_here = True
        run.phase, run.created_at, run.looked_at = Phase.created, now, now
        run.instance_type, run.instance_count = spec.instance_type, spec.instance_count
        desk.admission.occupied(run.job, spec.instance_type, spec.instance_count)
        self._note_number(run)
        return True

    def _exists(self, run: TrialRun, spec: TrainingJobSpec, now: float) -> bool:
        """The name is in use: by the job that an earlier tuner (or a call whose answer was lost) has created, or
        by one that has nothing to do with this attempt, which is ended and passed over."""
        found = self._desk.jobs.describe(run.job)
        if _is_of_this_attempt(found, run, spec):
            self._adopt(run, found, now, details=True)
            return True
        if not found.state.is_final:  # it keeps its checkpoints where this trial's are to be
            if found.state is JobState.running:
                self._desk.jobs.stop(run.job)
            run.creating.failed(now)
            return False
        logger.warning(
            "Job %s exists and is not of this experiment, or of another configuration; it is passed over.", run.job
        )
        if run.trial.attempt == 0 and self._describe(replace(run, number=run.number + 1)) is None:
            self._desk.files.delete_checkpoints([run.trial.trial_id])
            run.copied = False
        self._watcher.claim(run.job)
        run.next_job()
        return self._come_again(now)

    def _copy_checkpoint(self, run: TrialRun) -> None:
        """Puts the checkpoint that a new trial begins with in its place. Its source may have trained on since the
        trial was planned: it goes on from there, and is told so."""
        trial = run.trial
        if trial.checkpoint_trial_id is None or trial.num_reports > 0 or run.copied:
            return
        if self._describe(run) is None:  # else it has begun: the copy is its own by now
            level = self._desk.files.copy_checkpoint(trial.checkpoint_trial_id, trial.trial_id)
            run.seen_level = max(run.seen_level, level or 0)
        run.copied = True

    def _wait(self, now: float, wanted_type: str, until: float, reason: str) -> bool:
        self._waits.add(wanted_type)
        if now >= self._remind_at:
            self._remind_at = now + _REMIND_S
            logger.info("%d trials wait: %s", len(self._queue), reason)
        return self._come_again(until)

    def _end(self, run: TrialRun, outcome: Outcome, reason: str) -> None:
        run.phase = Phase.ended
        del self._desk.runs[run.key]
        self._desk.outbox.end(AttemptEnded(run.trial.trial_id, run.trial.attempt, outcome, reason))


class Hopeless(Exception):
    """Waiting will not help: the session ends."""

    def __init__(self, error: AwsError) -> None:
        super().__init__(str(error))
        self.error = error


def _is_of_this_attempt(found: JobStatus, run: TrialRun, spec: TrainingJobSpec | None) -> bool:
    """Without a ``spec``, nothing else is expected: the attempt has reported."""
    if spec is None:
        return True
    begun = run.trial.creation_time
    is_known = found.environment.get(trial_layout.ENV_TRIAL_BEGUN) == repr(begun)
    if not is_known and _is_earlier(found, begun):
        return False
    wanted = decode_hyperparameters(encode_hyperparameters(spec.hyperparameters))
    theirs = decode_hyperparameters(found.hyperparameters)
    if constants.ST_INSTANCE_TYPE not in run.trial.config:  # which of several it got is a matter of capacity
        wanted.pop(constants.ST_INSTANCE_TYPE, None)
        theirs.pop(constants.ST_INSTANCE_TYPE, None)
    return theirs == wanted


def _is_earlier(found: JobStatus, begun: float) -> bool:
    """Whether a job was there before the trial: created long ago (clocks may differ), or over by then."""
    is_old = found.created is not None and found.created < begun - _CLOCK_SKEW_S
    return is_old or (found.ended is not None and found.ended < begun)
