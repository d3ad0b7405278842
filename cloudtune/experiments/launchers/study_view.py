"""Shows a study while its jobs run: tables that refresh in a terminal, plain lines in a log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cloudtune.aws.job_status import JobStatus
from cloudtune.clock import Clock
from cloudtune.errors import AwsError, StoreError
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.launchers.launch_plan import PlannedExperiment
from cloudtune.experiments.launchers.study_progress import (
    ExperimentProgress,
    Stage,
    StudyProgress,
    study_progress,
)
from cloudtune.experiments.loading import read_experiment
from cloudtune.experiments.s3_experiments import S3Experiments, has_ended
from cloudtune.paths import experiments_root

if TYPE_CHECKING:
    from cloudtune.aws.session import AwsSession
    from cloudtune.aws.training_jobs import TrainingJobs

logger = logging.getLogger(__name__)

_MAX_ROWS = 12
#: Width below which counts are left out.
_NARROW = 74
_MAX_FAILURES = 3
#: Seconds between two lines of a log in which no job has ended.
_LINE_INTERVAL_S = 30.0


@dataclass(frozen=True)
class WatchedStudy:
    """What is waited for.

    Args:
        tag: The study.
        experiments: Of the study.
        jobs: Job name of each experiment.
        limit_s: Seconds that each experiment tunes.
        bucket: Where their results are.
        why_waiting: For people: what a job that does not train yet waits for.
    """

    tag: str
    experiments: Sequence[PlannedExperiment]
    jobs: Mapping[str, str]
    limit_s: float
    bucket: str
    why_waiting: str


class StudyView:
    """Waits for the jobs of a study.

    Args:
        study: What is waited for.
        session: Where its jobs are.
        clock: For pauses.
        interval_s: Seconds between two looks.
        console: Where it is shown.
    """

    def __init__(
        self, study: WatchedStudy, session: AwsSession, clock: Clock, interval_s: float, console: Console
    ) -> None:
        self._study = study
        self._session = session
        self._clock = clock
        self._interval_s = interval_s
        self._console = console
        self._results: dict[str, ExperimentResult] = {}
        self._statuses: dict[str, JobStatus] = {}
        self._source: S3Experiments | None = None
        self._most_training = 0
        self._begin = clock.now()
        self._trouble = ""

    def wait(self, training_jobs: TrainingJobs) -> dict[str, JobStatus]:
        """Returns the status of each job, by experiment, when all have ended.

        A call to AWS that fails is logged (once) and repeated: jobs run on without us.
        """
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            with Live(console=self._console, auto_refresh=False, transient=True) as live:
                return self._loop(
                    training_jobs,
                    lambda progress: live.update(
                        render(
                            self._study.tag,
                            progress,
                            self._elapsed(),
                            self._study.why_waiting,
                            self._console.width,
                        ),
                        refresh=True,
                    ),
                )
        log = _Log(self._print, self._study.why_waiting)
        return self._loop(training_jobs, lambda progress: log.show(progress, self._elapsed()))

    def _loop(self, training_jobs: TrainingJobs, show: Callable[[StudyProgress], None]) -> dict[str, JobStatus]:
        while True:
            try:
                by_job = training_jobs.statuses(list(self._study.jobs.values()))
                self._statuses |= {name: by_job[job] for name, job in self._study.jobs.items() if job in by_job}
                self._load()
                self._trouble = ""
            except AwsError as error:
                if error.message != self._trouble:
                    self._trouble = error.message
                    logger.warning("AWS does not answer as it should; looking again soon. %s", error.message)
            show(self._progress())
            if len(self._statuses) == len(self._study.jobs) and all(
                s.state.is_final for s in self._statuses.values()
            ):
                return self._statuses
            self._clock.sleep(self._interval_s)

    def _load(self) -> None:
        """Fetches and reads the experiments that were not over when they were last read."""
        mine = {e.name for e in self._study.experiments}
        mine -= {name for name, result in self._results.items() if result.ended and result.num_reports}
        parent = experiments_root() / self._study.tag
        if self._source is None:
            self._source = S3Experiments(self._session, self._study.bucket)
        located = [item for item in self._source.experiments(self._study.tag) if item.name in mine]
        wanted = [item for item in located if not has_ended(parent / item.name)]
        self._source.fetch_many(wanted, parent, load_tuner=False)
        for item in located:
            try:
                result = read_experiment(parent / item.name)
            except StoreError as error:
                logger.debug("%s cannot be read now: %s", item.name, error)
                continue
            if result.metadata:  # else nothing has been written yet
                self._results[item.name] = result

    def _progress(self) -> StudyProgress:
        progress = study_progress(
            self._study.experiments, self._statuses, self._results, self._study.limit_s, self._most_training
        )
        self._most_training = progress.most_training
        return progress

    def _elapsed(self) -> float:
        return self._clock.now() - self._begin

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Log:
    """Lines for a log: each job that has ended, and now and then where the study stands."""

    def __init__(self, write: Callable[[str], None], why_waiting: str) -> None:
        self._write = write
        self._why_waiting = why_waiting
        self._told: set[str] | None = None
        self._interruptions: dict[str, int] = {}
        self._line_at = float("-inf")

    def show(self, progress: StudyProgress, elapsed_s: float) -> None:
        ended = [*progress.at(Stage.completed), *progress.at(Stage.failed)]
        if self._told is None:  # what was so before we came is no news
            self._told = {e.experiment.name for e in progress.at(Stage.completed)}
            self._interruptions = {e.experiment.name: e.num_interruptions for e in progress.experiments}
        for experiment in progress.experiments:
            if experiment.num_interruptions > self._interruptions[experiment.experiment.name]:
                self._interruptions[experiment.experiment.name] = experiment.num_interruptions
                self._write(
                    f"[{duration(elapsed_s)}] {experiment.label} was interrupted and continues, with "
                    f"{experiment.num_trials} trials and {experiment.num_reports} reports"
                )
        for experiment in ended:
            if experiment.experiment.name not in self._told:
                self._told.add(experiment.experiment.name)
                self._write(f"[{duration(elapsed_s)}] {_end_of(experiment, progress.metric)}")
        if elapsed_s - self._line_at >= _LINE_INTERVAL_S or progress.num_done == len(progress.experiments):
            self._line_at = elapsed_s
            self._write(f"[{duration(elapsed_s)}] {summary(progress)}")
            if self._why_waiting and progress.stages[Stage.waiting] and elapsed_s < _LINE_INTERVAL_S:
                self._write(f"[{duration(elapsed_s)}] Waiting: {_waiting(progress, self._why_waiting)}")


def summary(progress: StudyProgress) -> str:
    """One line: ``4 of 30 jobs done, 1 training, 25 waiting, 812 reports; about 6:20 to go; best ...``."""
    parts = [f"{progress.num_done} of {len(progress.experiments)} jobs done"]
    if progress.stages[Stage.failed]:
        parts[0] += f" ({progress.stages[Stage.failed]} FAILED)"
    parts += [f"{progress.stages[s]} {s}" for s in (Stage.training, Stage.waiting) if progress.stages[s]]
    text = ", ".join([*parts, f"{progress.num_reports} reports"])
    remaining, best = progress.remaining_s(), progress.best()
    if remaining:
        text += f"; about {duration(remaining)} to go"
    if best is not None:
        text += f"; best {progress.metric} {best.best:.4g} ({best.label})"
    return text


def render(tag: str, progress: StudyProgress, elapsed_s: float, why_waiting: str, width: int = 80) -> Group:
    """The view in a terminal; a narrow one gets fewer columns, none of them cut."""
    is_narrow = width < _NARROW
    remaining = progress.remaining_s()
    head = Text.assemble((tag, "bold"), f"  {duration(elapsed_s)}")
    if remaining:
        head.append(f", about {duration(remaining)} to go")
    head.append(f"  {progress.num_done} of {len(progress.experiments)} jobs done")
    if progress.num_interruptions:
        head.append(f", interrupted and continued {progress.num_interruptions} times", "yellow")
    parts: list[Text | Table] = [head, _methods_table(progress, is_narrow)]
    training = progress.at(Stage.training)
    if training:
        parts += [Text(), _training_table(training, progress, is_narrow)]
    if progress.stages[Stage.waiting]:
        parts += [
            Text(),
            Text(f"{progress.stages[Stage.waiting]} waiting: {_waiting(progress, why_waiting)}", "yellow"),
        ]
    failed = progress.at(Stage.failed)
    for experiment in failed[:_MAX_FAILURES]:
        line = Text(_end_of(experiment, progress.metric), "red", no_wrap=True, overflow="ellipsis")
        parts.append(line)
    if len(failed) > _MAX_FAILURES:
        parts.append(Text(f"and {len(failed) - _MAX_FAILURES} more failed", "red"))
    parts.append(Text("Ctrl-C leaves the jobs running; the same command comes back to them.", "dim"))
    return Group(*parts)


def _methods_table(progress: StudyProgress, is_narrow: bool) -> Table:
    counts = ["jobs done"] if is_narrow else ["jobs done", "training", "waiting", "trials", "reports"]
    table = _table("method", *counts, "best" if is_narrow else f"best {progress.metric}".strip())
    best = progress.best()
    for method in progress.methods():
        done = method.stages.get(Stage.completed, 0)
        failed = method.stages.get(Stage.failed, 0)
        jobs = Text(f"{done}/{method.num_jobs}")
        if failed:
            jobs.append(f" {failed} failed", "red")
        is_best = best is not None and best.experiment.method == method.method
        numbers = (
            method.stages.get(Stage.training, 0),
            method.stages.get(Stage.waiting, 0),
            method.num_trials,
            method.num_reports,
        )
        best_text = Text("-" if method.best is None else f"{method.best:.4g}", "bold green" if is_best else "")
        table.add_row(method.method, jobs, *([] if is_narrow else map(_count, numbers)), best_text)
    return table


def _training_table(training: Sequence[ExperimentProgress], progress: StudyProgress, is_narrow: bool) -> Table:
    counts = [] if is_narrow else ["trials", "reports"]
    best = "best" if is_narrow else f"best {progress.metric}".strip()
    table = _table("now training", "seed", "time", *counts, best)
    for row in training[:_MAX_ROWS]:
        table.add_row(
            row.experiment.method,
            str(row.experiment.seed),
            f"{duration(row.elapsed_s)} / {duration(progress.limit_s)}",
            *([] if is_narrow else (_count(row.num_trials), _count(row.num_reports))),
            "-" if row.best is None else f"{row.best:.4g}",
        )
    if len(training) > _MAX_ROWS:
        table.add_row(f"and {len(training) - _MAX_ROWS} more")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _waiting(progress: StudyProgress, why: str) -> str:
    phases = ", ".join(f"{count} {phase}" for phase, count in progress.waiting_phases())
    return f"{why} ({phases})"


def _end_of(experiment: ExperimentProgress, metric: str) -> str:
    if experiment.stage is Stage.failed:
        status = experiment.status
        reason = (status.failure_reason or status.phase).strip() if status else ""
        first = next(iter(reason.splitlines()), "")
        return f"{experiment.label} {status.state.upper() if status else 'FAILED'}: {first}"
    best = "no report" if experiment.best is None else f"{metric} {experiment.best:.4g}"
    return (
        f"{experiment.label} completed: {best} ({experiment.num_trials} trials, {experiment.num_reports} reports)"
    )


def _count(number: int) -> str:
    return str(number) if number else "-"


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, secs = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
