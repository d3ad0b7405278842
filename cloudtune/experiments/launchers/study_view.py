"""Shows a study while its jobs run: a table in a terminal, plain lines in a log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.clock import Clock
from cloudtune.errors import AwsError, CloudtuneError, NotFound
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.launchers.launch_plan import PlannedExperiment
from cloudtune.experiments.loading import load_experiments

logger = logging.getLogger(__name__)

#: Rows of the table; running jobs come first.
_MAX_ROWS = 24


class StudyView:
    """Waits for the jobs of a study.

    Args:
        tag: The study.
        experiments: Of the study.
        jobs: Job name of each experiment.
        session: Where they are.
        clock: For pauses.
        interval_s: Seconds between two looks.
        console: Where it is shown.
    """

    def __init__(
        self,
        tag: str,
        experiments: Sequence[PlannedExperiment],
        jobs: dict[str, str],
        session: AwsSession,
        clock: Clock,
        interval_s: float,
        console: Console,
    ) -> None:
        self._tag = tag
        self._experiments = list(experiments)
        self._jobs = jobs
        self._session = session
        self._clock = clock
        self._interval_s = interval_s
        self._console = console
        self._results: dict[str, ExperimentResult] = {}
        self._statuses: dict[str, JobStatus] = {}
        self._begin = clock.now()

    def wait(self, training_jobs: TrainingJobs) -> dict[str, JobStatus]:
        """Returns the status of each job, by experiment, when all have ended.

        A call to AWS that fails is logged and repeated: jobs run on without us.
        """
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False, transient=True) as live:
                return self._loop(training_jobs, lambda: live.update(self._table(), refresh=True))
        said = ""

        def say() -> None:
            nonlocal said
            line = self._line()
            if line != said:
                said = line
                self._console.print(f"[{self._clock.now() - self._begin:6.0f} s] {line}", highlight=False)

        return self._loop(training_jobs, say)

    def _loop(self, training_jobs: TrainingJobs, show: Callable[[], None]) -> dict[str, JobStatus]:
        while True:
            try:
                by_job = training_jobs.statuses(list(self._jobs.values()))
                self._statuses = {name: by_job[job] for name, job in self._jobs.items() if job in by_job}
                self._load()
            except AwsError as error:
                logger.warning("AWS does not answer now; looking again soon. %s", error.message)
            show()
            if len(self._statuses) == len(self._jobs) and all(s.state.is_final for s in self._statuses.values()):
                return self._statuses
            self._clock.sleep(self._interval_s)

    def _load(self) -> None:
        try:
            loaded = load_experiments(self._tag, session=self._session)
        except NotFound:
            return
        except CloudtuneError as error:
            logger.debug("Results cannot be read now: %s", error)
            return
        self._results = {experiment.name: experiment for experiment in loaded}

    def _line(self) -> str:
        states = [status.state for status in self._statuses.values()]
        running = [s for s in self._statuses.values() if s.phase == "Training"]
        reports = sum(result.num_reports for result in self._results.values())
        failed = sum(state is JobState.failed for state in states)
        text = (
            f"{sum(s.is_final for s in states)} of {len(self._jobs)} jobs ended, {len(running)} training, "
            f"{reports} reports"
        )
        best = self._best_overall()
        return text + (f", best {best}" if best else "") + (f", {failed} FAILED" if failed else "")

    def _best_overall(self) -> str:
        values = [(value, name) for name in self._results if (value := self._best(name)) is not None]
        if not values:
            return ""
        metric = next(iter(self._results.values()))
        chosen = max(values) if metric.mode_of(0) == "max" else min(values)
        return f"{metric.metric_name(0)} {chosen[0]:.4g} ({chosen[1]})"

    def _best(self, name: str) -> float | None:
        result = self._results.get(name)
        if result is None or result.num_reports == 0:
            return None
        column = result.results[result.metric_name(0)]
        return float(column.max() if result.mode_of(0) == "max" else column.min())

    def _table(self) -> Table:
        table = Table(title=f"{self._tag}: {self._line()}", title_justify="left")
        for heading, justify in (("method", "left"), ("seed", "right"), ("job", "left"), ("trials", "right")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        table.add_column("reports", justify="right")
        table.add_column("best", justify="right")
        for experiment in sorted(self._experiments, key=self._rank)[:_MAX_ROWS]:
            status = self._statuses.get(experiment.name)
            result = self._results.get(experiment.name)
            best = self._best(experiment.name)
            table.add_row(
                experiment.method,
                str(experiment.seed),
                "not listed yet" if status is None else f"{status.state} {status.phase}",
                str(result.num_trials) if result else "",
                str(result.num_reports) if result else "",
                "" if best is None else f"{best:.4g}",
            )
        return table

    def _rank(self, experiment: PlannedExperiment) -> int:
        status = self._statuses.get(experiment.name)
        if status is None:
            return 2
        return {"Training": 0, "Failed": 1, "Completed": 3}.get(status.phase, 2)


def show_comparison(experiments: Sequence[ExperimentResult], folder: Path, console: Console) -> Path | None:
    """Prints the table that compares the methods of a study and draws the picture; returns the picture's path."""
    from cloudtune.experiments.comparison import compare_methods

    comparison = compare_methods(experiments)
    comparison.print(console)
    return comparison.plot(folder / "comparison.png")
