"""Sees what is really done, and notes what no tuner may do."""

from __future__ import annotations

from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.simulated_cloud.trial_process import TrialProcess
from cloudtune.simulated_cloud.trial_script import TrialOrder
from cloudtune.testing.world import Launch


class Witness:
    """Of all jobs of trials."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.launches: list[Launch] = []
        #: Jobs of each trial, in the order of their creation.
        self._jobs: dict[str, list[tuple[TrialOrder, TrainingJob]]] = {}
        self._by_label: dict[tuple[str, str], TrainingJob] = {}
        self._processes: dict[str, list[TrialProcess]] = {}
        self._by_attempt: dict[tuple[int, int], list[TrialProcess]] = {}

    def created(self, order: TrialOrder, job: TrainingJob) -> None:
        """A job of a trial exists."""
        known = self._jobs.setdefault(_trial(order), [])
        for earlier, other in known:
            if not other.status.is_terminal:
                self._note(f"{order.job} was created while {earlier.job} of the same trial has not ended")
            if earlier.attempt > order.attempt:
                self._note(f"{order.job} was created after {earlier.job}, of a later attempt")
        known.append((order, job))
        self._by_label[order.reports_root, order.label] = job

    def launched(self, process: TrialProcess) -> None:
        """A script has begun."""
        order = process.order
        self.launches.append(Launch(order.trial_id, order.attempt, process.from_level, process.max_level))
        known = self._processes.setdefault(_trial(order), [])
        for other in known:
            if other.ended is None:
                self._note(f"{order.job} runs while {other.order.job} of the same trial does")
            if other.order.attempt == order.attempt and other.order.job != order.job:
                self._note(f"{order.job} runs the attempt that {other.order.job} has run already")
        known.append(process)
        self._by_attempt.setdefault((order.trial_id, order.attempt), []).append(process)

    def checkpoints_go(self, folder: str) -> None:
        """The tuner deletes or replaces a trial's checkpoints."""
        for earlier, job in self._jobs.get(folder, []):
            if job.status.value == "InProgress":
                self._note(f"the checkpoints of {earlier.job} were deleted or replaced while it runs")

    def reports_go(self, reports_root: str, label: str) -> None:
        """The tuner deletes a job's reports."""
        job = self._by_label.get((reports_root, label))
        if job is not None and not job.status.is_terminal:
            self._note(f"the reports of {job.name} were deleted while it runs")

    def processes(self, trial_id: int, attempt: int) -> list[TrialProcess]:
        """All runs of all jobs of the attempt."""
        return self._by_attempt.get((trial_id, attempt), [])

    def _note(self, what: str) -> None:
        self.violations.append(what)


def _trial(order: TrialOrder) -> str:
    """What no two trials share."""
    return order.checkpoints or f"{order.reports_root}/{order.trial_id}"
