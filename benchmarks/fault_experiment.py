"""The experiments of the fault matrix: small, real tuning loops, and what one of them has come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudtune.clock import Clock
from cloudtune.config_space import uniform
from cloudtune.experiment.core import CoreOptions, ExperimentCore
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths
from cloudtune.stopping_criterion import StoppingCriterion
from cloudtune.testing.losses import Losses, losses_of
from cloudtune.testing.story import Story
from cloudtune.trial import Config
from cloudtune.tuner_loop import LoopObserver, TunerLoop
from cloudtune.tuning_status import TuningStatus

MAX_LEVEL = 9
_COMMON: dict[str, Any] = {"metric": "loss", "max_resource_attr": "epochs", "resource_attr": "epoch"}
#: ``epoch_s`` is read by scripts in real processes.
_SPACE = {"x": uniform(0, 1), "epochs": MAX_LEVEL, "epoch_s": 0.004}


@dataclass(frozen=True)
class Method:
    """How configurations are chosen, and which trials go on."""

    name: str
    make: Callable[[int], Scheduler]


METHODS = (
    Method("random", lambda seed: RandomSearch({**_SPACE, "epochs": 3}, random_seed=seed, **_COMMON)),
    Method("asha3", lambda seed: ASHA(_SPACE, type="promotion", reduction_factor=3, random_seed=seed, **_COMMON)),
    Method("asha2", lambda seed: ASHA(_SPACE, type="promotion", reduction_factor=2, random_seed=seed, **_COMMON)),
)


@dataclass(frozen=True)
class Experiment:
    """One cell's method and seed.

    Args:
        seed: Of the scheduler, and of the faults.
        patience_s: How long a script may take to end by itself.
        trials_elsewhere: They survive the loss of the tuner's machine.
    """

    method: Method
    seed: int
    patience_s: float
    trials_elsewhere: bool = False
    max_trials: int = 12
    n_workers: int = 4

    def scheduler(self) -> Scheduler:
        """A fresh one."""
        return self.method.make(self.seed)

    def loop(
        self,
        store: ExperimentStore,
        backend: TrialBackend,
        clock: Clock,
        paths: ExperimentPaths,
        observers: Sequence[LoopObserver] = (),
    ) -> TunerLoop:
        """One life of the tuner. Trials that fail do not end the experiment."""
        scheduler = self.scheduler()
        status = TuningStatus(scheduler.metric_names())
        criterion = StoppingCriterion(max_num_trials_started=self.max_trials)
        options = CoreOptions(n_workers=self.n_workers, max_failures=10**6, patience_s=self.patience_s)
        core = ExperimentCore(scheduler, options, status, lambda: criterion.reason(status), criterion.may_start)
        delete = getattr(backend, "delete_checkpoint", None)
        return TunerLoop(
            core,
            backend,
            store,
            clock,
            paths,
            observers=observers,
            delete_checkpoint=delete,
            trials_elsewhere=self.trials_elsewhere,
        )


def curve(config: Config, level: int) -> Mapping[str, Any]:
    """A loss that falls with the level; one configuration in seven diverges."""
    loss = (config["x"] - 0.3) ** 2 + 1.0 / level
    return {"loss": math.nan if int(config["x"] * 70) % 7 == 3 else loss}


@dataclass
class Tally:
    """What has come of a cell's experiments."""

    experiments: int = 0
    faults: int = 0
    trials: int = 0
    reports: int = 0
    losses: Losses = field(default_factory=Losses)
    #: What has gone wrong, with method and seed.
    failed: list[str] = field(default_factory=list)

    def take(self, experiment: Experiment, story: Story, faults: int) -> None:
        """Checks one run."""
        self.experiments += 1
        self.faults += faults
        kinds = [event.kind for event in story.events]
        self.trials += kinds.count("trial_started")
        self.reports += kinds.count("trial_reported")
        self.losses.add(losses_of(story, experiment.scheduler()))
