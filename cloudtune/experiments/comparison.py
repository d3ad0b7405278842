"""Methods side by side: interquartile mean over seeds of the best value so far against wall-clock time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudtune.constants import ST_TUNER_TIME
from cloudtune.errors import NotFound, SpecError
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.experiments.retries import replaced_names
from cloudtune.results import figures
from cloudtune.results.statistics import (
    Floats,
    best_so_far,
    bootstrap_band,
    carried_forward,
    interquartile_mean,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

_NUM_RESAMPLES = 1000
_CONFIDENCE = 0.95
_ANY_WIDTH = 10_000
#: Metadata in which the experiments of a fair comparison do not differ.
_ALIKE = ("max_wallclock_time", "n_workers", "num_gpus_per_trial", "instance_type")
#: From which part of the time on means, and bands, must fit into the picture.
_EARLY, _LATE = 0.04, 0.2


@dataclass(frozen=True)
class MethodCurve:
    """One method over its seeds. Arrays run over :attr:`Comparison.times`; NaN until each seed has a report."""

    method: str
    #: Seeds with results, and those without.
    seeds: tuple[Any, ...]
    without_results: tuple[Any, ...]
    num_running: int
    iqm: Floats
    #: Bounds of the confidence band; NaN for a single seed, about which there is nothing to resample.
    low: Floats
    high: Floats
    #: Of all seeds.
    best: float
    num_trials: int
    num_reports: int

    @property
    def final(self) -> float:
        """IQM at the end; NaN without results."""
        return float(self.iqm[-1])


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare_methods`; methods come best first."""

    metric: str
    mode: str
    benchmark: str
    #: Seconds since each experiment began.
    times: Floats
    curves: tuple[MethodCurve, ...]
    #: Experiments that could not be compared, with the reason.
    left_out: dict[str, str] = field(default_factory=dict)
    #: What a reader of the table must know besides; one sentence each.
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> float:
        """What every method has reached in the end: the worst of the final means."""
        finals = [curve.final for curve in self.curves if np.isfinite(curve.final)]
        if not finals:
            return float("nan")
        return min(finals) if self.mode == "max" else max(finals)

    def time_to(self, curve: MethodCurve, target: float) -> float:
        """Seconds after which the mean of ``curve`` is at least as good as ``target``; NaN if never. Exact to the
        distance of two points in time."""
        reached = curve.iqm >= target if self.mode == "max" else curve.iqm <= target
        return float(self.times[np.argmax(reached)]) if reached.any() else float("nan")

    def frame(self) -> pd.DataFrame:
        """Long form: ``method, num_seeds, time, iqm, low, high``; ``time`` in seconds."""
        import pandas as pd

        parts = [
            pd.DataFrame(
                {
                    "method": curve.method,
                    "num_seeds": len(curve.seeds),
                    "time": self.times,
                    "iqm": curve.iqm,
                    "low": curve.low,
                    "high": curve.high,
                }
            )
            for curve in self.curves
        ]
        table: pd.DataFrame = pd.concat(parts, ignore_index=True)
        return table

    def table(self, essential: bool = False) -> Table:
        """For a terminal; one line a method. ``essential``: for a narrow one."""
        from rich import box
        from rich.table import Table

        goal = "lower" if self.mode == "min" else "higher"
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=0,
            show_edge=False,
            title=f"{_title(self)} ({goal} is better)",
            title_justify="left",
        )
        table.add_column("method", no_wrap=True, overflow="ellipsis")
        columns = ["seeds", "final\nIQM"]
        if not essential:
            columns += ["95 %\ninterval", "best\nseen", "trials", "reports"]
            columns += [f"time to\n{self.target:.4g}"] if np.isfinite(self.target) else []
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        for position, curve in enumerate(self.curves):
            cells = [
                curve.method,
                _seeds(curve),
                _number(curve.final),
                "-" if np.isnan(curve.low[-1]) else f"{curve.low[-1]:.4g}–{curve.high[-1]:.4g}",
                _number(curve.best),
                str(curve.num_trials),
                str(curve.num_reports),
                _seconds(self.time_to(curve, self.target)),
            ]
            best = position == 0 and np.isfinite(curve.final)
            table.add_row(*cells[: len(table.columns)], style="bold" if best else None)
        return table

    def print(self, console: Console | None = None) -> None:
        """Prints :meth:`table`, and what was left out."""
        from rich.console import Console

        console = console or Console()
        table = self.table()
        widest = console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum
        console.print(table if widest <= console.width else self.table(essential=True))
        left_out = [f"{name} is not in the comparison: {reason}." for name, reason in self.left_out.items()]
        for text in (*self.notes, *left_out):
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    def plot(self, path: str | Path | None = None, title: str | None = None) -> Path | None:
        """Writes a picture to ``path`` (``.png``, ``.pdf``, ``.svg``) and returns it; shows it without a path.

        Raises:
            NotFound: No method has results yet.
        """
        drawn = [curve for curve in self.curves if np.isfinite(curve.iqm).any()]
        if not drawn:
            raise NotFound("No method has results yet.", "Try again when trials have reported.")
        with figures.figure(path, (8.5, 5.2)) as axes:
            length = figures.time_axis(axes, float(self.times[-1]))
            # By name, so that a method keeps its colour when ranks change.
            styles = dict(zip(sorted(curve.method for curve in drawn), figures.styles(len(drawn)), strict=True))
            for curve in drawn:
                colour, dashes = styles[curve.method]
                line: dict[str, Any] = {"color": colour, "linestyle": dashes, "label": _label(curve)}
                axes.plot(self.times / length, curve.iqm, linewidth=2.2, **line)
                area: dict[str, Any] = {"color": colour, "alpha": 0.16, "linewidth": 0}
                axes.fill_between(self.times / length, curve.low, curve.high, **area)
            early, late = self.times >= _EARLY * self.times[-1], self.times >= _LATE * self.times[-1]
            bands = [part[late] for curve in drawn for part in (curve.low, curve.high)]
            figures.focus(axes, [*(curve.iqm[early] for curve in drawn), *bands])
            axes.set_ylabel(f"best {self.metric} so far")
            axes.set_title(title or _title(self), fontsize=12, loc="left")
            banded = any(np.isfinite(curve.low).any() for curve in drawn)
            axes.legend(
                frameon=False,
                fontsize=9,
                loc="upper right" if self.mode == "min" else "lower right",
                title=f"interquartile mean{', 95 % band' if banded else ''}",
                title_fontsize=8,
                alignment="left",
            )
        return None if path is None else Path(path)


