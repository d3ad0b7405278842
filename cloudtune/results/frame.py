"""Results as a table: one row for each report, made from the experiment's events.

Columns: the metrics as reported (``st_worker_*`` included), ``st_decision``, ``st_status`` (the trial's status
before the decision), ``trial_id``, ``attempt``, ``config_<name>`` (the configuration of the attempt) and
``st_tuner_time`` (seconds the experiment had been running).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtune.constants import ST_DECISION, ST_STATUS, ST_TUNER_TIME
from cloudtune.errors import NotFound, StoreError
from cloudtune.experiment.events import Event, StopRequested, TrialReported, TrialStarted
from cloudtune.results.zipped_csv import ZippedCsv
from cloudtune.trial import Config, Status

if TYPE_CHECKING:
    import pandas as pd

CSV_NAME = "results.csv"
CONFIG_PREFIX = "config_"
TRIAL_ID = "trial_id"
ATTEMPT = "attempt"
_LEADING = (ST_DECISION, ST_STATUS, TRIAL_ID, ATTEMPT)
_TUNER_COLUMNS = frozenset((*_LEADING, ST_TUNER_TIME))


class ResultsBuilder:
    """Collects reports. Adding one costs time in the number of its metrics only.

    A metric named as a column of the tuner (``trial_id``, ``config_lr``) appears as ``metric_<name>``.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._metrics: dict[str, list[Any]] = {}
        self._decisions: list[str] = []
        self._statuses: list[str] = []
        self._elapsed: list[float] = []
        self._row_attempt: list[int] = []
        # One entry for each attempt.
        self._attempt_of: dict[tuple[int, int], int] = {}
        self._attempts: list[tuple[int, int, Config]] = []
        self._config_names: dict[str, None] = {}
        self._stopping: set[int] = set()
        self._csv = ZippedCsv(CSV_NAME)
        for event in events:
            self.add(event)

    @property
    def num_rows(self) -> int:
        """Number of reports so far."""
        return len(self._elapsed)

    def add(self, event: Event) -> None:
        """Takes notice of ``event``; the events of an experiment come in order, each once."""
        if isinstance(event, TrialReported):
            self._add_row(event)
        elif isinstance(event, TrialStarted):
            self._begin_attempt(event.trial_id, event.attempt, event.config)
        elif isinstance(event, StopRequested):
            self._stopping.add(self._attempt_index(event.trial_id, event.attempt))

    def _begin_attempt(self, trial_id: int, attempt: int, config: Config) -> int:
        index = self._attempt_of[trial_id, attempt] = len(self._attempts)
        self._attempts.append((trial_id, attempt, config))
        self._config_names.update(dict.fromkeys(config))
        return index

    def _attempt_index(self, trial_id: int, attempt: int) -> int:
        index = self._attempt_of.get((trial_id, attempt))
        return self._begin_attempt(trial_id, attempt, {}) if index is None else index

    def _add_row(self, event: TrialReported) -> None:
        row, index = self.num_rows, self._attempt_index(event.trial_id, event.attempt)
        for name, value in chain(event.metrics.items(), event.extra.items()):
            column = self._metrics.setdefault(name, [])
            column.extend(repeat(None, row - len(column)))  # rows that lacked it
            column.append(value)
        self._row_attempt.append(index)
        self._decisions.append(str(event.decision))
        self._statuses.append(str(Status.stopping if index in self._stopping else Status.in_progress))
        self._elapsed.append(event.elapsed_s)

    def _metric_columns(self) -> dict[str, list[Any]]:
        taken = _TUNER_COLUMNS.union(CONFIG_PREFIX + name for name in self._config_names)
        return {f"metric_{name}" if name in taken else name: values for name, values in self._metrics.items()}

    def frame(self) -> pd.DataFrame:
        """One row for each report, in the order of their arrival. What a report or configuration lacks is NaN."""
        import numpy as np
        import pandas as pd

        columns: dict[str, Any] = {}
        for name, values in self._metric_columns().items():
            columns[name] = pd.Series([*values, *repeat(None, self.num_rows - len(values))])
        columns[ST_DECISION] = pd.Series(self._decisions, dtype="str")
        columns[ST_STATUS] = pd.Series(self._statuses, dtype="str")
        index = np.asarray(self._row_attempt, dtype=np.intp)
        columns[TRIAL_ID] = np.asarray([trial_id for trial_id, _, _ in self._attempts], dtype=np.int64)[index]
        columns[ATTEMPT] = np.asarray([attempt for _, attempt, _ in self._attempts], dtype=np.int64)[index]
        for name in self._config_names:
            values = [config.get(name) for _, _, config in self._attempts]
            # With holes, integers would become floats; as objects they stay what they are.
            series = pd.Series(values, dtype=object if None in values else None)
            columns[CONFIG_PREFIX + name] = series.take(index).reset_index(drop=True)
        columns[ST_TUNER_TIME] = np.asarray(self._elapsed, dtype=float)
        table: pd.DataFrame = pd.DataFrame(columns, index=pd.RangeIndex(self.num_rows))
        return table

    def write(self, path: Path) -> None:
        """Writes ``results.csv`` in a zip archive, atomically; costs time in the rows since the last call.

        The bytes are a function of the rows.

        Raises:
            OSError: The folder cannot be written.
        """
        metrics = self._metric_columns()
        header = [*metrics, *_LEADING, *(CONFIG_PREFIX + name for name in self._config_names), ST_TUNER_TIME]

        def rows(begin: int, end: int) -> Iterable[Sequence[Any]]:
            attempts = [self._attempts[index] for index in self._row_attempt[begin:end]]
            return zip(
                *(_padded(values[begin:end], end - begin) for values in metrics.values()),
                self._decisions[begin:end],
                self._statuses[begin:end],
                (trial_id for trial_id, _, _ in attempts),
                (attempt for _, attempt, _ in attempts),
                *([config.get(name) for _, _, config in attempts] for name in self._config_names),
                self._elapsed[begin:end],
                strict=True,
            )

        self._csv.write(path, header, self.num_rows, rows)


def _padded(values: list[Any], length: int) -> list[Any]:
    return [*values, *repeat(None, length - len(values))]


def read_results(path: Path) -> pd.DataFrame:
    """The table that :meth:`ResultsBuilder.write` wrote: numbers are exact; strings that look like numbers, and
    empty strings, are not told apart from numbers and NaN (the journal is exact).

    Raises:
        NotFound: There is no such file.
        StoreError: The file is damaged.
    """
    import pandas as pd

    # Up to pandas 3.0 the default reader of floats is off by an ulp at times; later ones deprecate the choice.
    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    exact: dict[str, Any] = {"float_precision": "round_trip"} if version < (3, 1) else {}
    try:
        # Only an empty cell is missing: "None" or "NA" may be values of a hyperparameter.
        frame: pd.DataFrame = pd.read_csv(path, compression="zip", keep_default_na=False, na_values=[""], **exact)
        return frame
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", "The first report of a trial writes it.") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"{path} cannot be read as results ({error}).", "The journal beside it has all rows."
        ) from error
