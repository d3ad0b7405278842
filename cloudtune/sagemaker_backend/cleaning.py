"""What is not needed any more: checkpoints, reports."""

from __future__ import annotations

from cloudtune import names
from cloudtune.experiment.ports import AttemptKey
from cloudtune.sagemaker_backend.activity import Activity
from cloudtune.sagemaker_backend.desk import Desk

#: Checkpoints are deleted at once, and again after these times, seconds: a job that ends may upload once more.
_AGAIN_S = (30.0, 150.0)
#: Reports of ended jobs are removed a few at a time.
_BATCH = 50
_INTERVAL_S = 10.0


class Cleaner:
    """Deletes in its own time, and again what comes back."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._deleting = Activity("delete checkpoints")
        self._retiring = Activity("delete reports that are recorded", _INTERVAL_S)
        #: By trial: when its checkpoints are to be deleted, the next time first.
        self._doomed: dict[int, list[float]] = {}
        self._retired: list[str] = []

    @property
    def num_left(self) -> int:
        """Trials whose checkpoints are still there that were to go."""
        return sum(1 for times in self._doomed.values() if len(times) > len(_AGAIN_S))

    def delete_checkpoint(self, trial_id: int, now: float) -> None:
        self._doomed[trial_id] = [now, *(now + pause for pause in _AGAIN_S)]

    def retire(self, key: AttemptKey) -> None:
        """The end of the attempt is recorded for good."""
        self._retired.append(names.trial_label(key.trial_id, key.attempt, self._desk.last_job.get(key, 0)))

    def next_at(self) -> float:
        due = min((times[0] for times in self._doomed.values()), default=float("inf"))
        return max(due, self._deleting.next_at()) if self._doomed else due

    def step(self, now: float) -> None:
        due = [trial_id for trial_id, times in self._doomed.items() if times[0] <= now]
        if due and self._deleting.is_due(now):
            self._deleting.attempt(now, lambda: self._delete(due))
        if self._retired and self._retiring.is_due(now):
            self._retiring.attempt(now, lambda: self._delete_reports(_BATCH))

    def finish(self) -> None:
        """Before the session ends: what was to be deleted later is deleted now."""
        now = self._desk.clock.now()
        if self._doomed:
            self._deleting.attempt(now, lambda: self._desk.files.delete_checkpoints(list(self._doomed)))
        if self._retired:
            self._retiring.attempt(now, lambda: self._delete_reports(len(self._retired)))

    def _delete(self, trial_ids: list[int]) -> None:
        self._desk.files.delete_checkpoints(trial_ids)
        for trial_id in trial_ids:
            del self._doomed[trial_id][0]
            if not self._doomed[trial_id]:
                del self._doomed[trial_id]

    def _delete_reports(self, count: int) -> None:
        labels = self._retired[:count]
        self._desk.files.delete_reports(labels)
        del self._retired[: len(labels)]
