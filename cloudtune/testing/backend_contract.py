"""What every backend must do. Run each of :data:`BACKEND_CHECKS` with a rig of its own::

@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_contract(check, tmp_path):
    check(MyRig(tmp_path))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from cloudtune.clock import Clock
from cloudtune.experiment.ports import AttemptEnded, AttemptKey, CostSeen, Fact, ReportSeen, TrialBackend
from cloudtune.trial import Config, Outcome, Trial


class BackendRig(Protocol):
    """What a check needs: one world, and backends for it. Scripts report ``epoch`` 1, 2, ... besides anything
    else, from 1 again if there is no checkpoint."""

    clock: Clock
    #: Seconds of ``clock`` after which something that should have happened has not.
    patience_s: float

    def backend(self) -> TrialBackend:
        """A new backend, open, as the next tuner process would have it."""
        ...

    def config(self, trial_id: int, epochs: int) -> Config:
        """Reports ``epochs`` times, then ends well."""
        ...

    def failing_config(self, trial_id: int, epochs: int) -> Config:
        """Reports ``epochs`` times in attempt 0, then ends with an error."""
        ...

    def endless_config(self, trial_id: int) -> Config:
        """Reports at least twice, and then goes on for much longer than ``patience_s``."""
        ...


BackendCheck = Callable[[BackendRig], None]


@dataclass
class Watch:
    """Polls a backend as the tuner does, and holds each answer against the contract."""

    rig: BackendRig
    backend: TrialBackend
    seen: dict[AttemptKey, int]
    reports: dict[AttemptKey, list[int]] = field(default_factory=dict)
    ends: dict[AttemptKey, AttemptEnded] = field(default_factory=dict)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Polls and waits until ``done``."""
        deadline = self.rig.clock.now() + self.rig.patience_s
        self.poll()
        while not done():
            left = deadline - self.rig.clock.now()
            _require(left > 0, f"{what}: not within {self.rig.patience_s} s; so far {self.reports}, {self.ends}")
            self.backend.wait(min(left, 1.0))
            self.poll()

    def until_ended(self, *keys: AttemptKey) -> None:
        self.until(lambda: all(key in self.ends for key in keys), f"the end of {keys}")

    def until_reported(self, key: AttemptKey, count: int) -> None:
        self.until(lambda: self.seen[key] >= count, f"{count} reports of {key}")

    def poll(self) -> None:
        for fact in self.backend.poll(dict(self.seen)):
            self._note(fact)

    def _note(self, fact: Fact) -> None:
        if isinstance(fact, CostSeen):
            _require(fact.usd >= 0 and fact.billed_s >= 0, f"{fact} is negative")
            return
        key = AttemptKey(fact.trial_id, fact.attempt)
        _require(key in self.seen, f"{fact} was not asked for")
        if isinstance(fact, ReportSeen):
            _require(key not in self.ends, f"{fact} after the end of its attempt")
            if fact.seq == self.seen[key]:  # a smaller one is a repetition, which the tuner drops
                self.seen[key] += 1
                self.reports.setdefault(key, []).append(fact.metrics["epoch"])
            _require(fact.seq < self.seen[key], f"{fact}: report {self.seen[key]} is missing")
        else:
            _require(key not in self.ends or self.ends[key] == fact, f"{fact}, before it was {self.ends.get(key)}")
            self.ends[key] = fact


def _begin(rig: BackendRig, *trials: Trial, backend: TrialBackend | None = None) -> Watch:
    backend = backend or rig.backend()
    for trial in trials:
        backend.start(trial)
    return Watch(rig, backend, {_key(trial): 0 for trial in trials})


def _key(trial: Trial) -> AttemptKey:
    return AttemptKey(trial.trial_id, trial.attempt)


def check_describes_itself(rig: BackendRig) -> None:
    backend = rig.backend()
    metadata = json.loads(json.dumps(backend.metadata()))
    _require({"backend", "entrypoint"} <= set(metadata), f"metadata lacks backend or entrypoint: {metadata}")
    backend.close()


