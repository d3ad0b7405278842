"""The look of all pictures, and the two of a single experiment. matplotlib is imported on use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudtune.constants import ST_DECISION, ST_TUNER_TIME
from cloudtune.errors import MissingExtra, StoreError
from cloudtune.paths import atomic_path
from cloudtune.results.statistics import Floats, best_so_far

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Distinct for the colour-blind as well (Okabe and Ito, https://jfly.uni-koeln.de/color/), yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
_DPI = 160
#: A range of values beyond this ratio is drawn on a logarithmic axis.
_LOG_FROM = 5.0
#: Beyond it, margins and distances would not be finite.
_LARGEST = 1e300


@contextmanager
def figure(path: str | Path | None, figsize: tuple[float, float] = (8.0, 5.0)) -> Iterator[Axes]:
    """Axes to draw on. Afterwards the figure is written to ``path`` (its ending names the format), or shown if
    there is none.

    Raises:
        MissingExtra: matplotlib is not installed.
        StoreError: The file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra.of("matplotlib", "plot", "Plotting") from error
    if path is None:
        import matplotlib.pyplot as plt

        shown, axes = plt.subplots(figsize=figsize, layout="constrained")
        _style(axes)
        yield axes
        plt.show()
        plt.close(shown)
        return
    written = Figure(figsize=figsize, layout="constrained")
    axes = written.subplots()
    _style(axes)
    yield axes
    target = Path(path).expanduser()
    kind = target.suffix.lstrip(".") or "png"
    try:
        with atomic_path(target) as temporary:
            written.savefig(temporary, format=kind, dpi=_DPI, facecolor="white")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{target} cannot be written ({error}).", "Choose another path; it may end in .png, .pdf or .svg."
        ) from error


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(colors="#333333", labelsize=9)
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def styles(count: int) -> list[tuple[str, str]]:
    """Colour and line style of each of ``count`` lines, all distinct up to 28."""
    rounds = [style for style in LINE_STYLES for _ in COLOURS]
    return [(colour, style) for _, colour, style in zip(range(count), cycle(COLOURS), cycle(rounds), strict=False)]


def time_axis(axes: Axes, seconds: float) -> float:
    """Labels the time axis in the unit that suits ``seconds``, and returns how many seconds that unit has."""
    unit, length = next(
        (unit, length) for unit, length in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
        if seconds >= 3 * length or length == 1.0
    )  # fmt: skip
    axes.set_xlabel(f"wall-clock time ({unit})")
    axes.set_xlim(0, max(seconds / length, 1e-9))
    return length


def focus(axes: Axes, interesting: Sequence[Floats]) -> None:
    """Limits the value axis to ``interesting`` (with a margin), logarithmic if that is a wide range of positive
    numbers: the first guesses of a search must not squeeze what came of it."""
    values = np.concatenate([np.ravel(part) for part in interesting]) if interesting else np.empty(0)
    values = np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)
    if len(values) == 0:
        return
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > _LOG_FROM:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axes.set_yscale("log")
        axes.set_ylim(low / 1.15, high * 1.15)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - margin, high + margin)


def draw_best_over_time(axes: Axes, frame: pd.DataFrame, metric: str, mode: str, **line: Any) -> None:
    """Best value so far against time, as a staircase."""
    times, values = best_so_far(frame[ST_TUNER_TIME], _numbers(frame[metric]), mode)
    until = float(frame[ST_TUNER_TIME].max())
    length = time_axis(axes, until)
    settings: dict[str, Any] = {"color": COLOURS[0], "linewidth": 2.0, "drawstyle": "steps-post"} | line
    axes.plot(np.append(times, until) / length, np.append(values, values[-1:]), **settings)
    axes.set_ylabel(f"best {metric}")
    focus(axes, [values[times >= 0.03 * until]])


def draw_trials_over_time(axes: Axes, frame: pd.DataFrame, metric: str, mode: str) -> None:
    """Each trial a line over its reports, the best so far on top; crosses where the scheduler stopped a trial,
    bars where it paused one."""
    import matplotlib as mpl

    length = time_axis(axes, float(frame[ST_TUNER_TIME].max()))
    table = frame.assign(_value=_numbers(frame[metric]), _time=frame[ST_TUNER_TIME] / length)
    shades = mpl.colormaps["viridis"]
    trials = table.groupby("trial_id")
    for position, (_, rows) in enumerate(trials):
        shade = shades(0.9 * position / max(1, len(trials) - 1))
        axes.plot(rows["_time"], rows["_value"], color=shade, linewidth=1, alpha=0.6, marker="o", markersize=2.5)
    for decision, marker in (("STOP", "x"), ("PAUSE", "|")):
        rows = table[table[ST_DECISION] == decision]
        if len(rows):
            label = {"STOP": "stopped", "PAUSE": "paused"}[decision]
            axes.scatter(
                rows["_time"], rows["_value"], marker=marker, s=28, color="#555555", label=label, zorder=3
            )
    times, values = best_so_far(table["_time"], table["_value"], mode)
    axes.plot(times, values, color=COLOURS[1], linewidth=2, drawstyle="steps-post", label="best so far", zorder=4)
    axes.set_ylabel(metric)
    axes.legend(frameon=False, fontsize=9)


def _numbers(values: pd.Series[Any]) -> pd.Series[float]:
    import pandas as pd

    numbers: pd.Series[float] = pd.to_numeric(values, errors="coerce").astype(float)
    return numbers
