"""The state machine behind SageMakerBackend: :meth:`Engine.step` does what is due, and neither waits nor sleeps.

Cost: a step looks at the attempts that run; its calls to the cloud are one listing of reports, a read for each
object that has grown, one listing of the jobs that have changed, and what begins or ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from cloudtune.experiment.ports import AttemptKey
from cloudtune.sagemaker_backend.cleaning import Cleaner
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.ending import TryAgain, verdict
from cloudtune.sagemaker_backend.launching import Launcher
from cloudtune.sagemaker_backend.meter import Meter
from cloudtune.sagemaker_backend.stopping import Stopper
from cloudtune.sagemaker_backend.trial_run import Phase, TrialRun
from cloudtune.sagemaker_backend.warm_pools import WarmPools
from cloudtune.sagemaker_backend.watching import Watcher
from cloudtune.trial import Trial

logger = logging.getLogger(__name__)


class Engine:
    """Runs the trials of one session. Called from one thread; :meth:`post` from any."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._warm_pools = WarmPools(desk)
        self._watcher = Watcher(desk, self._warm_pools.heard)
        self._launcher = Launcher(desk, self._watcher)
        self._cleaner = Cleaner(desk)
        self._meter = Meter(desk)
        self._stopper = Stopper(desk, self._watcher, self._meter.follow)
        self._commands: deque[Callable[[], None]] = deque()

    def post(self, command: Callable[[], None]) -> None:
        """``command`` is carried out at the beginning of the next step."""
        self._commands.append(command)

    # -- commands

    def start(self, trial: Trial, seen_level: int, may_create: bool) -> None:
        run = TrialRun(trial, self._desk.place.tuner_name, seen_level, may_create)
        self._desk.runs[run.key] = run
        self._launcher.put(run)

    def stop(self, key: AttemptKey) -> None:
        run = self._desk.runs.get(key)
        if run is not None:
            run.stop_asked = True
            self._stopper.hurry()

    def delete_checkpoint(self, trial_id: int) -> None:
        self._cleaner.delete_checkpoint(trial_id, self._desk.clock.now())

    def retire(self, key: AttemptKey) -> None:
        self._cleaner.retire(key)

    # -- working

    def step(self) -> None:
        """Does what is due. Raises Hopeless if nothing can come of going on."""
        now = self._desk.clock.now()
        self._obey()
        self._watcher.step(now)
        self._end_runs(now)
        self._launcher.step(now)
        self._stopper.step(now)
        self._cleaner.step(now)
        self._warm_pools.step(now)
        self._meter.step(now)

    def wind_up(self) -> int:
        """In place of :meth:`step` when the session ends: begins nothing, and reads nothing that nobody will be
        told. Returns how much of what was asked for has not reached the cloud yet."""
        now = self._desk.clock.now()
        self._obey()
        self._launcher.step(now, may_create=False)
        self._stopper.step(now)
        self._cleaner.step(now)
        kept_warm = self._warm_pools.release(now)
        asked = len(self._commands) + self._launcher.num_to_stop + self._stopper.num_left + self._cleaner.num_left
        return asked + kept_warm

    def _obey(self) -> None:
        while self._commands:
            self._commands.popleft()()

    def next_at(self) -> float:
        """When there may be something to do, seconds on the clock; infinity: not before a command."""
        if self._commands:
            return self._desk.clock.now()
        times = [self._launcher.next_at(), self._cleaner.next_at()]
        if any(run.phase is Phase.created for run in self._desk.runs.values()):
            times.append(self._watcher.next_at())
        return min(times)

    def finish(self) -> None:
        """Before the session ends."""
        self._cleaner.finish()

    def _end_runs(self, now: float) -> None:
        for run in list(self._desk.in_phase(Phase.created)):
            if run.terminal_at is not None:
                self._desk.admission.released(run.job, now, self._warm_pools.kept_until(run))
            if self._watcher.is_done(run, now):
                self._end(run, now)

    def _end(self, run: TrialRun, now: float) -> None:
        end = verdict(run)
        self._warm_pools.ended(run)
        self._watcher.forget(run.job)
        if isinstance(end, TryAgain):
            logger.info("Job %s has found no instance; trying again. %s", run.job, end.reason)
            self._meter.closed(run)
            self._desk.admission.capacity_failed(run.instance_type, now)
            run.capacity_failures += 1
            run.next_job()
            self._launcher.put(run)
            return
        run.phase = Phase.ended
        del self._desk.runs[run.key]
        self._desk.outbox.end(end, self._meter.final(run))
