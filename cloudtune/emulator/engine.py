"""Runs training jobs, a few at a time, in the order of their creation."""

from __future__ import annotations

import math
import threading

from cloudtune.emulator.attempt import INTERNAL_ERROR, Attempt, Site
from cloudtune.emulator.faults import InterruptRule
from cloudtune.emulator.jobs import JobStatus, Phase, TrainingJob
from cloudtune.emulator.service_error import invalid

_CLOSE_TIMEOUT_S = 30.0


class Engine:
    """The machine room. Thread-safe.

    Args:
        site: What the jobs share.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._changed = threading.Condition()
        self._waiting: list[TrainingJob] = []
        self._running: dict[TrainingJob, Attempt] = {}
        self._closed = False
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._dispatcher.start()

    def submit(self, job: TrainingJob) -> None:
        with self._changed:
            if job.status is JobStatus.stopping:  # somebody who knew its name was faster
                job.enter(Phase.stopped)
                return
            self._waiting.append(job)
            self._changed.notify_all()

    def stop(self, job: TrainingJob) -> None:
        """Returns at once."""
        with self._changed:
            job.enter(Phase.stopping)
            if job in self._running:
                self._running[job].stop()
            elif job in self._waiting:
                self._waiting.remove(job)
                job.enter(Phase.stopped)

    def interrupt(self, job: TrainingJob, notice: bool) -> None:
        """Takes the job's spot instance away. Raises ServiceError if it has none."""
        with self._changed:
            if not job.is_spot:
                raise invalid(f"Job {job.name} does not run on a spot instance: it cannot be interrupted.")
            if job not in self._running:
                raise invalid(f"Job {job.name} has no instance now: it is in status {job.status}, {job.phase}.")
            self._running[job].interrupt(notice)

    def add_rule(self, rule: InterruptRule) -> None:
        """Applies to jobs that are running as well."""
        self._site.faults.add(rule)
        with self._changed:
            for attempt in self._running.values():
                attempt.recheck()

    def busy(self) -> int:
        """Number of jobs that run or wait."""
        with self._changed:
            return len(self._running) + len(self._waiting)

    def close(self) -> None:
        """Ends all jobs at once and returns when none runs."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            for attempt in self._running.values():
                attempt.abort()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, timeout=_CLOSE_TIMEOUT_S)
        self._dispatcher.join(timeout=_CLOSE_TIMEOUT_S)

    def _dispatch(self) -> None:
        with self._changed:
            while not self._closed:
                now = self._site.clock.now()
                self._give_up_waiting(now)
                while self._waiting and len(self._running) < self._site.settings.max_parallel_jobs:
                    self._start(self._waiting.pop(0))
                nearest = min(map(self._wait_ends, self._waiting), default=math.inf)
                self._changed.wait(timeout=self._site.clock.timeout(nearest))

    def _give_up_waiting(self, now: float) -> None:
        for job in [job for job in self._waiting if self._wait_ends(job) <= now]:
            self._waiting.remove(job)
            job.enter(Phase.stopping)
            job.enter(Phase.max_wait_exceeded)

    def _wait_ends(self, job: TrainingJob) -> float:
        return job.created + job.max_wait_s

    def _start(self, job: TrainingJob) -> None:
        attempt = Attempt(job, job.interruptions, self._site)
        self._running[job] = attempt
        try:
            threading.Thread(target=self._run, args=(job, attempt), name=f"job-{job.name}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            del self._running[job]
            job.fail(f"{INTERNAL_ERROR} ({error})")

    def _run(self, job: TrainingJob, attempt: Attempt) -> None:
        interrupted = attempt.run()
        with self._changed:
            del self._running[job]
            if interrupted and not self._closed:
                if job.enter(Phase.starting):
                    self._waiting.append(job)
                else:  # somebody asked for its end meanwhile
                    job.enter(Phase.stopped)
            self._changed.notify_all()