def compare_methods(
    experiments: Iterable[ExperimentResult],
    *,
    metric: str | None = None,
    mode: str | None = None,
    num_points: int = 400,
    seed: int = 0,
) -> Comparison:
    """Compares methods over seeds. Works on experiments that still run: their last values are carried forward. Of
    an experiment that a launcher has run anew after an error, the last run counts.

    Args:
        experiments: Of one benchmark. The method is ``metadata["algorithm"]`` (else the scheduler's name), the
            seed ``metadata["seed"]``.
        metric: Default: the objective of the experiments.
        mode: ``"min"`` or ``"max"``; default: as the experiments have it.
        num_points: Points in time.
        seed: Of the bootstrap.

    Raises:
        SpecError: Experiments that do not belong together, or an unknown metric.
        NotFound: There are no experiments.
    """
    everything = list(experiments)
    replaced = replaced_names(experiment.name for experiment in everything)
    given = [experiment for experiment in everything if experiment.name not in replaced]
    if not given:
        raise NotFound("There are no experiments to compare.", "Check the tag that they were launched with.")
    if num_points < 2:
        raise SpecError(f"compare_methods(num_points={num_points}) must be at least 2.", "The default is 400.")
    benchmark = _common(
        given, "benchmark", [str(e.metadata.get("benchmark") or e.entrypoint_name()) for e in given]
    )
    chosen_metric = _choose_metric(given, metric)
    chosen_mode = mode or _common(
        given, "mode", [e.mode_of(chosen_metric) for e in given if e.metric_names()] or ["min"]
    )
    if chosen_mode not in ("min", "max"):
        raise SpecError(f"compare_methods(mode={mode!r}) is not valid.", "Use 'min' or 'max'.")
    end = max(experiment.wallclock_time for experiment in given)
    times = np.linspace(0.0, end if end > 0 else 1.0, num_points)
    groups: dict[str, list[ExperimentResult]] = {}
    for experiment in sorted(given, key=lambda e: e.name):
        groups.setdefault(method_of(experiment), []).append(experiment)
    curves = [_curve(method, group, chosen_metric, chosen_mode, times, seed) for method, group in groups.items()]
    curves.sort(key=lambda c: (np.isnan(c.final), c.final if chosen_mode == "min" else -c.final, c.method))
    left_out = {name: f"it was run anew as {last}" for name, last in sorted(replaced.items())}
    left_out |= {e.name: _why_empty(e) for e in given if not _has_results(e, chosen_metric)}
    return Comparison(chosen_metric, chosen_mode, benchmark, times, tuple(curves), left_out, _notes(given))


def method_of(experiment: ExperimentResult) -> str:
    """The method that an experiment belongs to."""
    metadata = experiment.metadata
    return str(metadata.get("algorithm") or metadata.get("scheduler_name") or experiment.name)


def _common(experiments: Sequence[ExperimentResult], what: str, values: Sequence[str]) -> str:
    distinct = sorted(set(values))
    if len(distinct) > 1:
        raise SpecError(
            f"These {len(experiments)} experiments differ in their {what}: {', '.join(distinct)}.",
            f"Compare those of one {what} at a time; experiment_filter of load_experiments chooses.",
        )
    return distinct[0]


