"""One job as a person follows it: a line whenever something has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from cloudtune.aws.job_status import JobStatus
from cloudtune.aws.objects import S3Objects
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.clock import Clock
from cloudtune.errors import CloudtuneError, Throttled, Unreachable
from cloudtune.experiment.events import ExperimentEnded, decode
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.stores.file import FileStore
from cloudtune.tuning_status import TuningStatus

logger = logging.getLogger(__name__)

#: Without an answer for so long, seconds, following is given up; the job goes on.
_PATIENCE_S = 600.0


class Progress:
    """How far an experiment is, in a line, from its journal in S3.

    Args:
        objects: Access to S3.
        state: The experiment's state there.
        folder: For copies of the journal; only what is new is fetched.
        metric, mode: The objective.
    """

    def __init__(self, objects: S3Objects, state: S3Uri, folder: Path, metric: str, mode: str) -> None:
        self._objects = objects
        self._state = state
        self._paths = ExperimentPaths(folder)
        self._metric, self._mode = metric, mode
        self._store = FileStore(self._paths)
        self._status = TuningStatus([metric])
        self._num_events = 0

    def __call__(self) -> str:
        try:
            self._objects.download_missing(
                self._state, self._paths.dir, include=lambda name: name.startswith("journal/")
            )
            for event in self._store.read(self._num_events):
                self._status.observe(event)
                self._num_events += 1
        except (CloudtuneError, OSError) as error:  # not there yet, or not readable at this moment
            logger.debug("No results now: %s", error)
            return ""
        best = self._status.best(self._metric, self._mode)
        text = f"{self._status.num_trials_started} trials, {self._status.num_reports} reports"
        return text if best is None else f"{text}, best {self._metric} {best.value:.4g} (trial {best.trial_id})"


def end_of(objects: S3Objects, state: S3Uri) -> ExperimentEnded | None:
    """The event that ended the experiment whose state is in S3; None if it can be continued.

    Raises:
        StoreError: Its last event cannot be read.
    """
    segments = sorted(objects.list(state / "journal"), key=lambda item: item.uri.key)
    for segment in reversed(segments):
        lines = objects.get(segment.uri).splitlines()
        if lines:
            last = decode(lines[-1], str(segment.uri))
            return last if isinstance(last, ExperimentEnded) else None
    return None


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
                console.print(
                    f"[{clock.now() - begin:6.0f} s] {line}", highlight=False, markup=False, soft_wrap=True
                )
            if status.state.is_final:
                return status
        except (Unreachable, Throttled) as error:
            if clock.now() - answered > _PATIENCE_S:
                raise
            logger.warning("AWS does not answer now; looking again soon. %s", error.message)
        clock.sleep(interval_s)
