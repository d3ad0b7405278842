"""Jobs are asked to stop until they do."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cloudtune.errors import ResourceNotFound
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.patience import Patience, each_in_turn
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun
from cloudtune.sagemaker_backend.watching import Watcher

logger = logging.getLogger(__name__)

#: Until a job is asked again to stop that goes on as if nothing had been said, seconds.
_STOP_AGAIN_S = 300.0


class Stopper:
    """Stops the jobs of runs that are to stop, and those that nobody wants.

    Args:
        on_stray: Called with the name of each job that nobody wanted, once it was asked.
    """

    def __init__(self, desk: Desk, watcher: Watcher, on_stray: Callable[[str], None]) -> None:
        self._desk = desk
        self._watcher = watcher
        self._on_stray = on_stray
        self._runs = Activity("stop training jobs")
        self._others = Activity("stop training jobs that nobody wants")
        self._strays: dict[str, Patience] = {}

    @property
    def num_left(self) -> int:
        """Jobs that have not been asked yet."""
        return len(self._strays) + sum(1 for run in self._asked() if run.stop_sent_at is None)

    def hurry(self) -> None:
        """There is something new to be stopped."""
        self._runs.hurry()

    def step(self, now: float) -> None:
        due = [run for run in self._asked() if run.stop_sent_at is None or now - run.stop_sent_at >= _STOP_AGAIN_S]
        if due and self._runs.is_due(now):
            self._runs.attempt(
                now, lambda: each_in_turn(due, lambda run: run.stopping, now, lambda run: self._stop(run, now))
            )
        for name in self._watcher.strays(now):
            self._strays[name] = Patience()
        for name in [name for name in self._strays if self._watcher.is_wanted(name)]:
            del self._strays[name]
        if self._strays and self._others.is_due(now):
            strays = list(self._strays.items())
            self._others.attempt(
                now,
                lambda: each_in_turn(
                    strays, lambda stray: stray[1], now, lambda stray: self._stop_stray(stray[0])
                ),
            )

    def _asked(self) -> list[TrialRun]:
        return [run for run in self._desk.in_phase(Phase.created) if run.stop_asked and run.is_live]

    def _stop(self, run: TrialRun, now: float) -> bool:
        if not self._desk.stop_budget.try_take():
            return False
        try:
            self._desk.jobs.stop(run.job)
        except ResourceNotFound:  # not known there yet, or gone
            run.stopping.failed(now)
            return False
        run.stop_sent_at = now
        return True

    def _stop_stray(self, name: str) -> bool:
        if not self._desk.stop_budget.try_take():
            return False
        logger.warning("Job %s runs, and no tuner knows of it: it is stopped.", name)
        try:
            self._desk.jobs.stop(name)
        except ResourceNotFound:
            logger.debug("Job %s is gone.", name)
        del self._strays[name]
        self._on_stray(name)
        return True
