"""A backend that says what its trials cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtune.clock import VirtualClock
from cloudtune.experiment.ports import AttemptEnded, AttemptKey, BackendContext, CostSeen, Fact
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import ScriptedWorld

USD_PER_S = 0.01


class PaidBackend(ScriptedBackend):
    """Each attempt is a job that costs a cent a second; the tuner's own machine costs a tenth of that."""

    def __init__(self, scripted: ScriptedWorld) -> None:
        super().__init__(scripted)
        self._paid_world = scripted
        self._since = VirtualClock().now()  # when every virtual world begins
        self.unsettled: list[str] = []

    def open(self, context: BackendContext) -> None:
        super().open(context)
        self.unsettled = list(context.unsettled)

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        news: list[Fact] = []
        for fact in super().poll(seen):
            if isinstance(fact, AttemptEnded):
                news.append(self._cost(AttemptKey(fact.trial_id, fact.attempt), final=True))
            news.append(fact)
        ended = {(fact.trial_id, fact.attempt) for fact in news if isinstance(fact, AttemptEnded)}
        news += [self._cost(key, final=False) for key in seen if (key.trial_id, key.attempt) not in ended]
        own_s = self._paid_world.clock.now() - self._since
        return [*news, CostSeen("tuner", own_s * USD_PER_S / 10, own_s, False)]

    def highest_cost(
        self,
        n_workers: int,
        stop_criterion: object,
        config_space: Mapping[str, Any],
        overlap: bool = False,
        drain: bool = False,
    ) -> str | None:
        often, long = "twice " if overlap else "", " to their end" if drain else ""
        return f"at most ${getattr(stop_criterion, 'max_cost', 0):g} with {often}{n_workers} workers{long}"

    def _cost(self, key: AttemptKey, final: bool) -> CostSeen:
        attempt = self._paid_world.attempt(key)
        if attempt is None:  # it has never run
            return CostSeen(f"{key.trial_id}-{key.attempt}", 0.0, 0.0, final, key.trial_id)
        billed_s = max(0.0, min(self._paid_world.clock.now(), attempt.end) - attempt.begin)
        return CostSeen(f"{key.trial_id}-{key.attempt}", billed_s * USD_PER_S, billed_s, final, key.trial_id)
