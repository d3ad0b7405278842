"""One tuner's side of a backend on a :class:`HandCloud`: what it asks, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hand_cloud import TUNER, HandCloud, script, spec

from cloudtune.backend import SageMakerBackend
from cloudtune.experiment.ports import AttemptEnded, AttemptKey, BackendContext, CostSeen, Fact, ReportSeen
from cloudtune.paths import ExperimentPaths
from cloudtune.trial import Trial

TYPE = "ml.m5.large"
CAPACITY = "CapacityError: Unable to provision requested ML compute capacity."


@dataclass
class Desk:
    """One tuner's side."""

    cloud: HandCloud
    folder: Path
    seen: dict[AttemptKey, int] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    backend: SageMakerBackend = field(init=False)

    def open(self, unsettled: Sequence[str] = (), **arguments: Any) -> SageMakerBackend:
        fields = {name: arguments.pop(name) for name in ("spot", "keep_alive_s") if name in arguments}
        self.backend = SageMakerBackend(
            spec(instance_type=TYPE, **fields), entry_point=script(self.folder), cloud=self.cloud, **arguments
        )
        paths = ExperimentPaths(self.folder / TUNER)
        self.backend.open(BackendContext(paths, self.cloud.clock, [1, 3, 9], "epoch", unsettled=unsettled))
        return self.backend

    def start(
        self, trial_id: int, attempt: int = 0, config: dict[str, Any] | None = None, **fields: Any
    ) -> AttemptKey:
        created = self.cloud.clock.now()
        trial = Trial(trial_id, config or {"lr": 0.1}, attempt, created, **fields)
        self.backend.start(trial)
        key = AttemptKey(trial_id, attempt)
        self.seen[key] = 0
        return key

    def passes(self, seconds: float) -> list[Fact]:
        """What is news within so much time."""
        until = self.cloud.clock.now() + seconds
        news: list[Fact] = []
        while True:
            for fact in self.backend.poll(dict(self.seen)):
                if isinstance(fact, CostSeen):
                    news.append(fact)
                    continue
                key = AttemptKey(fact.trial_id, fact.attempt)
                if isinstance(fact, ReportSeen):
                    if fact.seq == self.seen[key]:
                        self.seen[key] += 1
                        news.append(fact)
                elif key in self.seen:
                    del self.seen[key]
                    news.append(fact)
            left = until - self.cloud.clock.now()
            if left <= 0:
                break
            self.backend.wait(min(left, 5.0))
        self.facts += news
        return news

    def epochs(self) -> list[int]:
        return [fact.metrics["epoch"] for fact in self.facts if isinstance(fact, ReportSeen)]

    def ends(self) -> list[AttemptEnded]:
        return [fact for fact in self.facts if isinstance(fact, AttemptEnded)]