def check_reports_then_end(rig: BackendRig) -> None:
    trials = [Trial(trial_id, rig.config(trial_id, 2 + trial_id)) for trial_id in range(3)]
    watch = _begin(rig, *trials)
    watch.until_ended(*map(_key, trials))
    for trial in trials:
        epochs = list(range(1, 3 + trial.trial_id))
        _equal(watch.reports.get(_key(trial)), epochs, f"reports of {trial}")
        _equal(watch.ends[_key(trial)].outcome, Outcome.completed, f"outcome of {trial}")
    watch.backend.close()


def check_start_twice_is_once(rig: BackendRig) -> None:
    trial = Trial(0, rig.config(0, 4))
    watch = _begin(rig, trial, trial)
    watch.until_reported(_key(trial), 1)
    watch.backend.start(trial)
    watch.until_ended(_key(trial))
    watch.backend.start(trial)  # it has run already
    watch.poll()
    _equal(watch.reports.get(_key(trial)), [1, 2, 3, 4], "reports of a trial that was started four times")
    watch.backend.close()


def check_next_tuner_adopts(rig: BackendRig) -> None:
    trial = Trial(0, rig.config(0, 5))
    first = _begin(rig, trial)
    first.until_reported(_key(trial), 2)
    first.backend.close()
    second = Watch(rig, rig.backend(), dict(first.seen), first.reports)
    second.backend.start(trial)
    second.until_ended(_key(trial))
    _equal(second.reports.get(_key(trial)), [1, 2, 3, 4, 5], "reports over two tuners")
    _equal(second.ends[_key(trial)].outcome, Outcome.completed, "outcome")
    second.backend.close()


def check_next_tuner_without_close(rig: BackendRig) -> None:
    """The first tuner was killed, and knows nothing more of what it had seen."""
    trial = Trial(0, rig.config(0, 3))
    first = _begin(rig, trial)
    first.until_ended(_key(trial))
    second = _begin(rig, trial)
    second.until_ended(_key(trial))
    _equal(second.reports.get(_key(trial)), [1, 2, 3], "reports as the second tuner sees them")
    second.backend.close()


def check_cursor(rig: BackendRig) -> None:
    trial = Trial(0, rig.config(0, 4))
    watch = _begin(rig, trial)
    watch.until_ended(_key(trial))
    later = Watch(rig, rig.backend(), {_key(trial): 3})
    later.backend.adopt(trial)
    later.until_ended(_key(trial))
    _equal(later.reports.get(_key(trial)), [4], "reports beyond the third")
    later.backend.close()


def check_end_is_repeated(rig: BackendRig) -> None:
    trial = Trial(0, rig.config(0, 1))
    watch = _begin(rig, trial)
    watch.until_ended(_key(trial))
    again = [fact for fact in watch.backend.poll({_key(trial): 1}) if isinstance(fact, AttemptEnded)]
    _equal(again, [watch.ends[_key(trial)]], "the end, polled once more")
    _equal(watch.backend.poll({}), [], "news of nothing")
    watch.backend.close()


def check_stop(rig: BackendRig) -> None:
    trial, other = Trial(0, rig.endless_config(0)), Trial(1, rig.config(1, 3))
    watch = _begin(rig, trial, other)
    watch.until_reported(_key(trial), 1)
    watch.backend.stop(0, 0)
    watch.backend.stop(0, 0)
    watch.until_ended(_key(trial), _key(other))
    watch.backend.stop(0, 0)
    watch.backend.stop(1, 0)
    watch.poll()
    _equal(watch.ends[_key(trial)].outcome, Outcome.stopped, "outcome of the trial that was stopped")
    _equal(watch.ends[_key(other)].outcome, Outcome.completed, "outcome of its neighbour")
    watch.backend.close()


