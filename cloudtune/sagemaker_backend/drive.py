"""What makes the engine go: the tuner's own thread where time is virtual, else a thread of its own."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cloudtune import names
from cloudtune.clock import Clock
from cloudtune.errors import ResourceNotFound
from cloudtune.experiment.ports import AttemptKey, Fact
from cloudtune.sagemaker_backend.desk import Desk
from cloudtune.sagemaker_backend.engine import Engine
from cloudtune.sagemaker_backend.launching import Hopeless
from cloudtune.trial import Trial

logger = logging.getLogger(__name__)

#: Shortest and longest pause between two steps, seconds.
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.05, 1.0
#: How long the end of a session waits for stops and deletions to reach the cloud, seconds: without any progress,
#: and with some.
_STUCK_S, _SETTLE_S = 30.0, 300.0
_SETTLE_PAUSE_S = 0.2


class _Commands:
    """What the tuner asks, handed on to the engine."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.engine = Engine(desk)
        #: Highest resource level recorded, by trial.
        self._levels: dict[int, int] = {}
        #: Newest attempt of each trial.
        self._attempts: dict[int, int] = {}

    def start(self, trial: Trial, may_create: bool) -> None:
        key = AttemptKey(trial.trial_id, trial.attempt)
        self._attempts[trial.trial_id] = trial.attempt
        if self.desk.outbox.know(key):
            level = self._levels.get(trial.trial_id, 0)
            self.engine.post(lambda: self.engine.start(trial, level, may_create))
            self.wake()

    def stop(self, key: AttemptKey) -> None:
        self.engine.post(lambda: self.engine.stop(key))
        self.wake()

    def acknowledge(self, trial_id: int, level: int) -> None:
        self._levels[trial_id] = max(level, self._levels.get(trial_id, 0))

    def retire(self, key: AttemptKey) -> None:
        self.engine.post(lambda: self.engine.retire(key))

    def delete_checkpoint(self, trial_id: int) -> None:
        self.engine.post(lambda: self.engine.delete_checkpoint(trial_id))
        self.wake()

    def waiting(self) -> set[int]:
        runs = list(self.desk.runs.values())
        return {run.trial.trial_id for run in runs if run.is_waiting and not run.stop_asked}

    def log(self, trial_id: int) -> list[str]:
        """Of all attempts, those of earlier sessions included; of each its last job."""
        lines: list[str] = []
        attempt, newest = 0, self._attempts.get(trial_id, 0)
        while (job := self._last_job(trial_id, attempt)) is not None or attempt < newest:
            lines += [] if job is None else self._log_of(job)
            attempt += 1
        return lines

    def _last_job(self, trial_id: int, attempt: int) -> str | None:
        """Of the attempt; None if it has none."""
        found = None
        for number in itertools.count(self.desk.last_job.get(AttemptKey(trial_id, attempt), 0)):
            job = names.trial_job_name(self.desk.place.tuner_name, trial_id, attempt, number)
            try:
                self.desk.jobs.describe(job)
            except ResourceNotFound:
                break
            found = job
        return found

    def _log_of(self, job: str) -> list[str]:
        lines: list[str] = []
        cursor, at_end = None, False
        while not at_end:
            page = self.desk.jobs.log_page(job, cursor)
            lines += [line for _, line in page.lines]
            cursor, at_end = page.cursor, page.at_end
        return lines

    def wake(self) -> None:
        """There is something to do."""


class Drive(Protocol):
    """Runs the engine for a :class:`~cloudtune.sagemaker_backend.backend.SageMakerBackend`."""

    desk: Desk

    def start(self, trial: Trial, may_create: bool) -> None: ...

    def stop(self, key: AttemptKey) -> None: ...

    def acknowledge(self, trial_id: int, level: int) -> None: ...

    def retire(self, key: AttemptKey) -> None: ...

    def delete_checkpoint(self, trial_id: int) -> None: ...

    def waiting(self) -> set[int]: ...

    def log(self, trial_id: int) -> list[str]: ...

    def collect(self, seen: Mapping[AttemptKey, int]) -> list[Fact]: ...

    def wait(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


class InlineDrive(_Commands):
    """Steps when asked for news, on a clock that moves while somebody waits."""

    def collect(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        _step(self.engine)
        return self.desk.outbox.collect(seen)

    def wait(self, timeout_s: float) -> None:
        if not self.desk.outbox.news.is_set():
            clock = self.desk.clock
            clock.sleep(min(timeout_s, max(_MIN_PAUSE_S, self.engine.next_at() - clock.now())))

    def close(self) -> None:
        _settle(self.engine, self.desk.clock)


class ThreadDrive(_Commands):
    """A thread of its own: the tuner never waits for the cloud."""

    def __init__(self, desk: Desk, readers: int = 16) -> None:
        super().__init__(desk)
        self._pool = ThreadPoolExecutor(max_workers=readers, thread_name_prefix="cloudtune-reports")
        desk.map = self._pool.map
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloudtune-trial-jobs", daemon=True)
        self._thread.start()

    def collect(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        return self.desk.outbox.collect(seen)

    def wait(self, timeout_s: float) -> None:
        self.desk.outbox.news.wait(timeout_s)

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(2 * _SETTLE_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        try:
            clock = self.desk.clock
            while not self._closing.is_set():
                self._wake.clear()
                self.engine.step()
                self._wake.wait(max(_MIN_PAUSE_S, min(_MAX_PAUSE_S, self.engine.next_at() - clock.now())))
        except Hopeless as hopeless:
            self.desk.outbox.fail(hopeless.error)
        except Exception as error:
            logger.exception("The thread that follows the trials' jobs has failed.")
            self.desk.outbox.fail(error)
        self._closing.wait()  # whatever has happened: stops are still to be sent
        try:
            _settle(self.engine, self.desk.clock)
        except Exception:
            logger.exception("What was asked of the trials' jobs may not have reached them.")


def _step(engine: Engine) -> None:
    try:
        engine.step()
    except Hopeless as hopeless:
        raise hopeless.error from hopeless


def _settle(engine: Engine, clock: Clock) -> None:
    """Sends what was asked for, until all of it has reached the cloud, or nothing more does."""
    end = clock.now() + _SETTLE_S
    left, stuck_at = engine.wind_up(), clock.now() + _STUCK_S
    while left and clock.now() < min(end, stuck_at):
        clock.sleep(_SETTLE_PAUSE_S)
        before, left = left, engine.wind_up()
        if left < before:
            stuck_at = clock.now() + _STUCK_S
    if left:
        logger.warning(
            "%d requests to stop jobs, delete checkpoints or let instances go have not reached AWS; the same "
            "command, or 'cloudtune stop', sends them again. Instances that are kept warm go by themselves.",
            left,
        )
    engine.finish()
