"""What a trial is, as everybody sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudtune._compat import StrEnum

Config = dict[str, Any]
Metrics = Mapping[str, Any]


class Status(StrEnum):
    """Where a trial stands."""

    in_progress = "InProgress"
    stopping = "Stopping"  #: asked to stop or pause, not yet ended
    paused = "Paused"
    completed = "Completed"
    failed = "Failed"
    stopped = "Stopped"
    interrupted = "Interrupted"  #: lost its machine; resumes from its last checkpoint

    @property
    def is_running(self) -> bool:
        """Whether it occupies a worker."""
        return self in (Status.in_progress, Status.stopping)

    @property
    def is_final(self) -> bool:
        return self in (Status.completed, Status.failed, Status.stopped)


class Outcome(StrEnum):
    """How one attempt of a trial ended."""

    completed = "completed"  #: by itself, exit code 0
    failed = "failed"  #: by itself, with an error
    stopped = "stopped"  #: since the scheduler or the stopping criterion asked for it
    paused = "paused"  #: likewise, to be resumed perhaps
    interrupted = "interrupted"  #: the machine, the process or the tuner went away; to be resumed


@dataclass(frozen=True)
class Trial:
    """One configuration under evaluation.

    An *attempt* is one run of its script: attempt 0 the first, one more each time it is resumed after a pause
    or an interruption. ``config`` is that of the current attempt.
    """

    trial_id: int
    config: Config
    attempt: int = 0
    #: Seconds since the epoch at which its first attempt was started.
    creation_time: float = 0.0
    #: Trial whose checkpoint this one begins with (population-based training).
    checkpoint_trial_id: int | None = None
    #: Reports recorded so far, over all attempts.
    num_reports: int = field(default=0, compare=False)
