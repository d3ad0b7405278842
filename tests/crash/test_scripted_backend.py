"""The scripted backend passes the contract, and its world behaves as written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudtune.clock import VirtualClock
from cloudtune.errors import SpecError
from cloudtune.experiment.ports import (
    AttemptEnded,
    AttemptKey,
    BackendContext,
    Fact,
    ReportSeen,
    SupportsAcknowledge,
    SupportsCheckpoints,
    TrialBackend,
)
from cloudtune.paths import ExperimentPaths
from cloudtune.testing.backend_contract import BACKEND_CHECKS, BackendCheck, names
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import Fault, ScriptedWorld
from cloudtune.trial import Config, Outcome, Trial

CONTEXT = BackendContext(ExperimentPaths(Path("/nowhere/x")), VirtualClock(), None, "epoch")


class ScriptedRig:
    patience_s = 60.0

    def __init__(self, checkpointing: bool = True, make: type[ScriptedBackend] = ScriptedBackend) -> None:
        self.clock = VirtualClock()
        self.world = ScriptedWorld(
            self.clock, lambda config, level: {"loss": 1 / level}, checkpointing=checkpointing
        )
        self.make = make

    def backend(self) -> TrialBackend:
        backend = self.make(self.world)
        backend.open(CONTEXT)
        return backend

    def config(self, trial_id: int, epochs: int) -> Config:
        return {"epochs": epochs}

    def failing_config(self, trial_id: int, epochs: int) -> Config:
        self.world.faults = [*self.world.faults, Fault(trial_id, 0, epochs + 1)]
        return {"epochs": 100}

    def endless_config(self, trial_id: int) -> Config:
        return {"epochs": 1000}


@pytest.mark.parametrize("checkpointing", [True, False], ids=["checkpoints", "scratch"])
@pytest.mark.parametrize("check", BACKEND_CHECKS, ids=names(BACKEND_CHECKS))
def test_contract(check: BackendCheck, checkpointing: bool) -> None:
    rig = ScriptedRig(checkpointing)
    check(rig)
    assert rig.world.violations == []


class IgnoresCursor(ScriptedBackend):
    """Numbers its reports anew after each restart (what broke resumed trials elsewhere)."""

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        facts = super().poll(seen)
        return [
            ReportSeen(f.trial_id, f.attempt, f.seq + seen[AttemptKey(f.trial_id, f.attempt)], f.metrics)
            if isinstance(f, ReportSeen)
            else f
            for f in facts
        ]


class EndsFirst(ScriptedBackend):
    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        return sorted(super().poll(seen), key=lambda fact: isinstance(fact, ReportSeen))


class EndsOnce(ScriptedBackend):
    told: tuple[Fact, ...] = ()

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        facts = [fact for fact in super().poll(seen) if fact not in self.told]
        self.told += tuple(fact for fact in facts if isinstance(fact, AttemptEnded))
        return facts


class Deaf(ScriptedBackend):
    def stop(self, trial_id: int, attempt: int) -> None:
        pass


class Doubling(ScriptedBackend):
    def start(self, trial: Trial) -> None:
        self._world._attempts.pop(AttemptKey(trial.trial_id, trial.attempt), None)
        super().start(trial)


@pytest.mark.parametrize("broken", [IgnoresCursor, EndsFirst, EndsOnce, Deaf, Doubling])
def test_contract_notices(broken: type[ScriptedBackend]) -> None:
    noticed = []
    for check in BACKEND_CHECKS:
        rig = ScriptedRig(make=broken)
        try:
            check(rig)
        except AssertionError:
            noticed.append(check)
        if rig.world.violations:
            noticed.append(check)
    assert noticed


def world(**options: Any) -> ScriptedWorld:
    return ScriptedWorld(VirtualClock(0.0), lambda config, level: {"loss": 1 / level}, **options)


def facts_until(
    backend: ScriptedBackend, key: AttemptKey, instant: float, of: ScriptedWorld
) -> list[tuple[float, str]]:
    """When each report and the end of an attempt became visible."""
    seen, found = 0, []
    while True:
        for fact in backend.poll({key: seen}):
            if isinstance(fact, ReportSeen):
                seen = fact.seq + 1
                found.append((of.clock.now(), f"{fact.metrics['epoch']}"))
            else:
                return [*found, (of.clock.now(), str(fact.outcome))]
        if of.clock.now() >= instant:
            return found
        backend.wait(instant)


def test_reports_appear_as_time_passes() -> None:
    machines = world(epoch_s=2.0)
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 3}))
    assert facts_until(backend, AttemptKey(0, 0), 100.0, machines) == [
        (2.5, "1"),
        (4.5, "2"),
        (6.5, "3"),
        (6.625, "completed"),
    ]


def test_resumes_after_the_last_level_that_is_acknowledged() -> None:
    machines = world(stop_delay_s=1.5)
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 9}))
    machines.clock.advance_to(3.6)
    backend.stop(0, 0)
    machines.clock.advance_to(10.0)
    assert facts_until(backend, AttemptKey(0, 0), 10.0, machines)[-1] == (10.0, "stopped")
    backend.acknowledge(0, 3)
    backend.start(Trial(0, {"epochs": 9}, attempt=1))
    assert machines.launches[1].from_level == 3  # level 4 was reported while it was being stopped
    assert machines.violations == []


def test_checkpoints_at_rung_levels_alone() -> None:
    machines = world()
    backend = ScriptedBackend(machines)
    backend.open(BackendContext(CONTEXT.paths, CONTEXT.clock, [1, 3, 9], "epoch"))
    backend.start(Trial(0, {"epochs": 2}))
    machines.clock.advance_to(10.0)
    backend.start(Trial(0, {"epochs": 9}, attempt=1))
    assert machines.launches[1].from_level == 1


def test_without_checkpoints_from_scratch() -> None:
    machines = world(checkpointing=False)
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 2}))
    machines.clock.advance_to(10.0)
    backend.start(Trial(0, {"epochs": 9}, attempt=1))
    assert machines.launches[1].from_level == 0


def test_copied_and_deleted_checkpoints() -> None:
    machines = world()
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 2}))
    machines.clock.advance_to(10.0)
    backend.copy_checkpoint(0, 1)
    backend.delete_checkpoint(0)
    backend.start(Trial(1, {"epochs": 4}))
    backend.start(Trial(0, {"epochs": 4}, attempt=1))
    assert [launch.from_level for launch in machines.launches] == [0, 2, 0]


def test_lost_machine_loses_what_was_not_recorded() -> None:
    machines = world()
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 9}))
    machines.clock.advance_to(4.0)
    key = AttemptKey(0, 0)
    machines.lose_machine({key: 1})
    second = ScriptedBackend(machines)
    found = facts_until(second, key, 5.0, machines)
    assert [what for _, what in found] == ["1", "interrupted"]
    second.acknowledge(0, 1)
    second.start(Trial(0, {"epochs": 9}, attempt=1))
    assert machines.launches[1].from_level == 1


def test_faults() -> None:
    machines = world(faults=[Fault(0, 0, 3), Fault(0, 1, 1, Outcome.interrupted)])
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 9}))
    found = facts_until(backend, AttemptKey(0, 0), 50.0, machines)
    assert [what for _, what in found] == ["1", "2", "failed"]
    backend.start(Trial(0, {"epochs": 9}, attempt=1))
    assert [what for _, what in facts_until(backend, AttemptKey(0, 1), 90.0, machines)] == ["interrupted"]


def test_what_no_tuner_may_do_is_noted() -> None:
    machines = world()
    backend = ScriptedBackend(machines)
    backend.start(Trial(0, {"epochs": 9}))
    backend.start(Trial(0, {"epochs": 8}))
    backend.start(Trial(0, {"epochs": 9}, attempt=1))
    backend.start(Trial(1, {"epochs": 9}, attempt=2))
    backend.acknowledge(1, 4)
    backend.delete_checkpoint(1)
    for expected, found in zip(
        ["another configuration", "still runs", "not 0", "is reached", "deleted while"],
        machines.violations,
        strict=True,
    ):
        assert expected in found
    assert machines.running() == [AttemptKey(0, 0), AttemptKey(0, 1), AttemptKey(1, 2)]


def test_refuses_nonsense() -> None:
    with pytest.raises(SpecError, match="epoch_s"):
        world(epoch_s=0)
    with pytest.raises(SpecError, match="epochs=None"):
        world().start(Trial(0, {"x": 1}))


def test_capabilities() -> None:
    backend = ScriptedBackend(world())
    assert isinstance(backend, SupportsAcknowledge) and isinstance(backend, SupportsCheckpoints)
