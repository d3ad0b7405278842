"""Training scripts that exist only as a curve, in a world that outlives the tuner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudtune.clock import VirtualClock
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import AttemptKey
from cloudtune.testing.world import Launch
from cloudtune.trial import Config, Outcome, Trial

#: ``curve(config, level)``: what a script reports at a resource level.
Curve = Callable[[Config, int], Mapping[str, Any]]


@dataclass(frozen=True)
class Fault:
    """An attempt of a trial ends while it works on ``level``, which it therefore never reports."""

    trial_id: int
    attempt: int
    level: int
    outcome: Outcome = Outcome.failed


@dataclass
class Attempt:
    """One process: all its reports are fixed when it starts, and appear as time passes."""

    trial: Trial
    launch: Launch
    begin: float
    epoch_s: float
    end: float
    outcome: Outcome
    reason: str = ""
    #: It can report no level above this one.
    last_level: int = 0
    #: Its checkpoints are final; set once it has ended.
    settled: bool = False

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.trial.trial_id, self.trial.attempt)

    def report_time(self, level: int) -> float:
        return self.begin + (level - self.launch.from_level) * self.epoch_s

    def levels(self, now: float) -> list[int]:
        """Those reported until ``now``."""
        return [
            level
            for level in range(self.launch.from_level + 1, self.last_level + 1)
            if self.report_time(level) <= min(now, self.end)
        ]

    def has_ended(self, now: float) -> bool:
        return self.end <= now

    def next_instant(self, after: float) -> float | None:
        """When it next does something that a tuner can see."""
        for level in range(self.launch.from_level + 1, self.last_level + 1):
            if after < self.report_time(level) <= self.end:
                return self.report_time(level)
        return self.end if self.end > after else None


@dataclass
class ScriptedWorld:
    """Machines, processes and checkpoints on a virtual clock. Like real ones they go on when a tuner dies.

    Args:
        clock: Moved by :meth:`ScriptedBackend.wait <cloudtune.testing.scripted_backend.ScriptedBackend.wait>`.
        curve: What scripts report, besides ``resource_attr``.
        epoch_s: Seconds per resource level, or a function that gives them for a configuration.
        max_resource_attr: Key of the configuration that tells a script how far to train.
        resource_attr: Key of the level in reports.
        start_delay_s: From the start of a process to the beginning of its first epoch.
        stop_delay_s: From the request to stop to the end; it goes on reporting meanwhile.
        end_delay_s: From the last report of a script that ends by itself to its end.
        checkpointing: Whether scripts write and read checkpoints; else each attempt begins from scratch.
        faults: What goes wrong.
    """

    clock: VirtualClock
    curve: Curve
    epoch_s: float | Callable[[Config], float] = 1.0
    max_resource_attr: str = "epochs"
    resource_attr: str = "epoch"
    start_delay_s: float = 0.5
    stop_delay_s: float = 0.25
    end_delay_s: float = 0.125
    checkpointing: bool = True
    faults: Sequence[Fault] = ()
    #: Every process that was started, in order.
    launches: list[Launch] = field(default_factory=list, init=False)
    #: What no tuner may do; empty if all is well.
    violations: list[str] = field(default_factory=list, init=False)
    #: Most processes that ran at once, those being stopped included.
    most_running: int = field(default=0, init=False)
    #: Levels at which scripts write checkpoints; None: all. Told by the tuner.
    checkpoint_levels: frozenset[int] | None = field(default=None, init=False)
    #: Whether attempts that were never started are violations. An error of an earlier call may be the reason.
    strict_attempts: bool = field(default=True, init=False)
    #: Highest level that earlier attempts of each trial have reported.
    _reached: dict[int, int] = field(default_factory=dict, init=False)
    _attempts: dict[AttemptKey, Attempt] = field(default_factory=dict, init=False)
    #: Attempts that nobody will ask for again.
    _retired: set[AttemptKey] = field(default_factory=set, init=False)
    _alive: dict[AttemptKey, Attempt] = field(default_factory=dict, init=False)
    _latest: dict[int, Attempt] = field(default_factory=dict, init=False)
    _checkpoints: dict[int, set[int]] = field(default_factory=dict, init=False)
    _acknowledged: dict[int, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name in ("start_delay_s", "stop_delay_s", "end_delay_s"):
            _check_positive(name, getattr(self, name))
        if not callable(self.epoch_s):
            _check_positive("epoch_s", self.epoch_s)

    def start(self, trial: Trial) -> bool:
        """Starts the attempt, unless it has been started before. Returns whether it did."""
        key = AttemptKey(trial.trial_id, trial.attempt)
        if key in self._retired:
            self.violations.append(f"{key} was started again after it was retired")
        known = self._attempts.get(key)
        if known is not None:
            if known.trial.config != trial.config:
                self.violations.append(f"{key} was started again with another configuration: {trial.config}")
            return False
        self._check_order(trial)
        self._reached[trial.trial_id] = self._level_reached(trial.trial_id)
        attempt = self._new_attempt(trial)
        self._attempts[key] = self._alive[key] = self._latest[trial.trial_id] = attempt
        self.launches.append(attempt.launch)
        self.most_running = max(self.most_running, len(self.running()))
        return True

    def stop(self, key: AttemptKey) -> None:
        """Asks a process to end; does nothing if it has, or has been asked before."""
        attempt = self._attempts.get(key)
        end = self.clock.now() + self.stop_delay_s
        if attempt is not None and end < attempt.end:
            self._end(attempt, end, Outcome.stopped, "asked to stop")

    def report(self, config: Config, level: int) -> dict[str, Any]:
        """What a script prints at ``level``."""
        return {**self.curve(config, level), self.resource_attr: level}

    def attempt(self, key: AttemptKey) -> Attempt | None:
        """None if it was never started, or is retired."""
        return None if key in self._retired else self._attempts.get(key)

    def retire(self, key: AttemptKey) -> None:
        """Nothing can be found out about the attempt any more."""
        attempt = self._attempts.get(key)
        if key in self._retired or (attempt is not None and not attempt.has_ended(self.clock.now())):
            self.violations.append(f"{key} was retired twice, or while it runs")
        self._retired.add(key)

    def levels_reported(self, launch: Launch) -> list[int]:
        """Levels that a process has reported until now (and that were not lost with its machine)."""
        attempt = self._attempts.get(AttemptKey(launch.trial_id, launch.attempt))
        return attempt.levels(self.clock.now()) if attempt is not None else []

    def running(self) -> list[AttemptKey]:
        """Attempts whose process is alive: orphans, if no tuner is."""
        now = self.clock.now()
        return [key for key, attempt in self._alive.items() if not attempt.has_ended(now)]

    def next_instant(self, after: float) -> float | None:
        """When, later than ``after``, something happens that a tuner can see. ``after`` never goes back."""
        instants = {key: attempt.next_instant(after) for key, attempt in self._alive.items()}
        self._alive = {key: self._alive[key] for key, instant in instants.items() if instant is not None}
        return min((instant for instant in instants.values() if instant is not None), default=None)

    def lose_machine(self, recorded: Mapping[AttemptKey, int], disk: bool = False) -> None:
        """All processes die at once, and reports beyond the ``recorded`` number of each attempt are lost.
        Checkpoints survive. With ``disk``, nothing else does: nobody knows that an attempt has ever run."""
        now = self.clock.now()
        for key in self.running():
            attempt = self._attempts[key]
            self._save_checkpoints(attempt)
            kept = min(recorded.get(key, 0), len(attempt.levels(now)))
            self._end(attempt, now, Outcome.interrupted, "its machine was lost")
            attempt.last_level = attempt.launch.from_level + kept
            attempt.settled = True
        if disk:
            for trial_id in self._latest:
                self._settle(trial_id)
                self._reached[trial_id] = self._level_reached(trial_id)
            for known in (self._attempts, self._alive, self._latest, self._acknowledged):
                known.clear()
            self.strict_attempts = False

    def acknowledge(self, trial_id: int, level: int) -> None:
        reached = self._level_reached(trial_id)
        if level > max(reached, self._acknowledged.get(trial_id, 0)):
            self.violations.append(f"level {level} of trial {trial_id} was acknowledged, {reached} is reached")
        level = self._acknowledged[trial_id] = max(level, self._acknowledged.get(trial_id, 0))
        self._settle(trial_id)
        stored = self._checkpoints.setdefault(trial_id, set())
        oldest = max((known for known in stored if known <= level), default=0)
        stored -= {known for known in stored if known < oldest}

    def copy_checkpoint(self, source: int, target: int) -> None:
        self._settle(source)
        self._checkpoints[target] = set(self._checkpoints.get(source, ()))

    def delete_checkpoint(self, trial_id: int) -> None:
        latest = self._latest.get(trial_id)
        if latest is not None and not latest.has_ended(self.clock.now()):
            self.violations.append(f"the checkpoint of trial {trial_id} was deleted while it runs")
        self._settle(trial_id)
        self._checkpoints[trial_id] = set()

    def _level_reached(self, trial_id: int) -> int:
        latest = self._latest.get(trial_id)
        if latest is None:
            return self._reached.get(trial_id, 0)
        levels = latest.levels(self.clock.now())
        return max([*levels, latest.launch.from_level, self._reached.get(trial_id, 0)])

    def _check_order(self, trial: Trial) -> None:
        before = self._latest.get(trial.trial_id)
        expected = 0 if before is None else before.trial.attempt + 1
        if trial.attempt < expected or (trial.attempt > expected and self.strict_attempts):
            self.violations.append(
                f"trial {trial.trial_id} was started as attempt {trial.attempt}, not {expected}"
            )
        if before is not None and not before.has_ended(self.clock.now()):
            self.violations.append(f"{before.key} still runs, and attempt {trial.attempt} was started")

    def _new_attempt(self, trial: Trial) -> Attempt:
        max_level = trial.config.get(self.max_resource_attr)
        if not isinstance(max_level, int):
            raise SpecError(
                f"Trial {trial.trial_id} has {self.max_resource_attr}={max_level!r} in its configuration.",
                f"Put the constant {self.max_resource_attr} (an integer) into config_space.",
            )
        launch = Launch(trial.trial_id, trial.attempt, self._resume_level(trial.trial_id), max_level)
        begin = self.clock.now() + self.start_delay_s
        epoch_s = self.epoch_s(trial.config) if callable(self.epoch_s) else self.epoch_s
        _check_positive("epoch_s", epoch_s)
        end = begin + max(0, max_level - launch.from_level) * epoch_s + self.end_delay_s
        attempt = Attempt(trial, launch, begin, epoch_s, end, Outcome.completed, last_level=max_level)
        for fault in self.faults:
            if (fault.trial_id, fault.attempt) == (trial.trial_id, trial.attempt) and fault.level <= max_level:
                attempt.last_level = max(fault.level - 1, launch.from_level)
                instant = attempt.report_time(attempt.last_level) + epoch_s / 2
                self._end(attempt, instant, fault.outcome, f"scripted fault at level {fault.level}")
        return attempt

    def _end(self, attempt: Attempt, instant: float, outcome: Outcome, reason: str) -> None:
        attempt.end, attempt.outcome, attempt.reason = instant, outcome, reason

    def _resume_level(self, trial_id: int) -> int:
        """The newest checkpoint at or below what the tuner has acknowledged."""
        self._settle(trial_id)
        limit = self._acknowledged.get(trial_id)
        levels = self._checkpoints.get(trial_id, set())
        return max((level for level in levels if limit is None or level <= limit), default=0)

    def _settle(self, trial_id: int) -> None:
        latest = self._latest.get(trial_id)
        if latest is not None:
            self._save_checkpoints(latest)

    def _save_checkpoints(self, attempt: Attempt) -> None:
        if not attempt.settled and self.checkpointing:
            wanted = self.checkpoint_levels
            self._checkpoints.setdefault(attempt.trial.trial_id, set()).update(
                level for level in attempt.levels(self.clock.now()) if wanted is None or level in wanted
            )
        attempt.settled = attempt.has_ended(self.clock.now())


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise SpecError(
            f"ScriptedWorld({name}={value!r}): must be positive.",
            "Nothing happens at once; a small number will do.",
        )