def check_next_tuner_stops(rig: BackendRig) -> None:
    trial = Trial(0, rig.endless_config(0))
    first = _begin(rig, trial)
    first.until_reported(_key(trial), 1)
    second = Watch(rig, rig.backend(), dict(first.seen))
    second.backend.start(trial)
    second.backend.stop(0, 0)
    second.until_ended(_key(trial))
    _equal(second.ends[_key(trial)].outcome, Outcome.stopped, "outcome")
    second.backend.close()


def check_next_attempt(rig: BackendRig) -> None:
    """After a stop, the next attempt runs: from where the last one was, or from the beginning."""
    config = rig.endless_config(0)
    watch = _begin(rig, Trial(0, config))
    first = AttemptKey(0, 0)
    watch.until_reported(first, 2)
    watch.backend.stop(0, 0)
    watch.until_ended(first)
    reached = len(watch.reports[first])
    later = _begin(rig, Trial(0, config, attempt=1), backend=watch.backend)
    key = AttemptKey(0, 1)
    later.until_reported(key, 2)
    begun = later.reports[key][0]
    _require(1 <= begun <= reached + 1, f"attempt 1 begins at epoch {begun}, attempt 0 had reached {reached}")
    later.backend.stop(0, 1)
    later.until_ended(key)
    later.backend.close()


def check_failure(rig: BackendRig) -> None:
    trial = Trial(0, rig.failing_config(0, 2))
    watch = _begin(rig, trial)
    watch.until_ended(_key(trial))
    _equal(watch.reports.get(_key(trial)), [1, 2], "reports before the failure")
    end = watch.ends[_key(trial)]
    _equal(end.outcome, Outcome.failed, "outcome")
    _require(bool(end.reason), "a failure without a reason")
    watch.backend.close()


def check_unknown_attempt(rig: BackendRig) -> None:
    backend = rig.backend()
    watch = Watch(rig, backend, {AttemptKey(5, 2): 0})
    watch.until_ended(AttemptKey(5, 2))
    _equal(watch.ends[AttemptKey(5, 2)].outcome, Outcome.interrupted, "outcome of an attempt nobody knows")
    backend.close()


def check_attempt_of_a_lost_machine(rig: BackendRig) -> None:
    """The journal says that an attempt is running and has reported; nothing of it is on this machine. Were it run
    again under the same number, its first reports would be taken for those that are recorded, and be lost."""
    trial = Trial(0, rig.config(0, 5))
    backend = rig.backend()
    backend.adopt(trial)
    watch = Watch(rig, backend, {_key(trial): 3})
    watch.until_ended(_key(trial))
    _equal(watch.ends[_key(trial)].outcome, Outcome.interrupted, "outcome")
    _equal(watch.reports.get(_key(trial)), None, "reports")
    backend.close()


def check_wait_keeps_its_time(rig: BackendRig) -> None:
    backend = rig.backend()
    backend.poll({})
    begin = rig.clock.now()
    backend.wait(0.2)
    waited = rig.clock.now() - begin
    _require(waited <= 0.2 + rig.patience_s / 4, f"wait(0.2) took {waited} s")
    backend.close()


BACKEND_CHECKS: tuple[BackendCheck, ...] = (
    check_describes_itself,
    check_reports_then_end,
    check_start_twice_is_once,
    check_next_tuner_adopts,
    check_next_tuner_without_close,
    check_cursor,
    check_end_is_repeated,
    check_stop,
    check_next_tuner_stops,
    check_next_attempt,
    check_failure,
    check_unknown_attempt,
    check_attempt_of_a_lost_machine,
    check_wait_keeps_its_time,
)


def _equal(found: object, expected: object, what: str) -> None:
    _require(found == expected, f"{what}: {found}, expected {expected}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def names(checks: Iterable[BackendCheck]) -> list[str]:
    """For the ids of parametrised tests."""
    return [check.__name__.removeprefix("check_") for check in checks]
