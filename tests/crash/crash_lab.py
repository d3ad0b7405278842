"""Experiments for the crash laboratory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cloudtune.clock import Clock, VirtualClock
from cloudtune.experiment.core import CoreOptions, ExperimentCore
from cloudtune.experiment.events import Event
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.optimizer.scheduler import Scheduler, SchedulerDecision, TrialSuggestion, generator
from cloudtune.paths import ExperimentPaths
from cloudtune.stopping_criterion import StoppingCriterion
from cloudtune.stores import FileStore, MemoryStore
from cloudtune.testing.crash_anywhere import Disk, Laboratory
from cloudtune.testing.scripted_world import Fault, ScriptedWorld
from cloudtune.trial import Config, Metrics, Outcome, Trial
from cloudtune.tuner_loop import TunerLoop
from cloudtune.tuning_status import TuningStatus

MAX_LEVEL = 9


def curve(config: Config, level: int) -> dict[str, Any]:
    """A loss that falls with the level; one configuration in seven diverges."""
    loss = (config["x"] - 0.3) ** 2 + 1.0 / level
    return {"loss": math.nan if int(config["x"] * 70) % 7 == 3 else loss}


def pace(config: Config) -> float:
    """Seconds per level: no two trials in step."""
    return float(1.0 + 0.7 * config["x"])


class Promoting:
    """Pauses trials at levels 1 and 3; of each three that arrive there, resumes the best.

    Args:
        tells_target: Scripts learn up to which level to train, and end there by themselves; else they are stopped.
    """

    def __init__(
        self,
        decision: SchedulerDecision = SchedulerDecision.PAUSE,
        tells_target: bool = True,
        random_seed: int = 0,
    ) -> None:
        self.config_space = {"x": None, "epochs": MAX_LEVEL}
        self.random_seed = random_seed
        self.resource_attr, self.max_resource_attr = "epoch", "epochs"
        self._decision, self._tells_target = decision, tells_target
        self._configs: dict[int, Config] = {}
        self._rungs: dict[int, dict[int, float]] = {1: {}, 3: {}}
        self._promoted: dict[int, set[int]] = {1: set(), 3: set()}
        self._paused: set[int] = set()

    def metric_names(self) -> list[str]:
        return ["loss"]

    def metric_mode(self) -> list[str]:
        return ["min"]

    def rung_levels(self) -> Sequence[int]:
        return [1, 3, MAX_LEVEL]

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        for level, target in ((3, MAX_LEVEL), (1, 3)):
            waiting = sorted(
                (loss, trial)
                for trial, loss in self._rungs[level].items()
                if trial in self._paused and trial not in self._promoted[level]
            )
            if waiting and len(self._promoted[level]) < len(self._rungs[level]) // 3:
                trial = waiting[0][1]
                return TrialSuggestion.resume_suggestion(trial, self._config(self._configs[trial]["x"], target))
        x = float(generator(self.random_seed, trial_id).uniform())
        return TrialSuggestion.start_suggestion(self._config(x, 1))

    def _config(self, x: float, target: int) -> Config:
        return {"x": x, "epochs": target if self._tells_target else MAX_LEVEL}

    def on_start(self, trial: Trial) -> None:
        self._configs[trial.trial_id] = trial.config
        if trial.trial_id in self._paused:
            self._paused.remove(trial.trial_id)
            level = 3 if trial.trial_id in self._rungs[3] else 1
            self._promoted[level].add(trial.trial_id)

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        level = metrics["epoch"]
        if level in self._rungs:
            loss = metrics["loss"]
            self._rungs[level][trial.trial_id] = math.inf if math.isnan(loss) else loss
            return self._decision
        return SchedulerDecision.CONTINUE

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        if outcome == Outcome.paused:
            self._paused.add(trial.trial_id)

    def metadata(self) -> dict[str, Any]:
        return {"scheduler_name": "Promoting"}


def memory_disk() -> Disk:
    store = MemoryStore()
    return lambda: store


def file_disk() -> Disk:
    """Segments of two or three events, so that every run crosses many of them."""
    folder = tempfile.TemporaryDirectory(prefix="crash-")
    paths = ExperimentPaths(Path(folder.name) / "experiment")

    def life() -> FileStore:
        life.folder = folder  # type: ignore[attr-defined]  # lives as long as the disk
        return FileStore(paths, segment_bytes=400)

    return life


class LaggingStore(MemoryStore):
    """Copies to a safe place after a while: the last append is not there yet."""

    def __init__(self) -> None:
        super().__init__()
        self._safe = 0

    def append(self, events: Sequence[Event]) -> None:
        safe = super().durable()
        super().append(events)
        self._safe = safe

    def durable(self) -> int:
        return self._safe

    def lose(self) -> None:
        del self._lines[self._safe :]


class LaggingDisk:
    """``make_disk`` and ``lose_disk`` of a laboratory."""

    def __init__(self) -> None:
        self._newest = LaggingStore()

    def make(self) -> Disk:
        store = self._newest = LaggingStore()
        return lambda: store

    def lose(self) -> None:
        self._newest.lose()


class Shutdown:
    """An observer that asks the loop to end after some turns, as SIGTERM does."""

    def __init__(self, turns: int) -> None:
        self.turns_left = turns
        self.loop: TunerLoop | None = None

    def on_session(self, past: Sequence[Event]) -> None:
        pass

    def on_events(self, events: Sequence[Event]) -> None:
        pass

    def on_turn(self) -> None:
        self.turns_left -= 1
        if self.turns_left <= 0 and self.loop is not None:
            self.loop.request_shutdown("SIGTERM")

    def on_session_end(self) -> None:
        pass


def laboratory(
    make_scheduler: Callable[[], Scheduler],
    *,
    make_disk: Callable[[], Disk] = memory_disk,
    checkpointing: bool = True,
    faults: Sequence[Fault] = (),
    max_trials: int = 6,
    options: CoreOptions | None = None,
    turns: Callable[[], int] = lambda: 10**9,
    **world_options: Any,
) -> Laboratory:
    """``TunerLoop`` as the tuner. ``turns()`` says after how many turns a life is asked to end."""
    world_options.setdefault("epoch_s", pace)
    core_options = options or CoreOptions(n_workers=2, max_failures=3)

    def make_world() -> ScriptedWorld:
        return ScriptedWorld(VirtualClock(), curve, checkpointing=checkpointing, faults=faults, **world_options)

    def run_once(store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        shutdown = Shutdown(turns())
        core = make_core(make_scheduler(), core_options, max_trials)
        paths = ExperimentPaths(Path("/nowhere/experiment"))
        shutdown.loop = TunerLoop(core, backend, store, clock, paths, observers=[shutdown])
        shutdown.loop.run()

    return Laboratory(make_world, make_disk, run_once, max_calls=5000)


def make_core(scheduler: Scheduler, options: CoreOptions, max_trials: int) -> ExperimentCore:
    status = TuningStatus(scheduler.metric_names())
    criterion = StoppingCriterion(max_num_trials_started=max_trials)
    return ExperimentCore(scheduler, options, status, lambda: criterion.reason(status), criterion.may_start)
