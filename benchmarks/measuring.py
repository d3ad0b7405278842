"""What the benchmarks share: tables, summaries, facts that trials leave behind, and other tools' environments."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
NOOP = HERE / "noop.py"
#: Where ``noop.py`` notes when it began and ended.
ENV_FACTS = "BENCHMARK_FACTS"
#: Overrides the folder for other tools' virtual environments.
ENV_CACHE = "CLOUDTUNE_BENCHMARKS_CACHE"
_INSTALL_TIMEOUT_S = 1200


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> None:
    """Prints a table, the first column to the left, the others to the right, and what was done."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 112)
    console.print(table)
    for note in (*notes, machine()):
        console.print(note, highlight=False, markup=False)


def machine() -> str:
    """The machine in one line."""
    load = os.getloadavg()[0]
    model = _cpu_model()
    return (
        f"Machine: {os.cpu_count()} cores{f' ({model})' if model else ''}, {platform.system()}, "
        f"Python {platform.python_version()}, load average {load:.1f} at the end."
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


def timed(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def median_time(action: Callable[[], object], repetitions: int) -> float:
    """Median of seconds."""
    return statistics.median(timed(action) for _ in range(repetitions))


@dataclass(frozen=True)
class Life:
    """One process of ``noop.py``: its first and its last moment, seconds since the epoch."""

    begin: float
    end: float


def read_lives(folder: Path) -> list[Life]:
    """What the trials of one run have left in ``folder``, by their beginning."""
    lives = [Life(*map(float, path.read_text(encoding="ascii").split())) for path in folder.iterdir()]
    return sorted(lives, key=lambda life: life.begin)


def handovers(lives: Sequence[Life], n_workers: int) -> list[float]:
    """Seconds from the end of a trial to the beginning of the one that takes its place.

    With ``n_workers`` places, the trial number ``n_workers + i`` begins in the place that the ``i``-th end freed.
    """
    ends = sorted(life.end for life in lives)
    begins = sorted(life.begin for life in lives)
    return [begin - end for begin, end in zip(begins[n_workers:], ends, strict=False)]


def peer_python(package: str, version: str) -> Path:
    """The interpreter of a virtual environment that holds ``package``, made if it is missing."""
    cache = Path(os.environ.get(ENV_CACHE) or "~/.cache/cloudtune-benchmarks").expanduser()
    folder = cache / f"{package}-{version}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"Installing {package} {version} into {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
        command = [str(python), "-m", "pip", "install", "--quiet", f"{package}=={version}"]
        subprocess.run(command, check=True, timeout=_INSTALL_TIMEOUT_S, stdout=subprocess.DEVNULL)
        complete.touch()
    return python
