"""Tuning as a person sees it: a table that refreshes in a terminal, single lines in a log."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtune.clock import Clock, WallClock
from cloudtune.trial import Config, Status
from cloudtune.tuning_status import MIN_SHOWN_COST, TrialRow, TuningStatus, as_number, dollars

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

_log = logging.getLogger(__name__)

_MAX_ROWS = 15
_MIN_BEST_ROWS = 5
#: Lines of the view that are not rows of the table.
_OVERHEAD = 9
_MAX_METRICS = 3
_NEW_BEST_INTERVAL_S = 1.0
#: Widths below which other metrics than the first, the hyperparameters, and all but the essential are left out.
_MEDIUM, _NARROW, _VERY_NARROW = 110, 72, 44
_LABELS = {
    Status.in_progress: ("running", "cyan"),
    Status.stopping: ("stopping", "yellow"),
    Status.paused: ("paused", "blue"),
    Status.completed: ("completed", "green"),
    Status.stopped: ("stopped", "dim"),
    Status.failed: ("failed", "red"),
    Status.interrupted: ("interrupted", "magenta"),
}

_WAITING = ("waiting", "cyan dim")

#: Trial, value of the first metric, configuration.
Best = tuple[int, float, Config]


class _Goal(NamedTuple):
    """What is tuned, as :meth:`LiveView.start` learnt it."""

    tuner_name: str
    metric_names: list[str]
    modes: list[str]
    n_workers: int
    max_wallclock_time: float | None
    max_cost: float | None

    def value(self, row: TrialRow) -> float | None:
        """The best value of the first metric that the trial has reported."""
        if not self.metric_names:
            return None
        found = row.metrics.max_metrics if self.modes[0] == "max" else row.metrics.min_metrics
        return found.get(self.metric_names[0])


class LiveView:
    """Shows how tuning goes, and never disturbs it: when the output goes away, the view falls silent.

    Args:
        console: Where to; default standard output.
        refresh_s: In a terminal, the table is redrawn at most this often (seconds).
        print_update_interval_s: In a log, seconds between two lines; a new best is announced besides, at most
            one a second.
        clock: Paces the output. What is shown is the experiment's own time.
    """

    def __init__(
        self,
        console: Console | None = None,
        refresh_s: float = 0.5,
        print_update_interval_s: float = 30,
        clock: Clock | None = None,
    ) -> None:
        self._given_console = console
        self._refresh_s = refresh_s
        self._interval_s = print_update_interval_s
        self._clock = clock or WallClock()
        self._live: Live | None = None
        self._console: Console | None = None
        self._goal: _Goal | None = None
        self._last: tuple[TuningStatus, Best | None, str] | None = None
        self._waiting: Collection[int] = ()
        self._drawn_at = self._line_at = self._best_at = float("-inf")
        self._announced: float | None = None
        self._note = self._summarised = ""

    def start(
        self,
        tuner_name: str,
        metric_names: Sequence[str],
        modes: Sequence[str],
        n_workers: int,
        max_wallclock_time: float | None = None,
        max_cost: float | None = None,
        preface: str = "",
    ) -> None:
        """Tuning begins. ``preface`` is said before anything else."""
        from rich.console import Console
        from rich.live import Live

        self.stop()
        self._goal = _Goal(tuner_name, list(metric_names), list(modes), n_workers, max_wallclock_time, max_cost)
        self._last, self._announced, self._note, self._summarised = None, None, "", ""
        self._drawn_at = self._best_at = float("-inf")
        self._line_at = self._clock.now()
        console = self._console = self._given_console or Console()
        if preface:
            self._line(preface)
        if console.is_terminal and not console.is_dumb_terminal and not console.is_jupyter:
            live = self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
            self._guarded(live.start)
        else:
            self._line(f"Tuning {tuner_name} with {n_workers} workers.")

    def update(
        self, status: TuningStatus, best: Best | None, note: str = "", waiting: Collection[int] = ()
    ) -> None:
        """Something has happened, or time has passed. May be called as often as one likes.

        Args:
            status: Where tuning stands.
            best: Trial, value and configuration of the best report so far.
            note: For people, such as why tuning ends; in a log it is printed once.
            waiting: Trials that have been started and for which no machine runs yet.
        """
        self._last, self._waiting = (status, best, note), waiting
        if self._console is None:
            return
        now = self._clock.now()
        if self._live is not None:
            if now - self._drawn_at >= self._refresh_s or note != self._note:
                self._drawn_at, self._note = now, note
                self._draw()
            return
        if note and note != self._note:
            self._note = note
            self._line(f"[{_duration(status.wallclock_time)}] {note}")
        self._announce_best(status, best, now)
        if now - self._line_at >= self._interval_s:
            self._line_at = now
            self._summarise(status, best)

    def stop(self) -> None:
        """Shows the last state and lets go of the terminal. May be called twice."""
        if self._console is None:
            return
        if self._live is not None:
            if self._last is not None:
                self._draw(with_note=False)
            if self._live is not None:
                self._guarded(self._live.stop)
            if self._last is not None and self._last[2]:
                self._line(self._last[2])  # with the folder of results: in full, however long
        elif self._last is not None:
            status, best, _ = self._last
            self._announce_best(status, best, float("inf"))
            self._summarise(status, best)
        self._live = self._console = None

    def _guarded(self, write: Callable[[], object]) -> None:
        """Output may vanish (closed pipe, closed terminal, an encoding that lacks a character): tuning goes on.
        rich ends the program upon a broken pipe, hence SystemExit."""
        try:
            write()
        except (OSError, ValueError, SystemExit) as error:
            _log.debug("The live view fell silent: %r", error)
            self._live = self._console = None

    def _draw(self, with_note: bool = True) -> None:
        live, console, goal, last = self._live, self._console, self._goal, self._last
        if live is not None and console is not None and goal is not None and last is not None:
            size = console.size
            status, best, note = last
            shown = note if with_note else ""
            view = _view(goal, status, best, shown, self._waiting, width=size.width, height=size.height)
            self._guarded(lambda: live.update(view, refresh=True))

    def _line(self, text: str) -> None:
        console = self._console
        if console is not None:
            self._guarded(lambda: console.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False))

    def _announce_best(self, status: TuningStatus, best: Best | None, now: float) -> None:
        if best is None or best[1] == self._announced or now - self._best_at < _NEW_BEST_INTERVAL_S:
            return
        self._best_at, self._announced = now, best[1]
        self._line(
            f"[{_duration(status.wallclock_time)}] new best {self._metric()} = {_number(best[1])} "
            f"(trial {best[0]}: {_settings(best[2])})"
        )

    def _summarise(self, status: TuningStatus, best: Best | None) -> None:
        summary = self._summary(status, best)
        if summary != self._summarised:
            self._summarised = summary
            self._line(summary)

    def _metric(self) -> str:
        return self._goal.metric_names[0] if self._goal and self._goal.metric_names else "value"

    def _summary(self, status: TuningStatus, best: Best | None) -> str:
        workers = self._goal.n_workers if self._goal else 0
        parts = [f"{status.num_trials_running}/{workers} workers busy{_of_them(self._waiting)}", _counts(status)]
        if best is not None:
            parts.append(f"best {self._metric()} = {_number(best[1])} (trial {best[0]})")
        if status.cost >= MIN_SHOWN_COST:
            parts.append(_cost(status, self._goal.max_cost if self._goal else None))
        limit = self._goal.max_wallclock_time if self._goal else None
        return f"[{_elapsed(status, limit)}] {', '.join(parts)}"


def _of_them(waiting: Collection[int]) -> str:
    return f" ({len(waiting)} waiting)" if waiting else ""


def _counts(status: TuningStatus) -> str:
    """``12 trials: 6 finished (1 failed), 2 paused, 120 reports``; a trial that failed has finished."""
    shown = f"{status.num_trials_started} trials: {status.num_trials_finished} finished"
    if status.num_trials_failed:
        shown += f" ({status.num_trials_failed} failed)"
    if status.num_trials_paused:
        shown += f", {status.num_trials_paused} paused"
    if status.num_trials_interrupted:
        shown += f", {status.num_trials_interrupted} interrupted"
    return f"{shown}, {status.num_reports} reports"


def _cost(status: TuningStatus, limit: float | None) -> str:
    """``$1.20 of $5.00 (other than trials: $0.30)``; a tilde before what is not as billed."""
    shown = f"{'~' if status.costs.is_estimated else ''}{dollars(status.cost)}"
    if limit is not None:
        shown += f" of {dollars(limit)}"
    other = status.costs.other_usd
    return f"{shown} (other than trials: {dollars(other)})" if other >= MIN_SHOWN_COST else shown


def _duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, secs = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def _elapsed(status: TuningStatus, limit: float | None) -> str:
    elapsed = _duration(status.wallclock_time)
    return elapsed if limit is None else f"{elapsed} / {_duration(limit)}"


def _number(value: Any) -> str:
    number = as_number(value)
    if number is None:
        return "-" if value is None else str(value)
    return str(number) if isinstance(number, int) else f"{number:.5g}"


def _settings(config: Config) -> str:
    """A configuration on one line."""
    return " ".join(f"{name}={_number(value)}" for name, value in config.items() if not name.startswith("st_"))


def _view(
    goal: _Goal,
    status: TuningStatus,
    best: Best | None,
    note: str,
    waiting: Collection[int],
    *,
    width: int,
    height: int,
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_headline(goal, status, width), _workers(goal, status, waiting)]
    if best is not None:
        text = Text.assemble(("best ", "bold"), f"{goal.metric_names[0] if goal.metric_names else 'value'} ")
        text.append(_number(best[1]), "bold green")
        text.append(f"  trial {best[0]}  ")
        text.append(_settings(best[2]), "dim")
        parts.append(_one_line(text))
    rows = _choose_rows(goal, status, max(1, min(_MAX_ROWS, height - _OVERHEAD)))
    if rows:
        parts.append(_trials(goal, rows, best, waiting, width, with_cost=not status.costs.is_empty))
        hidden = status.num_trials_started - len(rows)
        if hidden > 0:
            parts.append(Text(f"and {hidden} more trials", "dim"))
    if note:
        parts.append(_one_line(Text(note, "yellow")))
    return Group(*parts)


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _headline(goal: _Goal, status: TuningStatus, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    cells: list[RenderableType] = [_one_line(Text(goal.tuner_name, "bold"))]
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=None)
    cells.append(Text(_elapsed(status, goal.max_wallclock_time)))
    grid.add_column(no_wrap=True)
    if goal.max_wallclock_time and width >= _NARROW:
        cells.append(ProgressBar(goal.max_wallclock_time, min(status.wallclock_time, goal.max_wallclock_time), 24))
        grid.add_column()
    grid.add_row(*cells)
    return grid


def _workers(goal: _Goal, status: TuningStatus, waiting: Collection[int]) -> RenderableType:
    from rich.text import Text

    text = Text.assemble(("workers ", "bold"), f"{status.num_trials_running}/{goal.n_workers}{_of_them(waiting)}")
    text.append(f"  {_counts(status)}")
    if status.num_trials_failed:
        text.highlight_words([f"{status.num_trials_failed} failed"], "red")
    if status.cost >= MIN_SHOWN_COST:
        text.append(f"  {_cost(status, goal.max_cost)}")
    return _one_line(text)


def _choose_rows(goal: _Goal, status: TuningStatus, limit: int) -> list[TrialRow]:
    """Running trials, then the best of the others."""
    running = status.running_rows()
    num_others = status.num_trials_started - len(running)
    running = running[: max(1, limit - min(num_others, _MIN_BEST_ROWS))]
    shown = {row.trial_id for row in running}
    sign = -1.0 if goal.modes and goal.modes[0] == "max" else 1.0

    def badness(row: TrialRow) -> tuple[bool, float, int]:
        value = goal.value(row)
        return value is None, 0.0 if value is None else sign * value, row.trial_id

    others = (row for row in status.trial_rows() if row.trial_id not in shown and not row.status.is_running)
    return running + heapq.nsmallest(limit - len(running), others, key=badness)


def _trials(
    goal: _Goal, rows: list[TrialRow], best: Best | None, waiting: Collection[int], width: int, with_cost: bool
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    essential, full = width < _VERY_NARROW, width >= _NARROW
    metrics = goal.metric_names[: _MAX_METRICS if width >= _MEDIUM else 1]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", padding=(0, 1, 0, 0), expand=full)
    table.add_column("trial", justify="right", no_wrap=True, min_width=5)
    table.add_column("status", no_wrap=True, min_width=9)
    if not essential:
        table.add_column("reports", justify="right", no_wrap=True)
    for name in metrics:
        table.add_column(name, justify="right", no_wrap=True, overflow="ellipsis", max_width=24)
    if full:
        table.add_column("best", justify="right", no_wrap=True)
        if with_cost:
            table.add_column("cost", justify="right", no_wrap=True)
        table.add_column("hyperparameters", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        is_best = best is not None and best[0] == row.trial_id
        is_waiting = row.status is Status.in_progress and row.trial_id in waiting
        label, style = _WAITING if is_waiting else _LABELS[row.status]
        cells = [Text(str(row.trial_id)), Text(label, style)]
        if not essential:
            cells.append(Text(str(row.num_reports)))
        cells += [Text(_number(row.last_metrics.get(name))) for name in metrics]
        if full:
            cells.append(Text(_number(goal.value(row)), "green" if is_best else ""))
            if with_cost:
                cells.append(Text(dollars(row.worker_cost) if row.worker_cost >= MIN_SHOWN_COST else "-"))
            cells.append(Text(_settings(row.config), "dim"))
        table.add_row(*cells, style="bold" if is_best else None)
    return table
