"""What a run of the crash laboratory leaves behind, what must be true of it, and how two runs are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from cloudtune.constants import RESERVED_PREFIX
from cloudtune.experiment import events as ev
from cloudtune.optimizer.scheduler import SchedulerDecision
from cloudtune.testing.journal_checks import check_journal, recorded_levels
from cloudtune.testing.world import World

_TIMES = ("time", "elapsed_s")


@dataclass
class Story:
    """One run: some lives of the tuner, until the experiment was done."""

    world: World
    events: list[ev.Event]
    #: Calls of each life.
    lives: list[list[str]]
    #: How often all trials died with the tuner.
    machines_lost: int = 0
    #: What was asked of the backend and was not recorded.
    breaches: list[str] = field(default_factory=list)

    def facts(self) -> list[dict[str, Any]]:
        """The journal without times, sessions, the mere passing of time, and cost, which depends on it."""
        return [
            {"kind": event.kind, **{f.name: getattr(event, f.name) for f in fields(event) if f.name not in _TIMES}}
            for event in self.events
            if not isinstance(event, ev.SessionStarted | ev.TimePassed | ev.CostMeasured)
        ]


#: Says what is wrong with a disturbed run, given the one that nothing disturbed.
Compare: TypeAlias = Callable[[Story, Story], list[str]]


def same_journal(story: Story, expected: Story) -> list[str]:
    """The same events in the same order, and the same processes. For worlds on a virtual clock, where a crash
    takes no time. Of a run whose machine was lost nothing is expected: what is made again comes later."""
    if story.machines_lost:
        return []
    return [
        *_first_difference("journal", story.facts(), expected.facts()),
        *_first_difference("launches", story.world.launches, expected.world.launches),
    ]


def same_trials(story: Story, expected: Story) -> list[str]:
    """The same configurations, reports and decisions of each trial, and the same ends; when, in which order of
    trials and by how many attempts does not count. Nor does what an attempt did after the scheduler had decided to
    end it: whether it went on reporting, or came to its own end before it was stopped, is a matter of time.

    For real time, where no two runs have their events in the same order. Holds if the scheduler decides upon each
    trial by itself (random and grid search), or if there is one worker.
    """
    found, wanted = _histories(story), _histories(expected)
    if list(found) != list(wanted):
        return [f"the trials are {list(found)}\n    undisturbed: {list(wanted)}"]
    problems = []
    for trial_id, history in found.items():
        problems += _first_difference(f"trial {trial_id}", history, wanted[trial_id])
    return [*problems, *_first_difference("ends", _ends(story), _ends(expected))]


def problems_of(story: Story) -> list[str]:
    """What is wrong with a run by itself; empty if all is well.

    The journal is sound (:func:`~cloudtune.testing.journal_checks.check_journal`), nothing was done that was not
    recorded, nothing runs, each report is what the script makes of configuration and level, and none is lost.
    """
    world = story.world
    problems = [*story.breaches, *world.violations]
    problems += check_journal(story.events, world.resource_attr, world.max_resource_attr)
    problems += [f"{what} is an orphan: it runs, and no tuner does" for what in world.running()]
    return [*problems, *_wrong_reports(story), *_lost_reports(story)]


def _wrong_reports(story: Story) -> list[str]:
    configs: dict[int, Any] = {}
    problems = []
    for event in story.events:
        if isinstance(event, ev.TrialStarted):
            configs[event.trial_id] = event.config
        elif isinstance(event, ev.TrialReported) and event.trial_id in configs:
            expected = story.world.report(configs[event.trial_id], event.metrics[story.world.resource_attr])
            problems += _first_difference(
                f"trial {event.trial_id}, report {event.seq} of attempt {event.attempt}",
                [_own(event.metrics)],
                [dict(sorted(expected.items()))],
            )
    return problems


def _lost_reports(story: Story) -> list[str]:
    recorded = recorded_levels(story.events, story.world.resource_attr)
    return [
        f"level {level} of trial {launch.trial_id}, reported by attempt {launch.attempt}, is not recorded"
        for launch in story.world.launches
        for level in story.world.levels_reported(launch)
        if level not in recorded.get(launch.trial_id, ())
    ]


def _histories(story: Story) -> dict[int, list[object]]:
    """Of each trial, in order: configurations as they change, reports with decisions; and how it ended."""
    histories: dict[int, list[object]] = {}
    configs: dict[int, Any] = {}
    outcomes: dict[int, str] = {}
    decided: dict[int, str] = {}
    for event in story.events:
        if isinstance(event, ev.TrialStarted):
            decided.pop(event.trial_id, None)
            if configs.get(event.trial_id) != event.config:
                configs[event.trial_id] = event.config
                histories.setdefault(event.trial_id, []).append(event.config)
        elif isinstance(event, ev.TrialReported) and event.trial_id not in decided:
            histories[event.trial_id].append((_own(event.metrics), event.decision))
            if event.decision != SchedulerDecision.CONTINUE:
                decided[event.trial_id] = event.decision
        elif isinstance(event, ev.TrialEnded):
            outcomes[event.trial_id] = decided.get(event.trial_id, event.outcome)
    return {trial_id: [*histories[trial_id], outcomes.get(trial_id)] for trial_id in sorted(histories)}


def _ends(story: Story) -> list[object]:
    return [
        (event.kind, event.reason)
        for event in story.events
        if isinstance(event, ev.TuningStopped | ev.ExperimentEnded)
    ]


def _own(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What the script itself has put into a report, by key."""
    return {key: metrics[key] for key in sorted(metrics) if not key.startswith(RESERVED_PREFIX)}


def _first_difference(what: str, found: Sequence[object], expected: Sequence[object]) -> list[str]:
    for number, (left, right) in enumerate(zip(found, expected, strict=False)):
        if repr(left) != repr(right):  # by text, since NaN differs from itself
            return [f"{what}[{number}] is {left}\n    undisturbed: {right}"]
    if len(found) != len(expected):
        return [f"{what} has {len(found)} entries; undisturbed: {len(expected)}"]
    return []


__all__ = ["Compare", "Story", "problems_of", "same_journal", "same_trials"]