def _choose_metric(experiments: Sequence[ExperimentResult], metric: str | None) -> str:
    known = [e for e in experiments if e.metric_names()]
    if metric is None:
        if not known:
            raise SpecError("These experiments have no metadata that name a metric.", "Pass metric=...")
        return _common(experiments, "metric", [e.metric_names()[0] for e in known])
    columns = {name for e in experiments for name in (*e.metric_names(), *e.results.columns)}
    if metric not in columns:
        names = sorted({name for e in known for name in e.metric_names()})
        raise SpecError(f"There is no metric {metric!r} in these experiments.", f"They have {', '.join(names)}.")
    return metric


def _has_results(experiment: ExperimentResult, metric: str) -> bool:
    return len(_best_curve(experiment, metric, "min")[0]) > 0


def _best_curve(experiment: ExperimentResult, metric: str, mode: str) -> tuple[Floats, Floats]:
    import pandas as pd

    frame = experiment.results
    if metric not in frame or len(frame) == 0:
        return np.empty(0), np.empty(0)
    return best_so_far(frame[ST_TUNER_TIME], pd.to_numeric(frame[metric], errors="coerce"), mode)


def _curve(
    method: str, group: Sequence[ExperimentResult], metric: str, mode: str, times: Floats, seed: int
) -> MethodCurve:
    found = [(experiment, _best_curve(experiment, metric, mode)) for experiment in group]
    useful = [(experiment, curve) for experiment, curve in found if len(curve[0])]
    nothing = np.full(len(times), np.nan)
    iqm, low, high = nothing, nothing, nothing
    if useful:
        table = np.stack([carried_forward(*curve, times) for _, curve in useful])
        begin = int(np.isnan(table).any(axis=0).sum())  # NaN come first, hence this many
        with np.errstate(invalid="ignore"):
            iqm = np.concatenate([nothing[:begin], interquartile_mean(table[:, begin:])])
        if len(useful) > 1 and begin < len(times):
            # Keyed by the method: another one more or less changes nothing here.
            rng = np.random.default_rng([seed, zlib.crc32(method.encode())])
            with np.errstate(invalid="ignore"):  # among infinite values some bounds are not defined: NaN
                bounds = bootstrap_band(table[:, begin:], rng, _NUM_RESAMPLES, _CONFIDENCE)
            low, high = (np.concatenate([nothing[:begin], bound]) for bound in bounds)
    finals = [curve[1][-1] for _, curve in useful]
    return MethodCurve(
        method=method,
        seeds=tuple(_seed_of(e) for e, _ in useful),
        without_results=tuple(_seed_of(e) for e, curve in found if not len(curve[0])),
        num_running=sum(not e.ended for e in group),
        iqm=iqm,
        low=low,
        high=high,
        best=float("nan") if not finals else float(max(finals) if mode == "max" else min(finals)),
        num_trials=sum(e.num_trials for e in group),
        num_reports=sum(e.num_reports for e in group),
    )


def _notes(experiments: Sequence[ExperimentResult]) -> tuple[str, ...]:
    running = sum(not e.ended for e in experiments)
    interruptions = sum(e.num_interruptions for e in experiments)
    notes = []
    if running:
        notes.append(f"Not ended: {running} of {len(experiments)}; their last values are carried forward.")
    if interruptions:
        notes.append(f"Interrupted and continued where they were: {interruptions} times in all.")
    for key in _ALIKE:
        values = sorted({str(e.metadata[key]) for e in experiments if key in e.metadata})
        if len(values) > 1:
            notes.append(f"Not alike, so judge with care: {key} is {' or '.join(values)}.")
    notes += [f"{e.name} ended early: {_first_line(e.error)}" for e in experiments if e.error]
    return tuple(notes)


def _why_empty(experiment: ExperimentResult) -> str:
    return "it has no results" if experiment.ended else "no results yet"


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _seed_of(experiment: ExperimentResult) -> Any:
    return experiment.metadata.get("seed", experiment.name)


def _title(comparison: Comparison) -> str:
    return f"{comparison.benchmark}: {comparison.metric}" if comparison.benchmark else comparison.metric


def _seeds(curve: MethodCurve) -> str:
    """``10``, or ``8 of 10`` where some have no results."""
    total = len(curve.seeds) + len(curve.without_results)
    return str(total) if total == len(curve.seeds) else f"{len(curve.seeds)} of {total}"


def _label(curve: MethodCurve) -> str:
    seeds = f"{_seeds(curve)} seed{'s' if _seeds(curve) != '1' else ''}"
    return f"{curve.method} ({seeds}{f', {curve.num_running} not ended' if curve.num_running else ''})"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"


def _seconds(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
