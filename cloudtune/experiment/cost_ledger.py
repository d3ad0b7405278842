"""What an experiment has cost, source by source, as far as it was measured."""

from __future__ import annotations

from dataclasses import dataclass

from cloudtune.experiment.events import CostMeasured


@dataclass
class _TrialCost:
    num_sources: int = 0
    usd: float = 0.0
    #: The part of it that is estimated, since its job runs still.
    estimated_usd: float = 0.0


class CostLedger:
    """Sums of the newest cost of each source. Noting one costs constant time."""

    def __init__(self) -> None:
        self._sources: dict[str, CostMeasured] = {}
        self._trials: dict[int, _TrialCost] = {}
        #: US dollars: everything, and the part that belongs to no trial.
        self.usd = 0.0
        self.other_usd = 0.0
        #: Seconds billed, of one instance for each source.
        self.billed_s = 0.0
        self._num_estimates = 0
        # Jobs of trials that have ended and cost something.
        self._num_jobs = 0
        self._jobs_usd = 0.0

    def note(self, event: CostMeasured) -> None:
        """``event`` replaces what was known of its source."""
        known = self._sources.get(event.source)
        if known is not None:
            self._count(known, -1)
        self._sources[event.source] = event
        self._count(event, 1)

    def _count(self, event: CostMeasured, sign: int) -> None:
        usd = sign * event.usd
        self.usd += usd
        self.billed_s += sign * event.billed_s
        self._num_estimates += 0 if event.final else sign
        if event.trial_id is None:
            self.other_usd += usd
            return
        trial = self._trials.setdefault(event.trial_id, _TrialCost())
        trial.num_sources += sign
        trial.usd += usd
        if not event.final:
            trial.estimated_usd += usd
        elif event.usd > 0:  # a job that has found no instance was no attempt
            self._num_jobs += sign
            self._jobs_usd += usd

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not self._sources

    @property
    def is_estimated(self) -> bool:
        """Whether some of it is not final."""
        return self._num_estimates > 0

    def of_trial(self, trial_id: int) -> float | None:
        """US dollars, over all its attempts; None if nothing was measured."""
        trial = self._trials.get(trial_id)
        return None if trial is None or trial.num_sources == 0 else trial.usd

    def expected_of_job(self) -> float:
        """The mean of the jobs of trials that have ended, US dollars; 0 if none has."""
        return self._jobs_usd / self._num_jobs if self._num_jobs else 0.0

    def expected_to_come(self, trial_id: int) -> float:
        """What the running job of a trial is expected to cost from now on, US dollars."""
        trial = self._trials.get(trial_id)
        return max(0.0, self.expected_of_job() - (0.0 if trial is None else trial.estimated_usd))
