"""The real loop dies at every call, over ``LocalBackend``: real processes, which survive it or die with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from local_lab import SCHEDULERS, LocalRig

from cloudtune.backend import LocalBackend
from cloudtune.clock import Clock
from cloudtune.experiment import events as ev
from cloudtune.experiment.ports import AttemptKey, BackendContext, ExperimentStore, Fact, ReportSeen, TrialBackend
from cloudtune.testing import process_world
from cloudtune.testing.crash_anywhere import (
    Laboratory,
    crash_anywhere,
    crash_at,
    error_anywhere,
    problems_of,
    relay,
    same_trials,
    undisturbed,
)
from cloudtune.testing.fuse import When
from cloudtune.trial import Trial

#: Decide upon each trial by itself: which worker is faster does not matter.
INDEPENDENT = ("random", "grid")


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[list[LocalRig]]:
    """Those that the test has made: nothing of them is left running."""
    made: list[LocalRig] = []
    yield made
    for rig in made:
        rig.end()


def laboratory(root: Path, rigs: list[LocalRig], scheduler: str, n_workers: int) -> Laboratory:
    rig = LocalRig(root, scheduler, n_workers)
    rigs.append(rig)
    comparable = n_workers == 1 or scheduler in INDEPENDENT
    return rig.laboratory(compare=same_trials if comparable else None)


@pytest.mark.parametrize(
    ("scheduler", "n_workers"),
    [*((scheduler, 1) for scheduler in SCHEDULERS), ("random", 2), ("asha-promotion", 2)],
)
def test_dies_anywhere(scheduler: str, n_workers: int, tmp_path: Path, rigs: list[LocalRig]) -> None:
    crash_anywhere(laboratory(tmp_path, rigs, scheduler, n_workers), sample=3, seed=n_workers)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_fails_anywhere(scheduler: str, tmp_path: Path, rigs: list[LocalRig]) -> None:
    error_anywhere(laboratory(tmp_path, rigs, scheduler, 2), sample=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_point(scheduler: str, n_workers: int, tmp_path: Path, rigs: list[LocalRig]) -> None:
    lab = laboratory(tmp_path, rigs, scheduler, n_workers)
    assert crash_anywhere(lab) > 100
    error_anywhere(lab)


@pytest.mark.parametrize("scheduler", ["random", "asha-promotion"])
def test_asked_to_end_again_and_again(scheduler: str, tmp_path: Path, rigs: list[LocalRig]) -> None:
    turns = [1, 2, 3, 5, 8, *[10**9] * 5]
    rigs.append(rig := LocalRig(tmp_path, scheduler, turns=lambda: turns.pop(0)))
    story = relay(rig.laboratory())
    assert problems_of(story) == []
    assert len(story.lives) > 2


# -- what the laboratory does not let pass


class StartsAgain(LocalBackend):
    """Does not look for what runs already."""

    def start(self, trial: Trial) -> None:
        paths = self._paths(trial.trial_id)
        for path in (
            paths.claim(trial.attempt),
            paths.exit_code(trial.attempt),
            paths.start_record(trial.attempt),
        ):
            path.unlink(missing_ok=True)
        super().start(trial)


class Forgets(LocalBackend):
    """Takes what has run before for lost."""

    def adopt(self, trial: Trial) -> None:
        pass

    def start(self, trial: Trial) -> None:
        if not self._paths(trial.trial_id).claim(trial.attempt).exists():
            super().start(trial)


class Distorts(LocalBackend):
    """Reads other numbers than were printed."""

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        facts = super().poll(seen)
        for fact in facts:
            if isinstance(fact, ReportSeen):
                fact.metrics["loss"] = round(fact.metrics["loss"], 3)
        return facts


class ReadsTwice(LocalBackend):
    """Counts reports anew for each tuner."""

    def poll(self, seen: Mapping[AttemptKey, int]) -> list[Fact]:
        facts = super().poll(dict.fromkeys(seen, 0))
        return [replace(fact, seq=seen[key_of(fact)]) if isinstance(fact, ReportSeen) else fact for fact in facts]


def key_of(fact: Fact) -> AttemptKey:
    return AttemptKey(fact.trial_id, fact.attempt)


@pytest.mark.parametrize(
    ("broken", "symptom"),
    [
        (StartsAgain, "has run twice"),
        (Forgets, "runs beside an earlier one|the level before was"),
        (Distorts, "undisturbed: {'epoch': 1"),
        (ReadsTwice, "the level before was"),
    ],
)
def test_each_defect_is_noticed(
    broken: type[LocalBackend], symptom: str, tmp_path: Path, rigs: list[LocalRig]
) -> None:
    rigs.append(rig := LocalRig(tmp_path, "random", 2, broken))
    lab = rig.laboratory()
    stories = (crash_at(lab, number, When.after) for number in range(6, 60))  # before that, nothing has run
    problems = next(filter(None, map(problems_of, stories)), [])
    assert re.search(symptom, "\n".join(problems)), problems


def test_a_process_that_is_left_over_is_noticed(
    tmp_path: Path, rigs: list[LocalRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_world, "_SETTLE_S", 0.1)
    rigs.append(rig := LocalRig(tmp_path, "random"))
    lab = rig.laboratory()

    def leaves_it(store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        world = rig.world
        assert world is not None
        store.open("me:1")
        backend.open(BackendContext(world.paths, clock, None, "epoch"))
        trial = Trial(0, {"x": 0.5, "epochs": 1, "epoch_s": 1000})
        store.append([ev.TrialStarted(0.0, 0.0, 0, 0, trial.config)])
        backend.start(trial)
        store.append([ev.TrialEnded(0.0, 0.0, 0, 0, "stopped"), ev.ExperimentEnded(0.0, 0.0, "done")])
        store.close()

    lab.run_once = leaves_it
    with pytest.raises(AssertionError, match="is an orphan"):
        undisturbed(lab)


def test_same_trials_notices_what_differs(tmp_path: Path, rigs: list[LocalRig]) -> None:
    rigs.append(rig := LocalRig(tmp_path, "asha-stopping", 1))
    story = undisturbed(rig.laboratory())
    assert same_trials(story, story) == []
    reports = [event for event in story.events if isinstance(event, ev.TrialReported)]
    for change in (
        replace(reports[0], metrics={**reports[0].metrics, "loss": 17.0}),
        replace(reports[0], decision="STOP"),
        None,
    ):
        events = [change if event is reports[0] else event for event in story.events]
        assert same_trials(replace(story, events=[event for event in events if event is not None]), story) != []
    later = [event for event in story.events if not isinstance(event, ev.SessionStarted)]
    assert same_trials(replace(story, events=later), story) == [], "sessions do not count"
