"""News on their way from the engine to the tuner, which may be threads of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudtune.experiment.ports import AttemptEnded, AttemptKey, CostSeen, Fact, ReportSeen
from cloudtune.trial import Outcome


@dataclass
class _Attempt:
    reports: deque[ReportSeen] = field(default_factory=deque)
    num_reports: int = 0
    num_seen: int = 0
    #: What it has cost, once that is final, and the end.
    end: tuple[Fact, ...] = ()


class Outbox:
    """Reports and ends by attempt, as :meth:`TrialBackend.poll <cloudtune.experiment.ports.TrialBackend.poll>`
    wants them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[AttemptKey, _Attempt] = {}
        #: By source: the newest replaces what nobody has collected.
        self._costs: dict[str, CostSeen] = {}
        self._error: BaseException | None = None
        self.news = threading.Event()

    def know(self, key: AttemptKey) -> bool:
        """The attempt is somebody's business from now on; whether it was not before."""
        with self._lock:
            is_new = key not in self._attempts
            if is_new:
                self._attempts[key] = _Attempt()
            return is_new

    def report(self, key: AttemptKey, metrics: dict[str, Any]) -> None:
        with self._lock:
            attempt = self._attempts.get(key)
            if attempt is None:
                return
            if attempt.num_reports >= attempt.num_seen:
                attempt.reports.append(ReportSeen(key.trial_id, key.attempt, attempt.num_reports, metrics))
            attempt.num_reports += 1
        self.news.set()

    def end(self, end: AttemptEnded, costs: tuple[CostSeen, ...] = ()) -> None:
        """The attempt is over. ``costs`` are told with it, each time: recorded before it, they are not lost."""
        with self._lock:
            attempt = self._attempts.get(AttemptKey(end.trial_id, end.attempt))
            if attempt is not None:
                attempt.end = (*costs, end)
        self.news.set()

    def cost(self, cost: CostSeen) -> None:
        """Told once."""
        with self._lock:
            self._costs[cost.source] = cost

    def fail(self, error: BaseException) -> None:
        """Nothing goes on: whoever collects next is told."""
        with self._lock:
            self._error = error
        self.news.set()

    def collect(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        """News of the attempts in ``seen``; others that have ended are forgotten.

        Raises:
            BaseException: What :meth:`fail` was given.
        """
        with self._lock:
            self.news.clear()
            if self._error is not None:
                raise self._error
            facts: list[Fact] = list(self._costs.values())
            self._costs.clear()
            for key, num_seen in seen.items():
                facts += self._of(key, num_seen)
            for key in [key for key, attempt in self._attempts.items() if attempt.end and key not in seen]:
                del self._attempts[key]
            return facts

    def _of(self, key: AttemptKey, num_seen: int) -> list[Fact]:
        attempt = self._attempts.get(key)
        if attempt is None:
            reason = "No job of it is known."
            return [AttemptEnded(key.trial_id, key.attempt, Outcome.interrupted, reason)]
        attempt.num_seen = num_seen
        while attempt.reports and attempt.reports[0].seq < num_seen:
            attempt.reports.popleft()
        return [*attempt.reports, *attempt.end]
