"""A backend whose trials are scripted, on a virtual clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtune.experiment.ports import AttemptEnded, AttemptKey, BackendContext, Fact, ReportSeen
from cloudtune.testing.scripted_world import Attempt, ScriptedWorld
from cloudtune.trial import Outcome, Trial


class ScriptedBackend:
    """A :class:`~cloudtune.experiment.ports.TrialBackend` that runs its trials in a
    :class:`~cloudtune.testing.scripted_world.ScriptedWorld`.

    It holds nothing that matters: a second one for the same world takes over where the first was dropped.
    """

    def __init__(self, world: ScriptedWorld) -> None:
        self._world = world
        #: When last asked for news; None: never, so that there may be some.
        self._polled: float | None = None

    def open(self, context: BackendContext) -> None:
        levels = context.rung_levels
        self._world.checkpoint_levels = None if levels is None else frozenset(levels)

    def start(self, trial: Trial) -> None:
        self._world.start(trial)

    def adopt(self, trial: Trial) -> None:
        """Nothing to do: the world knows its attempts."""

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        """News in the order in which they happened."""
        now = self._world.clock.now()
        self._polled = now
        news: list[tuple[float, Fact]] = []
        for key, count in seen.items():
            attempt = self._world.attempt(key)
            if attempt is None:
                lost = AttemptEnded(key.trial_id, key.attempt, Outcome.interrupted, "nothing is known of it")
                news.append((now, lost))
            else:
                news.extend(self._news_of(attempt, count, now))
        return [fact for _, fact in sorted(news, key=lambda item: item[0])]

    def stop(self, trial_id: int, attempt: int) -> None:
        self._world.stop(AttemptKey(trial_id, attempt))

    def wait(self, timeout_s: float) -> None:
        """Moves the clock to the next event that has not been polled, at most by ``timeout_s``."""
        if self._polled is None:
            return
        limit = self._world.clock.now() + max(0.0, timeout_s)
        instant = self._world.next_instant(self._polled)
        self._world.clock.advance_to(limit if instant is None else min(instant, limit))

    def close(self) -> None:
        """Nothing to release."""

    def acknowledge(self, trial_id: int, level: int) -> None:
        self._world.acknowledge(trial_id, level)

    def retire(self, trial_id: int, attempt: int) -> None:
        self._world.retire(AttemptKey(trial_id, attempt))

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> None:
        self._world.copy_checkpoint(source_trial_id, target_trial_id)

    def delete_checkpoint(self, trial_id: int) -> None:
        self._world.delete_checkpoint(trial_id)

    def metadata(self) -> dict[str, Any]:
        return {"backend": "ScriptedBackend", "entrypoint": getattr(self._world.curve, "__name__", "curve")}

    def _news_of(self, attempt: Attempt, count: int, now: float) -> list[tuple[float, Fact]]:
        """What has happened in ``attempt`` until ``now``, without its first ``count`` reports."""
        trial = attempt.trial
        news: list[tuple[float, Fact]] = []
        for seq, level in enumerate(attempt.levels(now)):
            if seq >= count:
                metrics = self._world.report(trial.config, level)
                news.append((attempt.report_time(level), ReportSeen(trial.trial_id, trial.attempt, seq, metrics)))
        if attempt.has_ended(now):
            exit_code = {Outcome.completed: 0, Outcome.failed: 1}.get(attempt.outcome)
            end = AttemptEnded(trial.trial_id, trial.attempt, attempt.outcome, attempt.reason, exit_code)
            news.append((attempt.end, end))
        return news
