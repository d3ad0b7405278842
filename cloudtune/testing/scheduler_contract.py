"""What every scheduler must do. Run each of :data:`SCHEDULER_CHECKS` with a function that makes a fresh one::

    @pytest.mark.parametrize("check", SCHEDULER_CHECKS)
    def test_contract(check):
        check(lambda seed: MyScheduler(space, random_seed=seed), curve)

The checks play an experiment by themselves: random durations, failures and interruptions, all drawn from a seed.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloudtune.optimizer.scheduler import HasRungLevels, Scheduler, SchedulerDecision, TrialSuggestion
from cloudtune.trial import Config, Outcome, Trial

#: ``make_scheduler(seed)``: as new.
MakeScheduler = Callable[[int], Scheduler]
#: ``curve(config, level)``: metrics of a report, without the resource.
Curve = Callable[[Config, int], Mapping[str, Any]]
SchedulerCheck = Callable[[MakeScheduler, Curve], None]

#: One call to a scheduler and its answer: ``("on_report", 3, 0, "STOP")``.
Call = tuple[Any, ...]


@dataclass
class _Running:
    trial: Trial
    level: int
    target: int


@dataclass
class Play:
    """Plays an experiment with a scheduler, as a tuner would, and notes each call.

    Args:
        scheduler: Fresh.
        curve: What trials report.
        seed: Of durations, failures and interruptions.
        n_workers: Trials at a time.
        max_trials: New trials.
        failures: Probability that a running trial fails, or is interrupted, instead of reporting.
        observe: Called before each call to the scheduler.
    """

    scheduler: Scheduler
    curve: Curve
    seed: int = 0
    n_workers: int = 3
    max_trials: int = 20
    max_calls: int = 3000
    failures: float = 0.03
    observe: Callable[[Scheduler, int], None] = field(default=lambda scheduler, trial_id: None)
    calls: list[Call] = field(default_factory=list, init=False)
    trials: dict[int, Trial] = field(default_factory=dict, init=False)
    levels: dict[int, int] = field(default_factory=dict, init=False)
    paused: set[int] = field(default_factory=set, init=False)
    _running: list[_Running] = field(default_factory=list, init=False)
    _interrupted: list[int] = field(default_factory=list, init=False)

    def run(self) -> Play:
        """Until nothing runs and nothing more is suggested, or ``max_calls`` calls were made."""
        rng = random.Random(self.seed)
        while len(self.calls) < self.max_calls:
            while len(self._running) < self.n_workers and self._start():
                pass
            if not self._running:
                break
            self._step(rng.choice(self._running), rng)
        return self

    def _start(self) -> bool:
        if self._interrupted:
            trial_id = self._interrupted.pop(0)
            trial = self.trials[trial_id]
            self._begin(replace(trial, attempt=trial.attempt + 1))
            return True
        new_id = len(self.trials)
        self.observe(self.scheduler, new_id)
        suggestion = self.scheduler.suggest(new_id)
        self.calls.append(("suggest", new_id, repr(suggestion)))
        if suggestion is None:
            return False
        self._check(suggestion)
        if suggestion.resume_trial_id is None:
            if new_id >= self.max_trials:
                return False
            self._begin(Trial(new_id, suggestion.config, checkpoint_trial_id=suggestion.checkpoint_trial_id))
        else:
            before = self.trials[suggestion.resume_trial_id]
            self.paused.remove(before.trial_id)
            self._begin(replace(before, config=suggestion.config, attempt=before.attempt + 1))
        return True

    def _check(self, suggestion: TrialSuggestion) -> None:
        missing = set(self.scheduler.config_space) - set(suggestion.config)
        _require(not missing, f"{suggestion} lacks {sorted(missing)} of config_space")
        json.dumps(suggestion.config)
        resumed = suggestion.resume_trial_id
        _require(resumed is None or resumed in self.paused, f"{suggestion}: that trial is not paused")

    def _begin(self, trial: Trial) -> None:
        self.trials[trial.trial_id] = trial
        attr = self.scheduler.max_resource_attr
        target = trial.config.get(attr) if attr else None
        target = target if isinstance(target, int) else 27
        level = self.levels.setdefault(trial.trial_id, 0)
        self._running.append(_Running(trial, level, target))
        self._call("on_start", trial, lambda: self.scheduler.on_start(trial))

    def _step(self, running: _Running, rng: random.Random) -> None:
        chance = rng.random()
        if running.level >= running.target:
            self._end(running, Outcome.completed)
        elif chance < self.failures:
            self._end(running, Outcome.failed)
        elif chance < 2 * self.failures:
            self._end(running, Outcome.interrupted)
            self._interrupted.append(running.trial.trial_id)
        else:
            self._report(running)

    def _report(self, running: _Running) -> None:
        trial = running.trial
        running.level += 1
        self.levels[trial.trial_id] = running.level
        metrics = dict(self.curve(trial.config, running.level))
        if self.scheduler.resource_attr is not None:
            metrics[self.scheduler.resource_attr] = running.level
        decision = self._call("on_report", trial, lambda: self.scheduler.on_report(trial, metrics))
        self.trials[trial.trial_id] = running.trial = replace(trial, num_reports=trial.num_reports + 1)
        _require(decision in set(SchedulerDecision), f"on_report answers {decision!r}")
        if decision != SchedulerDecision.CONTINUE:
            self._end(running, Outcome.paused if decision == SchedulerDecision.PAUSE else Outcome.stopped)

    def _end(self, running: _Running, outcome: Outcome) -> None:
        self._running.remove(running)
        trial = running.trial
        self._call("on_end", trial, lambda: self.scheduler.on_end(trial, outcome), str(outcome))
        if outcome is Outcome.paused:
            self.paused.add(trial.trial_id)

    def _call(self, name: str, trial: Trial, call: Callable[[], Any], note: str = "") -> Any:
        self.observe(self.scheduler, len(self.trials))
        answer = call()
        self.calls.append((name, trial.trial_id, trial.attempt, note or str(answer)))
        return answer


def check_describes_itself(make_scheduler: MakeScheduler, curve: Curve) -> None:  # noqa: ARG001  as all checks
    scheduler = make_scheduler(0)
    metadata = scheduler.metadata()
    _require(isinstance(json.loads(json.dumps(metadata)), dict), "metadata is no dictionary")
    names, modes = scheduler.metric_names(), scheduler.metric_mode()
    _require(len(names) == len(modes) > 0, f"metric_names {names} and metric_mode {modes} do not match")
    _require(set(modes) <= {"min", "max"}, f"metric_mode is {modes}")
    _require(isinstance(scheduler.random_seed, int), f"random_seed is {scheduler.random_seed!r}")
    if isinstance(scheduler, HasRungLevels):
        levels = list(scheduler.rung_levels())
        _require(bool(levels) and levels == sorted(set(levels)), f"rung_levels {levels} do not increase")


def check_plays_to_the_end(make_scheduler: MakeScheduler, curve: Curve) -> None:
    for seed in range(3):
        play = Play(make_scheduler(seed), curve, seed).run()
        _require(bool(play.trials), "nothing was suggested")
        _require(len(play.calls) < play.max_calls, f"no end after {len(play.calls)} calls: {play.calls[-4:]}")


def check_same_seed_same_decisions(make_scheduler: MakeScheduler, curve: Curve) -> None:
    for seed in range(3):
        first = Play(make_scheduler(seed), curve, seed).run()
        second = Play(make_scheduler(seed), curve, seed).run()
        _same(first.calls, second.calls, "two runs with the same seed")


def check_suggest_changes_nothing(make_scheduler: MakeScheduler, curve: Curve) -> None:
    """Asked again and again, and for other trials, it answers and goes on as if it had not been."""

    def ask(scheduler: Scheduler, trial_id: int) -> None:
        answers = [repr(scheduler.suggest(trial_id)) for _ in range(2)]
        scheduler.suggest(trial_id + 1)
        answers.append(repr(scheduler.suggest(trial_id)))
        _require(len(set(answers)) == 1, f"suggest({trial_id}), asked three times: {answers}")

    for seed in range(2):
        quiet = Play(make_scheduler(seed), curve, seed).run()
        asked = Play(make_scheduler(seed), curve, seed, observe=ask).run()
        _same(asked.calls, quiet.calls, "a run in which suggest was called more often")


def check_replay(make_scheduler: MakeScheduler, curve: Curve) -> None:
    """A fresh scheduler that is told the same facts is in the same state: at every point, the rest is the same."""
    whole = Play(make_scheduler(1), curve, 1).run()
    rng = random.Random(0)
    for _ in range(5):
        swap = rng.randrange(len(whole.calls))
        play = _SwappedPlay(make_scheduler(1), curve, 1, swap_at=swap, fresh=lambda: make_scheduler(1)).run()
        _same(play.calls, whole.calls, f"a run resumed after {swap} calls")


@dataclass
class _SwappedPlay(Play):
    """At one point, the scheduler is replaced by a fresh one that has heard only the facts so far."""

    swap_at: int = 0
    fresh: Callable[[], Scheduler] | None = None
    _facts: list[Callable[[Scheduler], Any]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._recorder = _Recorder(self.scheduler, self._facts)
        self.scheduler = self._recorder
        self.observe = self._maybe_swap

    def _maybe_swap(self, scheduler: Scheduler, trial_id: int) -> None:
        if len(self.calls) >= self.swap_at and self.fresh is not None:
            successor, self.fresh = self.fresh(), None
            for fact in self._facts:
                fact(successor)
            self._recorder.target = successor


class _Recorder:
    """A scheduler that notes the facts it is told."""

    def __init__(self, target: Scheduler, facts: list[Callable[[Scheduler], Any]]) -> None:
        self.target = target
        self._facts = facts
        self.config_space = target.config_space
        self.random_seed = target.random_seed
        self.resource_attr = target.resource_attr
        self.max_resource_attr = target.max_resource_attr

    def metric_names(self) -> list[str]:
        return self.target.metric_names()

    def metric_mode(self) -> list[str]:
        return self.target.metric_mode()

    def metadata(self) -> dict[str, Any]:
        return self.target.metadata()

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        return self.target.suggest(trial_id)

    def on_start(self, trial: Trial) -> None:
        self._tell(lambda scheduler: scheduler.on_start(trial))

    def on_report(self, trial: Trial, metrics: Mapping[str, Any]) -> SchedulerDecision:
        # As the journal keeps it: through JSON.
        told = json.loads(json.dumps(metrics))
        decision: SchedulerDecision = self._tell(lambda scheduler: scheduler.on_report(trial, told))
        return decision

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        self._tell(lambda scheduler: scheduler.on_end(trial, outcome))

    def _tell(self, fact: Callable[[Scheduler], Any]) -> Any:
        self._facts.append(fact)
        return fact(self.target)


def check_survives_strange_values(make_scheduler: MakeScheduler, curve: Curve) -> None:
    """NaN and infinite metrics are reports like others, and two runs with them agree."""

    def strange(config: Config, level: int) -> Mapping[str, Any]:
        metrics = dict(curve(config, level))
        draw = random.Random(repr((sorted(config.items(), key=lambda item: item[0]), level))).random()
        value = math.nan if draw < 0.2 else math.inf if draw < 0.3 else -math.inf if draw < 0.35 else None
        if value is not None:
            metrics = dict.fromkeys(metrics, value)
        return metrics

    first = Play(make_scheduler(0), strange).run()
    second = Play(make_scheduler(0), strange).run()
    _require(len(first.calls) < first.max_calls, f"no end after {len(first.calls)} calls")
    _same(first.calls, second.calls, "two runs with NaN and infinite values")


SCHEDULER_CHECKS: tuple[SchedulerCheck, ...] = (
    check_describes_itself,
    check_plays_to_the_end,
    check_same_seed_same_decisions,
    check_suggest_changes_nothing,
    check_replay,
    check_survives_strange_values,
)


def _same(found: list[Call], expected: list[Call], what: str) -> None:
    for number, (left, right) in enumerate(zip(found, expected, strict=False)):
        _require(left == right, f"{what}: call {number} is {left}, was {right}")
    _require(len(found) == len(expected), f"{what}: {len(found)} calls, were {len(expected)}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
