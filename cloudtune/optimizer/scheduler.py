"""The scheduler's contract, and what every scheduler is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cloudtune._compat import StrEnum
from cloudtune.trial import Config, Metrics, Outcome, Trial


class SchedulerDecision(StrEnum):
    """What is to become of a trial that has just reported."""

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"


@dataclass(frozen=True)
class TrialSuggestion:
    """What to run on a free worker: a new trial, or the next attempt of a paused one.

    Args:
        config: The configuration, constants of the space included.
        resume_trial_id: The paused trial to resume with ``config``; None starts a new trial.
        checkpoint_trial_id: A new trial begins with a copy of this trial's checkpoint.
    """

    config: Config
    resume_trial_id: int | None = None
    checkpoint_trial_id: int | None = None

    @classmethod
    def start_suggestion(cls, config: Config, checkpoint_trial_id: int | None = None) -> TrialSuggestion:
        return cls(config, None, checkpoint_trial_id)

    @classmethod
    def resume_suggestion(cls, trial_id: int, config: Config) -> TrialSuggestion:
        return cls(config, trial_id)


@runtime_checkable
class Scheduler(Protocol):
    """Decides what to try next. The tuner calls it from one thread, and guarantees this order for a trial:
    ``on_start`` of attempt 0, its reports, ``on_end``; after a pause or an interruption ``on_start`` of the
    next attempt, and so on. Reports at resource levels that the trial has reported before are not passed on.

    To resume an experiment is to replay its journal through a fresh scheduler, hence:

    - ``suggest`` changes nothing. It draws from :func:`generator` keyed by seed and trial, so that asking
      twice gives the same answer. Its answer takes effect by the ``on_start`` that may follow.
    - The state after a sequence of ``on_*`` calls is a function of that sequence (and of the seed) alone.

    A decision of STOP or PAUSE is final for the attempt: no further report of it arrives.
    An interrupted attempt is resumed by the tuner itself, ``on_start`` tells so by ``trial.attempt``.
    """

    @property
    def config_space(self) -> dict[str, Any]:
        """The search space, constants included."""
        ...

    @property
    def random_seed(self) -> int:
        """Every draw is a function of it."""
        ...

    @property
    def resource_attr(self) -> str | None:
        """Key of the report that counts the resource spent (``epoch``), 1, 2, ...; None: reports have no level."""
        ...

    @property
    def max_resource_attr(self) -> str | None:
        """Key of the configuration that tells the script how far to train."""
        ...

    def metric_names(self) -> list[str]:
        """Keys that every report must have; the first is the objective."""
        ...

    def metric_mode(self) -> list[str]:
        """``"min"`` or ``"max"`` for each of :meth:`metric_names`."""
        ...

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        """What to run next, if a new trial would have the id ``trial_id``.

        None means: nothing now. The tuner asks again after the next event; if no trial is running then,
        the search is exhausted and the experiment ends.
        """
        ...

    def on_start(self, trial: Trial) -> None:
        """An attempt begins."""
        ...

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        """A report has arrived (in order, once)."""
        ...

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        """The attempt has ended."""
        ...

    def metadata(self) -> dict[str, Any]:
        """JSON-able facts for ``metadata.json``."""
        ...


@runtime_checkable
class HasRungLevels(Protocol):
    """A scheduler that pauses, stops or resumes trials at certain resource levels only."""

    def rung_levels(self) -> Sequence[int]:
        """Increasing levels, the maximum included. Trials need checkpoints at these alone."""
        ...


@runtime_checkable
class HasDrawnSeed(Protocol):
    """A scheduler whose seed, if it was drawn, may be replaced by that of the experiment which it continues."""

    @property
    def random_seed_given(self) -> bool:
        """Whether the seed was an argument; otherwise it was drawn from the operating system."""
        ...

    def reseed(self, random_seed: int) -> None:
        """Replaces the seed. Raises SpecError if a trial has been started already."""
        ...


#: Purposes that draw from generators of their own, so that adding a draw to one leaves the others as they are.
_STREAMS = {"suggest": 0, "bracket": 1, "shuffle": 2, "model": 3}


def generator(seed: int, *key: int, stream: str = "suggest") -> np.random.Generator:
    """A generator that is a function of ``seed``, ``stream`` and ``key`` (say trial and attempt) alone."""
    return np.random.default_rng(np.random.SeedSequence([seed, _STREAMS[stream], *key]))
