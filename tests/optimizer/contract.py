"""What every scheduler must hold to, and a small world in which its trials run in random order."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dill
import numpy as np

from cloudtune.config_space import Domain, choice, loguniform, randint
from cloudtune.optimizer.baselines import ASHA, GridSearch, RandomSearch
from cloudtune.optimizer.scheduler import SchedulerDecision, TrialSuggestion
from cloudtune.optimizer.schedulers import HyperbandScheduler, SuccessiveHalvingScheduler
from cloudtune.trial import Outcome, Trial

MAX_T = 9
SPACE: dict[str, Any] = {
    "lr": loguniform(1e-5, 1),
    "units": randint(1, 64),
    "act": choice(["relu", "tanh"]),
    "epochs": MAX_T,
}
SMALL_SPACE: dict[str, Any] = {"units": randint(1, 3), "act": choice(["relu", "tanh"]), "epochs": MAX_T}

ATTR = {"max_resource_attr": "epochs"}
FACTORIES: dict[str, Callable[..., Any]] = {
    "random": lambda space=SPACE, **kw: RandomSearch(space, "loss", resource_attr="epoch", **ATTR, **kw),
    "random_max": lambda space=SPACE, **kw: RandomSearch(space, "loss", mode="max", **kw),
    "grid": lambda space=SPACE, **kw: GridSearch(space, "loss", **kw),
    "grid_ordered": lambda space=SPACE, **kw: GridSearch(
        space, "loss", search_options={"shuffle_config": False}, **kw
    ),
    "asha_stopping": lambda space=SPACE, **kw: ASHA(space, "loss", "epoch", **ATTR, **kw),
    "asha_stopping_max": lambda space=SPACE, **kw: ASHA(
        space, "loss", "epoch", mode="max", reduction_factor=2, **ATTR, **kw
    ),
    "asha_promotion": lambda space=SPACE, **kw: ASHA(space, "loss", "epoch", type="promotion", **ATTR, **kw),
    "asha_promotion_untold": lambda space=SPACE, **kw: ASHA(
        space, "loss", "epoch", type="promotion", max_t=MAX_T, reduction_factor=2, mode="max", **kw
    ),
    "hyperband_stopping": lambda space=SPACE, **kw: ASHA(space, "loss", "epoch", brackets=3, **ATTR, **kw),
    "hyperband_promotion": lambda space=SPACE, **kw: HyperbandScheduler(
        space,
        metric="loss",
        type="promotion",
        brackets=3,
        rung_system_per_bracket=True,
        searcher_data="all",
        **ATTR,
        **kw,
    ),
    "successive_halving": lambda space=SPACE, **kw: SuccessiveHalvingScheduler(
        space, metric="loss", eta=2, r_min=2, **ATTR, **kw
    ),
    "successive_halving_untold": lambda space=SPACE, **kw: SuccessiveHalvingScheduler(
        space, metric="loss", mode="max", r_max=MAX_T, max_resource_attr=None, **kw
    ),
}
DRAWING_AT_RANDOM = [name for name in FACTORIES if not name.startswith("grid")]


@dataclass
class Run:
    """A trial that has been started."""

    trial: Trial
    level: int = 0  # of its last report
    decision: SchedulerDecision = SchedulerDecision.CONTINUE
    outcome: Outcome | None = None  # None: it runs


@dataclass
class Step:
    """One call of ``on_*``, its answer, and what was suggested after it."""

    kind: str
    trial: Trial
    argument: Any = None
    decision: SchedulerDecision | None = None
    suggestion: TrialSuggestion | None = None

    def as_in_the_journal(self) -> Step:
        """With what JSON makes of configuration and report."""
        trial = dataclasses.replace(self.trial, config=json.loads(json.dumps(self.trial.config)))
        argument = json.loads(json.dumps(self.argument)) if self.kind == "report" else self.argument
        return dataclasses.replace(self, trial=trial, argument=argument)

    def repeat(self, scheduler: Any) -> None:
        if self.kind == "start":
            scheduler.on_start(self.trial)
        elif self.kind == "end":
            scheduler.on_end(self.trial, self.argument)
        else:
            assert scheduler.on_report(self.trial, self.argument) == self.decision


@dataclass
class World:
    """Runs the trials of a scheduler in an order, with values and accidents, that are drawn from ``rng``.

    ``report_every``: the script reports at multiples of it only. ``accidents``: probability of a failure or an
    interruption at each turn.
    """

    scheduler: Any
    rng: np.random.Generator
    n_workers: int = 3
    report_every: int = 1
    accidents: float = 0.1
    max_trials: int = 40
    runs: dict[int, Run] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    exhausted: bool = False

    def run(self, turns: int) -> list[Step]:
        for _ in range(turns):
            actions = list(self._possible())
            if not actions:
                break
            actions[int(self.rng.integers(len(actions)))]()
        return self.steps

    def _possible(self) -> Iterator[Callable[[], None]]:
        running = [run for run in self.runs.values() if run.outcome is None]
        lost = next((run for run in self.runs.values() if run.outcome is Outcome.interrupted), None)
        if lost is not None:
            yield lambda: self._start(Trial(lost.trial.trial_id, lost.trial.config, lost.trial.attempt + 1))
        elif len(running) < self.n_workers and not self.exhausted:
            yield self._ask
        for run in running:
            yield lambda run=run: self._advance(run)

    def _ask(self) -> None:
        new_id = len(self.runs)
        suggestion = self.scheduler.suggest(new_id)
        assert suggestion == self.scheduler.suggest(new_id), "suggest changed something"
        if suggestion is None or (suggestion.resume_trial_id is None and new_id >= self.max_trials):
            self.exhausted = not any(run.outcome is None for run in self.runs.values())
            return
        config, resumed = suggestion.config, suggestion.resume_trial_id
        check_config(config, self.scheduler)
        if resumed is None:
            self._start(Trial(new_id, config))
            return
        run = self.runs[resumed]
        assert run.outcome is Outcome.paused, "only a paused trial whose attempt has ended can be resumed"
        attr = self.scheduler.max_resource_attr
        assert {**config, attr: 0} == {**run.trial.config, attr: 0} if attr else config == run.trial.config
        self._start(Trial(resumed, config, run.trial.attempt + 1))

    def _start(self, trial: Trial) -> None:
        old = self.runs.get(trial.trial_id, Run(trial))
        self.runs[trial.trial_id] = Run(trial, old.level, old.decision)
        if old.outcome is Outcome.paused:
            self.runs[trial.trial_id].decision = SchedulerDecision.CONTINUE
        self._record(Step("start", trial))

    def _advance(self, run: Run) -> None:
        if self.rng.random() < self.accidents:
            self._end(run, Outcome.failed if self.rng.random() < 0.5 else Outcome.interrupted)
            return
        if run.decision is not SchedulerDecision.CONTINUE:
            by_itself = run.decision is SchedulerDecision.PAUSE and self.rng.random() < 0.2
            wanted = Outcome.paused if run.decision is SchedulerDecision.PAUSE else Outcome.stopped
            self._end(run, Outcome.completed if by_itself else wanted)
            return
        attr = self.scheduler.max_resource_attr
        until = run.trial.config[attr] if attr else MAX_T + 3
        level = run.level + self.report_every
        if level > until:
            self._end(run, Outcome.completed)
            return
        value = math.nan if self.rng.random() < 0.05 else float(np.round(self.rng.normal(), 1))
        metrics = {"loss": value, "epoch": level}
        run.level = level
        run.decision = self.scheduler.on_report(run.trial, metrics)
        self._record(Step("report", run.trial, metrics, run.decision))

    def _end(self, run: Run, outcome: Outcome) -> None:
        lost_pause = outcome is Outcome.interrupted and run.decision is SchedulerDecision.STOP
        run.outcome = Outcome.stopped if lost_pause else outcome
        if run.outcome is Outcome.completed and run.decision is SchedulerDecision.PAUSE:
            self._record(Step("end", run.trial, Outcome.completed))
            run.outcome = Outcome.paused
            return
        self._record(Step("end", run.trial, run.outcome))

    def _record(self, step: Step) -> None:
        if step.kind != "report":
            step.repeat(self.scheduler)
        if self.rng.random() < 0.5:  # asking, or not, makes no difference to what follows
            self.scheduler.suggest(len(self.runs))
        step.suggestion = self.scheduler.suggest(len(self.runs))
        self.steps.append(step)


def check_config(config: dict[str, Any], scheduler: Any) -> None:
    """All keys of the space, valid values; constants as they are but for the resource."""
    assert list(config) == list(scheduler.config_space)
    for name, entry in scheduler.config_space.items():
        if isinstance(entry, Domain):
            assert entry.is_valid(config[name])
        elif name == scheduler.max_resource_attr:
            assert 1 <= config[name] <= entry
            assert type(config[name]) is int
        else:
            assert config[name] == entry


def check_replay(steps: list[Step], fresh: Any) -> None:
    """A fresh scheduler comes to the same decisions and suggestions, asked or not on the way, and so does a copy
    that was stored in between."""
    num_trials = 0
    copy = dill.loads(dill.dumps(fresh))
    for index, step in enumerate(steps):
        num_trials = max(num_trials, step.trial.trial_id + 1)
        step.as_in_the_journal().repeat(fresh)
        step.as_in_the_journal().repeat(copy)
        if index == len(steps) // 2:
            copy = dill.loads(dill.dumps(copy))
            assert copy.suggest(num_trials) == step.suggestion
    if steps:
        assert fresh.suggest(num_trials) == steps[-1].suggestion == copy.suggest(num_trials)
        assert fresh.metadata() == copy.metadata()
