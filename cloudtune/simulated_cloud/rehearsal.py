"""What tuning would take and cost, found out by doing it in the simulated cloud, several times."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudtune import names
from cloudtune.clock import VirtualClock
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.errors import SpecError
from cloudtune.experiment import events as ev
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.paths import ExperimentPaths
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.sagemaker_backend.billing import Rate, instance_bill, job_bill, warm_pool_bill
from cloudtune.sagemaker_backend.ports import Cloud
from cloudtune.simulated_cloud.cloud import SimulatedCloud
from cloudtune.simulated_cloud.job_desk import REGION
from cloudtune.simulated_cloud.learning_curve import LearningCurve
from cloudtune.simulated_cloud.settings import CloudSettings
from cloudtune.simulated_cloud.trial_script import TrialScript
from cloudtune.stores import MemoryStore
from cloudtune.testing.scripted_world import Curve
from cloudtune.trial import Config
from cloudtune.tuner import Criterion, Tuner

_NAME = "rehearsal"
#: Key of the level in reports where the scheduler needs none.
_RESOURCE_ATTR = "epoch"


@dataclass(frozen=True)
class RehearsedRun:
    """One experiment that was played.

    Args:
        seed: Of the scheduler, the cloud and the problem.
        duration_s: From the start of the tuner to its end.
        usd: What the jobs of trials cost, instances kept warm included, and the tuner's own instance, if any.
        unpriced: Instance types whose price is not known, which are not in ``usd``.
        num_trials, num_jobs, num_reports: How many there were.
        highest_level: The highest resource level that any trial has reported.
        interruptions: Spot instances that were taken away.
        waiting_s: From the start of an attempt to the creation of its job: quota, rates. All attempts together.
        starting_s: Of jobs, from their creation to their instances. All jobs together.
    """

    seed: int
    duration_s: float
    usd: float
    unpriced: tuple[str, ...]
    num_trials: int
    num_jobs: int
    num_reports: int
    highest_level: int
    interruptions: int
    waiting_s: float
    starting_s: float


@dataclass(frozen=True)
class Rehearsal:
    """What came of it, run by run."""

    runs: tuple[RehearsedRun, ...]

    def table(self) -> Any:
        """Least, mean and most over the runs, as a rich Table."""
        from rich.table import Table

        table = Table(title=f"Rehearsal, {len(self.runs)} runs")
        table.add_column("")
        for title in ("least", "mean", "most"):
            table.add_column(title, justify="right")
        for label, key, show in _ROWS:
            values = [float(key(run)) for run in self.runs]
            shown = (min(values), sum(values) / len(values), max(values))
            table.add_row(label, *map(show, shown))
        unpriced = sorted({name for run in self.runs for name in run.unpriced})
        if unpriced:
            table.caption = f"Without {', '.join(unpriced)}, whose price is not known."
        return table

    def show(self) -> None:
        """Prints the table."""
        from rich.console import Console

        Console().print(self.table())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


_ROWS: tuple[tuple[str, Callable[[RehearsedRun], float], Callable[[float], str]], ...] = (
    ("duration", lambda run: run.duration_s, _duration),
    ("cost", lambda run: run.usd, lambda usd: f"${usd:,.2f}"),
    ("trials", lambda run: run.num_trials, _number),
    ("jobs", lambda run: run.num_jobs, _number),
    ("reports", lambda run: run.num_reports, _number),
    ("highest level", lambda run: run.highest_level, _number),
    ("spot interruptions", lambda run: run.interruptions, _number),
    ("wait of a job for quota", lambda run: run.waiting_s / max(1, run.num_jobs), _duration),
    ("start of a job", lambda run: run.starting_s / max(1, run.num_jobs), _duration),
)


def rehearse(  # noqa: PLR0913  what is tuned, and where
    make_backend: Callable[[Cloud], SageMakerBackend],
    make_scheduler: Callable[[int], Scheduler],
    stop_criterion: Criterion,
    n_workers: int,
    epoch_s: float | Callable[[Config], float],
    *,
    seeds: Sequence[int] = range(5),
    scenario: Scenario | str = "realistic",
    curve: Curve | None = None,
    tuner_instance: tuple[str, bool] | None = None,
    **tuner_options: Any,
) -> Rehearsal:
    """Plays an experiment in the simulated cloud, once with each seed. Nothing is sent anywhere, nothing is paid.

    Args:
        make_backend: The backend for a cloud: ``lambda cloud: SageMakerBackend(spec, ..., cloud=cloud)``.
        make_scheduler: A new scheduler for a seed. It must have a ``max_resource_attr``: rehearsed trials learn
            from it how far to train.
        stop_criterion, n_workers: As of the :class:`~cloudtune.tuner.Tuner`.
        epoch_s: Seconds of training per resource level, or a function that gives them for a configuration (which
            has ``st_instance_type`` as well).
        seeds: One run each.
        scenario: What the cloud is like; quotas are best said here.
        curve: What trials report; default: :class:`~cloudtune.simulated_cloud.learning_curve.LearningCurve`.
        tuner_instance: Type of the instance on which the tuner itself runs, and whether that is spot; None: it
            runs here. It is paid for until tuning ends; ``max_cost`` does not see it here.
        tuner_options: Further arguments of the Tuner.

    Raises:
        SpecError: The scheduler has no ``max_resource_attr``, or an argument makes no sense.
        TuningFailed: The criterion of the Tuner for failures was met.
    """
    runs = []
    for seed in seeds:
        scheduler = make_scheduler(seed)
        script = TrialScript(
            curve or LearningCurve(_space(scheduler), scheduler.metric_names(), scheduler.metric_mode(), seed),
            epoch_s,
            _max_resource_attr(scheduler),
            scheduler.resource_attr or _RESOURCE_ATTR,
        )
        cloud = SimulatedCloud(script, CloudSettings(scenario, seed))
        with _quietly():
            run = _run(seed, cloud, make_backend(cloud), scheduler, stop_criterion, n_workers, tuner_options)
        runs.append(run if tuner_instance is None else _with_tuner(run, *tuner_instance))
    return Rehearsal(tuple(runs))


def _space(scheduler: Scheduler) -> dict[str, Any]:
    return dict(getattr(scheduler, "config_space", {}))


def _max_resource_attr(scheduler: Scheduler) -> str:
    found = getattr(scheduler, "max_resource_attr", None)
    if not isinstance(found, str):
        raise SpecError(
            f"A rehearsal with {type(scheduler).__name__} cannot know how long trials are.",
            'Give the scheduler max_resource_attr="epochs", and config_space a constant of that name.',
        )
    return found


def _run(
    seed: int,
    cloud: SimulatedCloud,
    backend: SageMakerBackend,
    scheduler: Scheduler,
    stop_criterion: Criterion,
    n_workers: int,
    tuner_options: dict[str, Any],
) -> RehearsedRun:
    store, begin = MemoryStore(), cloud.clock.now()
    with tempfile.TemporaryDirectory(prefix="cloudtune-rehearsal-") as folder:
        tuner = Tuner(
            backend,
            scheduler,
            stop_criterion,
            n_workers,
            tuner_name=_NAME,
            suffix_tuner_name=False,
            save_tuner=False,
            resume=False,
            clock=cloud.clock,
            store=store,
            **tuner_options,
        )
        tuner.relocate(ExperimentPaths(Path(folder) / _NAME), store)
        tuner.run()
    duration_s = cloud.clock.now() - begin
    _let_end(cloud, cloud.clock)
    return _measure(seed, duration_s, cloud, store.read())


def _let_end(cloud: SimulatedCloud, clock: VirtualClock) -> None:
    """Until nothing costs anything any more."""
    while (instant := cloud.next_instant()) < float("inf"):
        clock.advance_to(instant)


def _measure(seed: int, duration_s: float, cloud: SimulatedCloud, events: Sequence[ev.Event]) -> RehearsedRun:
    statuses = cloud.statuses()
    now, usd, unpriced = cloud.clock.now(), 0.0, set()
    for status in statuses:
        rate = Rate.of(status.instance_type, status.instance_count or 1, bool(status.spot), REGION)
        if rate is None:
            unpriced.add(status.instance_type)
            continue
        warm = warm_pool_bill(status, rate, now)
        usd += job_bill(status, rate, now).usd + (warm.usd if warm is not None else 0.0)
    reports = [event for event in events if isinstance(event, ev.TrialReported)]
    created = {status.name: status.created for status in statuses}
    waits = [
        max(0.0, when - event.time)
        for event in events
        if isinstance(event, ev.TrialStarted)
        and (when := created.get(names.trial_job_name(_NAME, event.trial_id, event.attempt))) is not None
    ]
    starts = [
        status.started - status.created
        for status in statuses
        if status.started is not None and status.created is not None
    ]
    return RehearsedRun(
        seed=seed,
        duration_s=duration_s,
        usd=usd,
        unpriced=tuple(sorted(unpriced)),
        num_trials=len({event.trial_id for event in events if isinstance(event, ev.TrialStarted)}),
        num_jobs=len(statuses),
        num_reports=len(reports),
        highest_level=max((_level(event, cloud.resource_attr) for event in reports), default=0),
        interruptions=sum(job.attempt for job in cloud.all_jobs()),
        waiting_s=sum(waits),
        starting_s=sum(starts),
    )


def _with_tuner(run: RehearsedRun, instance_type: str, spot: bool) -> RehearsedRun:
    rate = Rate.of(instance_type, 1, spot, REGION)
    if rate is None:
        return replace(run, unpriced=tuple(sorted({*run.unpriced, instance_type})))
    return replace(run, usd=run.usd + instance_bill(rate, 0.0, run.duration_s).usd)


def _level(event: ev.TrialReported, resource_attr: str) -> int:
    return int(event.metrics.get(resource_attr, 0))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What the tuner warns of is of no interest: nothing of it is real."""
    logger = logging.getLogger("cloudtune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
