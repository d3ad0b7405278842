"""What a disturbed experiment has lost, doubled, left over or decided wrongly: what the world has seen,
against the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudtune.experiment import events as ev
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.testing.decision_check import wrong_decisions
from cloudtune.testing.story import Story, problems_of
from cloudtune.testing.world import World


@dataclass
class Losses:
    """Each a list of what is wrong, in words."""

    #: Levels that a process has reported, and the journal does not have.
    lost_reports: list[str] = field(default_factory=list)
    #: Levels of a trial, or numbers of an attempt's reports, that the journal has twice.
    doubled_reports: list[str] = field(default_factory=list)
    #: Attempts that more than one job or process has trained, or beside another one of the trial.
    doubled_jobs: list[str] = field(default_factory=list)
    #: What is alive and no tuner is.
    orphans: list[str] = field(default_factory=list)
    wrong_decisions: list[str] = field(default_factory=list)
    #: All else that the laboratory finds: an unsound journal, or one without end; a report that is not what its
    #: script makes of configuration and level; what was done and is not recorded.
    other_flaws: list[str] = field(default_factory=list)

    def add(self, other: Losses) -> None:
        for name, found in vars(other).items():
            getattr(self, name).extend(found)

    def counts(self) -> list[int]:
        """In the order of the fields."""
        return [len(found) for found in vars(self).values()]

    def all(self) -> list[str]:
        return [f"{name}: {what}" for name, found in vars(self).items() for what in found]


def losses_of(story: Story, scheduler: Scheduler) -> Losses:
    """What is wrong with a run that has come to the end of its experiment.

    Args:
        story: The run.
        scheduler: Fresh, as the experiment's was.
    """
    events, world = story.events, story.world
    counted = {*world.violations}
    others = [text for text in problems_of(story) if text not in counted and not _is_counted(text)]
    others += [text for text in story.breaches if text not in others]
    return Losses(
        _lost(events, world),
        _doubled(events, world.resource_attr),
        list(world.violations),
        [str(what) for what in world.running()],
        # A journal that is unsound cannot be followed.
        [] if others else wrong_decisions(events, scheduler),
        others,
    )


def _is_counted(problem: str) -> bool:
    """Whether a problem of the story is an orphan or a lost report, which are counted here in their own way."""
    return "is an orphan" in problem or problem.endswith("is not recorded")


def _lost(events: Iterable[ev.Event], world: World) -> list[str]:
    recorded = {
        (event.trial_id, event.metrics[world.resource_attr])
        for event in events
        if isinstance(event, ev.TrialReported)
    }
    reported = {(launch.trial_id, level) for launch in world.launches for level in world.levels_reported(launch)}
    return [f"level {level} of trial {trial_id}" for trial_id, level in sorted(reported - recorded)]


def _doubled(events: Iterable[ev.Event], resource_attr: str) -> list[str]:
    levels: Counter[tuple[int, int]] = Counter()
    numbers: Counter[tuple[int, int, int]] = Counter()
    for event in events:
        if isinstance(event, ev.TrialReported):
            levels[event.trial_id, event.metrics[resource_attr]] += 1
            numbers[event.trial_id, event.attempt, event.seq] += 1
    found = [
        f"level {level} of trial {trial} is recorded {n} times" for (trial, level), n in levels.items() if n > 1
    ]
    found += [f"report {key} is recorded {count} times" for key, count in numbers.items() if count > 1]
    return found
