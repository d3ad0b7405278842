"""What all parts of the engine share: the runs, the ports, and what the service allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudtune import names
from cloudtune.aws.pacing import TokenBucket
from cloudtune.clock import Clock
from cloudtune.experiment.ports import AttemptKey
from cloudtune.sagemaker_backend.admission import Admission
from cloudtune.sagemaker_backend.outbox import Outbox
from cloudtune.sagemaker_backend.own_instance import OwnInstance
from cloudtune.sagemaker_backend.ports import Pace, TrialFiles, TrialJobs
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.sagemaker_backend.trial_job_spec import TrialPlace
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun

# What Create, Describe and Stop allow is not published; List allows 2 per second and account.
_CREATE_PER_S, _CREATE_BURST = 4.0, 8
_DESCRIBE_PER_S, _DESCRIBE_BURST = 4.0, 10
_STOP_PER_S, _STOP_BURST = 4.0, 10
_LOGS_PER_S, _LOGS_BURST = 2.0, 5

#: ``map``, or one that does several at a time.
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass
class Desk:
    """Of one session."""

    template: TrialTemplate
    place: TrialPlace
    jobs: TrialJobs
    files: TrialFiles
    pace: Pace
    clock: Clock
    admission: Admission
    outbox: Outbox
    #: Of a tuner in a job of its own.
    own_instance: OwnInstance | None = None
    #: What earlier sessions have told the cost of, but not its final one.
    unsettled: Sequence[str] = ()
    #: Several reads at a time where the network is real.
    map: Map = map
    runs: dict[AttemptKey, TrialRun] = field(default_factory=dict)
    #: Number of the last job of an attempt, where that is not its first.
    last_job: dict[AttemptKey, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.create_budget = TokenBucket(self.clock, _CREATE_PER_S, _CREATE_BURST)
        self.describe_budget = TokenBucket(self.clock, _DESCRIBE_PER_S, _DESCRIBE_BURST)
        self.stop_budget = TokenBucket(self.clock, _STOP_PER_S, _STOP_BURST)
        self.log_budget = TokenBucket(self.clock, _LOGS_PER_S, _LOGS_BURST)

    @property
    def suffix(self) -> str:
        """What the names of all jobs of the experiment's trials have in common."""
        return names.trial_job_suffix(self.place.tuner_name)

    def in_phase(self, phase: Phase) -> Iterator[TrialRun]:
        return (run for run in list(self.runs.values()) if run.phase is phase)
