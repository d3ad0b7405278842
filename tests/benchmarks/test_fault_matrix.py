"""The quick fault matrix is all zeros, and each kind of damage makes a count that is not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from cloudtune.config_space import uniform
from cloudtune.experiment import events as ev
from cloudtune.optimizer.baselines import ASHA
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.testing.losses import losses_of
from cloudtune.testing.story import Story
from cloudtune.testing.world import Launch, World
from cloudtune.trial import Config, Outcome, Trial

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_quick_matrix() -> None:
    command = [sys.executable, str(BENCHMARKS / "fault_matrix.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = re.search(r"([\d,]+) faults in (\d+) experiments", done.stdout)
    assert found is not None and int(found[1].replace(",", "")) > 200 and int(found[2]) >= 14


def test_the_table_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from fault_cell import Cell
    from fault_experiment import Tally
    from fault_table import BEGIN, END, write

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    cells = [
        Cell("clock jump", "local", lambda *_: None, "of clocks"),
        Cell("S3 errors 10 %", "local", None, "no S3"),
    ]
    write(page, [(cells[0], Tally(faults=7)), (cells[1], Tally())])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| local: clock jump | 7 | 0 |" in text and "| local: S3 errors 10 % | - |" in text and "no S3" in text


# -- what the counts notice


@dataclass
class Seen:
    """A world in which this has happened."""

    launches: list[Launch]
    levels: Mapping[Launch, Sequence[int]]
    alive: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    resource_attr: str = "epoch"
    max_resource_attr: str = "epochs"

    def report(self, config: Config, level: int) -> dict[str, Any]:
        return {"epoch": level, "loss": config["x"] / level}

    def levels_reported(self, launch: Launch) -> Sequence[int]:
        return self.levels[launch]

    def running(self) -> list[str]:
        return self.alive


def scheduler() -> Scheduler:
    common: dict[str, Any] = {"metric": "loss", "resource_attr": "epoch", "max_resource_attr": "epochs"}
    return ASHA({"x": uniform(0, 1), "epochs": 3}, type="promotion", random_seed=3, reduction_factor=3, **common)


def sound_journal() -> list[ev.Event]:
    """One worker, until a trial has been promoted from the first rung to the last."""
    fresh, events, trials = scheduler(), list[ev.Event](), dict[int, Trial]()
    while not any(trial.attempt for trial in trials.values()):
        suggestion = fresh.suggest(len(trials))
        assert suggestion is not None
        trial_id = len(trials) if suggestion.resume_trial_id is None else suggestion.resume_trial_id
        attempt = trials[trial_id].attempt + 1 if trial_id in trials else 0
        trial = trials[trial_id] = Trial(trial_id, suggestion.config, attempt)
        fresh.on_start(trial)
        events.append(ev.TrialStarted(0.0, 0.0, trial_id, attempt, trial.config))
        decision = ""
        for seq, level in enumerate(levels_of(events[-1])):
            metrics = {"epoch": level, "loss": trial.config["x"] / level}
            decision = fresh.on_report(trial, metrics)
            events.append(ev.TrialReported(0.0, 0.0, trial_id, attempt, seq, metrics, decision))
        outcome = Outcome.paused if decision == "PAUSE" else Outcome.completed
        fresh.on_end(trial, outcome)
        events.append(ev.TrialEnded(0.0, 0.0, trial_id, attempt, outcome))
    return [*events, ev.ExperimentEnded(0.0, 0.0, "done")]


def levels_of(event: ev.Event) -> range:
    """What an attempt reports: from the first level, or after the rung from which it was promoted."""
    assert isinstance(event, ev.TrialStarted)
    return range(2 if event.attempt else 1, event.config["epochs"] + 1)


def story(events: list[ev.Event]) -> Story:
    starts = [event for event in events if isinstance(event, ev.TrialStarted)]
    levels = {
        Launch(event.trial_id, event.attempt, levels_of(event)[0] - 1, event.config["epochs"]): levels_of(event)
        for event in starts
    }
    return Story(cast("World", Seen(list(levels), levels)), events, [[]])


Damage = Callable[[Story], None]


def lose_a_report(story: Story) -> None:
    story.events = [event for event in story.events if not is_report(event, 3)]


def double_a_report(story: Story) -> None:
    story.events = [copy for event in story.events for copy in [event] * (2 if is_report(event, 3) else 1)]


def is_report(event: ev.Event, level: int) -> bool:
    return isinstance(event, ev.TrialReported) and event.metrics["epoch"] == level


def double_a_job(story: Story) -> None:
    story.world.violations.append("0-0r1 runs the attempt that 0-0 has run already")


def leave_an_orphan(story: Story) -> None:
    cast("Seen", story.world).alive.append("0-0")


def decide_otherwise(story: Story) -> None:
    for number, event in enumerate(story.events):
        if isinstance(event, ev.TrialReported) and is_report(event, 1):
            story.events[number] = replace(event, decision="CONTINUE")


def try_another_configuration(story: Story) -> None:
    story.events = [
        replace(event, config={**event.config, "x": 0.125})
        if isinstance(event, ev.TrialStarted) and event.trial_id == 1 and event.attempt == 0
        else event
        for event in story.events
        if not (isinstance(event, ev.TrialReported) and event.trial_id == 1)
    ]


def never_end(story: Story) -> None:
    del story.events[-1]


def test_a_sound_run_has_no_losses() -> None:
    assert losses_of(story(sound_journal()), scheduler()).all() == []


@pytest.mark.parametrize(
    ("damage", "count"),
    [
        (lose_a_report, "lost_reports"),
        (double_a_report, "doubled_reports"),
        (double_a_job, "doubled_jobs"),
        (leave_an_orphan, "orphans"),
        (decide_otherwise, "wrong_decisions"),
        (try_another_configuration, "wrong_decisions"),
        (never_end, "other_flaws"),
    ],
)
def test_each_damage_is_counted(damage: Damage, count: str) -> None:
    damaged = story(sound_journal())
    damage(damaged)
    assert getattr(losses_of(damaged, scheduler()), count) != []
