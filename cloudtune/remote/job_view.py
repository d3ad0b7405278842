"""One job as a person follows it: a line whenever something has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rich.console import Console

from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.clock import Clock
from cloudtune.errors import Throttled, Unreachable

logger = logging.getLogger(__name__)

#: Without an answer for so long, seconds, following is given up; the job goes on.
_PATIENCE_S = 600.0


def follow_job(
    jobs: TrainingJobs, name: str, progress: Callable[[], str], clock: Clock, interval_s: float, console: Console
) -> JobStatus:
    """Waits until the job has ended; returns how.

    Args:
        progress: What to say about a job that trains.
        interval_s: Seconds between two looks.

    Raises:
        AwsError: The service refuses to answer, or has not answered for ten minutes.
    """
    begin = answered = clock.now()
    said = ""
    while True:
        try:
            status = jobs.describe(name)
            answered = clock.now()
            trains = status.phase == "Training" or status.state.is_final
            line = ": ".join(filter(None, [f"{status.state} ({status.phase})", progress() if trains else ""]))
            if line != said:
                said = line
                console.print(f"[{clock.now() - begin:6.0f} s] {line}", highlight=False, markup=False)
            if status.state.is_final:
                return status
        except (Unreachable, Throttled) as error:
            if clock.now() - answered > _PATIENCE_S:
                raise
            logger.warning("AWS does not answer now; looking again soon. %s", error.message)
        clock.sleep(interval_s)
