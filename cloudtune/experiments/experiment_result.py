"""One experiment as data: its reports, its metadata, its best configuration, its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudtune.constants import RESERVED_PREFIX, ST_TUNER_TIME
from cloudtune.errors import NotFound, SpecError
from cloudtune.results import figures
from cloudtune.results.frame import ATTEMPT, CONFIG_PREFIX, TRIAL_ID
from cloudtune.tuning_status import TuningStatus

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class ExperimentResult:
    """What :func:`~cloudtune.experiments.loading.load_experiment` found.

    Args:
        name: Of the tuner.
        results: One row a report, see :mod:`cloudtune.results.frame`; may be empty.
        metadata: Content of ``metadata.json``; may be empty.
        tuner: The tuner, if it was asked for.
        path: Folder of the experiment on this machine.
        status: Counts and costs, if there is a journal.
        ended: The experiment is over (False also if it was interrupted).
        error: Why it ended early, too many failed trials for example; empty if all went well.
        num_interruptions: How often a tuner had to take over from one that was interrupted.
    """

    name: str
    results: pd.DataFrame
    metadata: dict[str, Any]
    tuner: Any
    path: Path
    status: TuningStatus | None = None
    ended: bool = True
    error: str = ""
    num_interruptions: int = 0

    def __str__(self) -> str:
        state = ", failed" if self.error else "" if self.ended else ", not ended"
        return f"Experiment {self.name}: {self.num_trials} trials, {len(self.results)} reports{state}"

    @property
    def num_trials(self) -> int:
        """Trials that were started; without a journal, those that have reported."""
        if self.status is not None:
            return self.status.num_trials_started
        return int(self.results[TRIAL_ID].nunique()) if TRIAL_ID in self.results else 0

    @property
    def num_reports(self) -> int:
        return len(self.results)

    @property
    def wallclock_time(self) -> float:
        """Seconds the experiment has been running."""
        if self.status is not None:
            return self.status.wallclock_time
        return float(self.results[ST_TUNER_TIME].max()) if len(self.results) else 0.0

    def creation_date(self) -> datetime:
        """In UTC."""
        timestamp = self.metadata.get("st_tuner_creation_timestamp")
        if not isinstance(timestamp, int | float):
            raise NotFound(f"The metadata of {self.name} have no creation date.", f"See {self.path}.")
        return datetime.fromtimestamp(timestamp, tz=timezone.utc)

    def metric_names(self) -> list[str]:
        """What was optimised; the first is the objective."""
        names = self.metadata.get("metric_names", [])
        return [names] if isinstance(names, str) else list(names)

    def metric_mode(self) -> str | list[str]:
        """``"min"`` or ``"max"``; with several metrics one for each of them."""
        modes = [self.mode_of(name) for name in self.metric_names()]
        return modes[0] if len(modes) == 1 else modes

    def mode_of(self, metric: int | str) -> str:
        """``"min"`` or ``"max"`` of one metric; ``"min"`` of those that were not optimised."""
        modes, name = self.metadata.get("metric_mode", "min"), self.metric_name(metric)
        if isinstance(modes, str):
            return modes
        position = self.metric_names().index(name) if name in self.metric_names() else len(modes)
        return str(modes[position]) if position < len(modes) else "min"

    def metric_name(self, metric: int | str) -> str:
        """The name of a metric that is given by its name or its position among :meth:`metric_names`.

        Raises:
            SpecError: There is no such metric.
        """
        names = self.metric_names()
        if isinstance(metric, int):
            if 0 <= metric < len(names):
                return names[metric]
        elif metric in names or metric in self.results:
            return metric
        reported = [column for column in self.results.columns if not _is_of_the_tuner(str(column))]
        if not names and isinstance(metric, int):
            raise SpecError(
                f"The objective of {self.name} is not known: its metadata.json is missing or damaged.",
                f"Name a metric; reported are: {', '.join(reported) or 'none yet'}.",
            )
        valid = [*(f"{i}: {name}" for i, name in enumerate(names)), *(c for c in reported if c not in names)]
        raise SpecError(f"Experiment {self.name} has no metric {metric!r}.", f"It has {', '.join(valid)}.")

    def entrypoint_name(self) -> str:
        """Name of the training script, without its ending."""
        return str(self.metadata.get("entrypoint", ""))

    def best_config(self, metric: int | str = 0) -> dict[str, Any]:
        """The report with the best value of ``metric``: its metrics, ``trial_id``, ``attempt`` and ``config_*``.

        Raises:
            SpecError: There is no such metric.
            NotFound: There is no report of it yet.
        """
        name, mode = self.metric_name(metric), self.mode_of(metric)
        values = self._values(name)
        row = int(np.nanargmax(values) if mode == "max" else np.nanargmin(values))
        columns = [column for column in self.results.columns if not column.startswith(RESERVED_PREFIX)]
        # Column by column: a whole row would turn integers into floats.
        cells = {column: self.results[column].iloc[row] for column in columns}
        return {column: cell.item() if isinstance(cell, np.generic) else cell for column, cell in cells.items()}

    def _values(self, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        import pandas as pd

        column = self.results.get(metric)
        values = np.asarray([] if column is None else pd.to_numeric(column, errors="coerce"), dtype=float)
        if np.isnan(values).all():
            state = "it has ended" if self.ended else "it may still be running"
            raise NotFound(
                f"Experiment {self.name} has no report with a number for {metric!r} "
                f"({len(self.results)} reports; {state}).",
                f"See what a trial prints: cloudtune logs {self.name} --trial N. Or try again later.",
            )
        return values

    def plot(
        self, metric_to_plot: int | str = 0, figure_path: str | Path | None = None, **plt_kwargs: Any
    ) -> None:
        """Draws the best value so far against wall-clock time.

        Args:
            metric_to_plot: Name, or position among :meth:`metric_names`.
            figure_path: Where to write it; default: show it.
            plt_kwargs: For matplotlib's ``plot``.

        Raises:
            SpecError: There is no such metric.
            NotFound: There is no report of it yet.
        """
        name, mode = self.metric_name(metric_to_plot), self.mode_of(metric_to_plot)
        self._values(name)
        with figures.figure(figure_path) as axes:
            figures.draw_best_over_time(axes, self.results, name, mode, **plt_kwargs)
            axes.set_title(self.name, fontsize=11, loc="left")

    def plot_trials_over_time(
        self,
        metric_to_plot: int | str = 0,
        figure_path: str | Path | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> None:
        """Draws all reports of all trials against wall-clock time. Arguments and errors as in :meth:`plot`."""
        name, mode = self.metric_name(metric_to_plot), self.mode_of(metric_to_plot)
        self._values(name)
        with figures.figure(figure_path, figsize or (9.0, 5.0)) as axes:
            figures.draw_trials_over_time(axes, self.results, name, mode)
            axes.set_title(f"{self.name}: {self.num_trials} trials", fontsize=11, loc="left")


def _is_of_the_tuner(column: str) -> bool:
    return column in (TRIAL_ID, ATTEMPT) or column.startswith((CONFIG_PREFIX, RESERVED_PREFIX))
