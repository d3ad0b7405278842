"""What a backend keeps of an attempt goes when its end is safe, not before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from simulated import random_search, world

from cloudtune import StoppingCriterion, Tuner
from cloudtune.clock import VirtualClock
from cloudtune.experiment import events as ev
from cloudtune.stores.memory import MemoryStore
from cloudtune.testing.scripted_backend import ScriptedBackend
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Outcome


class Lagging(MemoryStore):
    """A store whose copy elsewhere has all but the last appends."""

    def __init__(self, lag: int) -> None:
        super().__init__()
        self._lag = lag
        self._appends: list[int] = [0]

    def append(self, events: Sequence[ev.Event]) -> None:
        super().append(events)
        self._appends.append(len(self.read()))

    def durable(self) -> int:
        return self._appends[max(0, len(self._appends) - 1 - self._lag)]


class Keeping(ScriptedBackend):
    """Notes, for each attempt that is retired, how many events were safe."""

    store: Lagging

    def retire(self, trial_id: int, attempt: int) -> None:
        super().retire(trial_id, attempt)
        self.retired = [*getattr(self, "retired", []), (trial_id, attempt, self.store.durable())]


@pytest.mark.parametrize("lag", [0, 1, 7])
def test_an_attempt_is_retired_once_when_its_end_is_safe(lag: int) -> None:
    clock = VirtualClock()
    machines = world(clock, faults=[Fault(1, 0, 4, Outcome.interrupted), Fault(2, 0, 2)])
    backend = Keeping(machines)
    backend.store = store = Lagging(lag)
    criterion = StoppingCriterion(max_num_trials_started=8)
    Tuner(backend, random_search(), criterion, 3, clock=clock, store=store, save_tuner=False).run()
    ends = [(e.trial_id, e.attempt, n) for n, e in enumerate(store.read()) if isinstance(e, ev.TrialEnded)]
    assert [key[:2] for key in backend.retired] == [end[:2] for end in ends][: len(backend.retired)]
    assert all(durable > number for (*_, durable), (*_, number) in zip(backend.retired, ends, strict=False))
    safe = [end for end in ends if end[2] < store.durable()]
    assert len(backend.retired) == len(safe) > 3
    assert machines.violations == []
