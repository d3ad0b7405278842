"""One attempt of a trial, and the job that runs it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudtune import names
from cloudtune._compat import StrEnum
from cloudtune.aws.job_status import JobStatus
from cloudtune.experiment.ports import AttemptKey
from cloudtune.sagemaker_backend.job_reports import JobReports
from cloudtune.sagemaker_backend.patience import Patience
from cloudtune.trial import Trial


class Phase(StrEnum):
    queued = "queued"  #: no job of it is known to exist
    created = "created"  #: its job exists
    ended = "ended"  #: told


#: What the service says of a job that waits for its instances, or for what has to be brought there.
_BEFORE_TRAINING = (
    "Starting",
    "Pending",
    "LaunchingMLInstances",
    "PreparingTrainingStack",
    "Downloading",
    "DownloadingTrainingImage",
    "Interrupted",
    "Restarting",
)


@dataclass
class TrialRun:
    """What the engine knows of an attempt.

    Args:
        trial: As it was started, or adopted.
        tuner_name: Of whom.
        seen_level: Highest resource level recorded of the trial when the attempt began, or that of the checkpoint
            of another one with which it begins.
        may_create: Whether a job may be created; False for one that has reported: it is found or gone.
    """

    trial: Trial
    tuner_name: str
    seen_level: int = 0
    may_create: bool = True
    #: Whether this session has created the job: what it was not asked to stop, it has not stopped.
    created_here: bool = False
    #: When the service was asked to create the job and gave no clear answer: it may exist.
    unanswered_at: float | None = None
    #: Each of these may fail for this run alone.
    creating: Patience = field(default_factory=Patience)
    stopping: Patience = field(default_factory=Patience)
    describing: Patience = field(default_factory=Patience)
    logging: Patience = field(default_factory=Patience)
    phase: Phase = Phase.queued
    #: Jobs created for the attempt before this one.
    number: int = 0
    status: JobStatus | None = None
    #: Empty until it is known.
    instance_type: str = ""
    instance_count: int = 1
    #: When its job was created or adopted here, and last looked at, seconds on the tuner's clock.
    created_at: float = 0.0
    looked_at: float = 0.0
    stop_asked: bool = False
    #: When the service was last asked to stop it; None: not yet.
    stop_sent_at: float | None = None
    #: The checkpoint that it begins with is in place.
    copied: bool = False
    #: Whether the service has told all it knows of the end.
    has_details: bool = False
    #: When the end of the job was noticed; reports listed after that are all there are.
    terminal_at: float | None = None
    is_read_to_end: bool = False
    capacity_failures: int = 0
    reports: JobReports = field(default_factory=JobReports)

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.trial.trial_id, self.trial.attempt)

    @property
    def label(self) -> str:
        return names.trial_label(self.trial.trial_id, self.trial.attempt, self.number)

    @property
    def job(self) -> str:
        """Name of its job."""
        return names.trial_job_name(self.tuner_name, self.trial.trial_id, self.trial.attempt, self.number)

    @property
    def is_live(self) -> bool:
        """Whether its job exists and is not known to have ended."""
        return self.phase is Phase.created and self.terminal_at is None

    @property
    def is_waiting(self) -> bool:
        """Whether its job, or the container of that, is yet to come."""
        if self.status is None:
            return self.phase is Phase.queued or not self.reports.exists
        return self.phase is Phase.queued or self.status.phase in _BEFORE_TRAINING

    def next_job(self) -> None:
        """The job came to nothing: another one for the same attempt."""
        self.number += 1
        self.phase, self.status, self.reports = Phase.queued, None, JobReports()
        self.terminal_at, self.stop_sent_at, self.unanswered_at = None, None, None
        self.has_details = self.is_read_to_end = False
        self.stopping, self.describing, self.logging = Patience(), Patience(), Patience()
