"""The table of results: content, exactness, determinism, cost."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudtune.errors import NotFound, StoreError
from cloudtune.experiment.events import Event, StopRequested, TrialEnded, TrialReported, TrialStarted
from cloudtune.results import zipped_csv
from cloudtune.results.frame import ResultsBuilder, read_results


def started(trial_id: int, attempt: int = 0, **config: object) -> TrialStarted:
    return TrialStarted(0.0, 0.0, trial_id, attempt, dict(config))


def reported(
    trial: int, elapsed_s: float, attempt: int = 0, decision: str = "CONTINUE", **metrics: object
) -> Event:
    return TrialReported(100.0 + elapsed_s, elapsed_s, trial, attempt, 0, dict(metrics), decision)


EVENTS: list[Event] = [
    started(0, lr=0.1, units=2**60, name="a,\"b\"\n"),
    started(1, lr=1e-7, units=3, name="None"),
    reported(0, 1.5, loss=0.3, epoch=1),
    reported(1, 2.0, loss=math.nan, epoch=1, decision="PAUSE"),
    StopRequested(102.0, 2.0, 1, 0, "paused"),
    reported(1, 2.25, loss=math.inf, epoch=2),
    TrialEnded(103.0, 3.0, 1, 0, "paused"),
    started(1, 1, lr=1e-7, units=9, name="None"),
    reported(1, 4.0, attempt=1, loss=0.1 + 0.2, epoch=2, extra="late"),
]  # fmt: skip


def test_one_row_for_each_report() -> None:
    frame = ResultsBuilder(EVENTS).frame()
    assert list(frame.columns) == [
        "loss", "epoch", "extra", "st_decision", "st_status", "trial_id", "attempt",
        "config_lr", "config_units", "config_name", "st_tuner_time",
    ]  # fmt: skip
    assert frame["trial_id"].tolist() == [0, 1, 1, 1]
    assert frame["attempt"].tolist() == [0, 0, 0, 1]
    assert frame["st_decision"].tolist() == ["CONTINUE", "PAUSE", "CONTINUE", "CONTINUE"]
    # The status before the decision; a report after the request to stop finds the trial stopping.
    assert frame["st_status"].tolist() == ["InProgress", "InProgress", "Stopping", "InProgress"]
    assert frame["config_units"].tolist() == [2**60, 3, 3, 9]
    assert frame["st_tuner_time"].tolist() == [1.5, 2.0, 2.25, 4.0]
    assert frame["loss"].dtype == float and frame["epoch"].dtype == int
    assert frame["extra"].isna().tolist() == [True, True, True, False]


def test_the_file_gives_the_same_table(tmp_path: Path) -> None:
    builder = ResultsBuilder(EVENTS)
    path = tmp_path / "results.csv.zip"
    builder.write(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["results.csv"]
    pd.testing.assert_frame_equal(read_results(path), builder.frame(), check_exact=True)
    pd.testing.assert_frame_equal(pd.read_csv(path)[["epoch"]], builder.frame()[["epoch"]])  # a plain reader, too


def test_bytes_depend_on_the_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped_csv, "BLOCK_ROWS", 3)
    growing = ResultsBuilder()
    events: list[Event] = [started(0, lr=0.5)]
    events += [reported(0, float(i), loss=i / 7) for i in range(10)]
    events += [reported(0, 20.0, loss=0.0, new=1), reported(0, 21.0, loss=0.0)]
    for event in events:
        growing.add(event)
        growing.write(tmp_path / "growing")
        assert (
            read_results(tmp_path / "growing")["st_tuner_time"].tolist()
            == growing.frame()["st_tuner_time"].tolist()
        )
    ResultsBuilder(events).write(tmp_path / "once")
    assert (tmp_path / "growing").read_bytes() == (tmp_path / "once").read_bytes()
    pd.testing.assert_frame_equal(read_results(tmp_path / "once"), growing.frame(), check_exact=True)


def test_names_of_the_tuner_are_not_overwritten() -> None:
    frame = ResultsBuilder([started(4, lr=0.5), reported(4, 1.0, trial_id=77, config_lr=9, attempt_=1)]).frame()
    assert frame.iloc[0][["trial_id", "metric_trial_id", "config_lr", "metric_config_lr"]].tolist() == [
        4,
        77,
        0.5,
        9,
    ]


def test_empty(tmp_path: Path) -> None:
    builder = ResultsBuilder([started(0, lr=1)])
    assert len(builder.frame()) == 0 and "config_lr" in builder.frame()
    builder.write(tmp_path / "r.zip")
    assert list(read_results(tmp_path / "r.zip").columns) == list(builder.frame().columns)


def test_configurations_with_holes_keep_integers() -> None:
    frame = ResultsBuilder(
        [started(0, a=3), reported(0, 1.0, m=1), started(1, b=1), reported(1, 2.0, m=1)]
    ).frame()
    assert frame["config_a"].iloc[0] == 3 and isinstance(frame["config_a"].iloc[0], int)
    assert pd.isna(frame["config_a"].iloc[1])


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=50))
def test_floats_are_exact(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("exact") / "r.zip"
    ResultsBuilder([started(0, x=1), *(reported(0, 1.0, loss=value) for value in values)]).write(path)
    assert read_results(path)["loss"].astype(float).tolist() == values


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        read_results(tmp_path / "absent.zip")
    path = tmp_path / "results.csv.zip"
    path.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(StoreError, match="journal"):
        read_results(path)


cells = st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.booleans(), st.text(), st.none())


@settings(max_examples=60, deadline=None)
@example(rows=[{"a": "\r"}, {"b": "x\r\ny"}, {"a": "\0"}])
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), cells), max_size=9))
def test_any_report_is_written(rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> None:
    builder = ResultsBuilder([started(0, x=1), *(reported(0, float(i), **row) for i, row in enumerate(rows))])
    assert len(builder.frame()) == len(rows)
    path = tmp_path_factory.mktemp("any") / "r.zip"
    builder.write(path)
    assert read_results(path)["st_tuner_time"].tolist() == builder.frame()["st_tuner_time"].tolist()


def test_only_the_end_is_rendered_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render, rendered = zipped_csv.render, list[int]()

    def counted(rows: Iterable[Sequence[Any]]) -> bytes:
        found = list(rows)
        rendered.append(len(found))
        return render(found)

    monkeypatch.setattr(zipped_csv, "render", counted)
    builder = ResultsBuilder()
    trials = 2000
    for i in range(trials):
        builder.add(started(i, lr=0.1 * i, units=i, kind="x", batch=32))
    for i in range(200_000):
        builder.add(
            reported(i % trials, i * 0.1, loss=1 / (i + 1), acc=0.5, epoch=i // trials, st_worker_time=i * 0.5)
        )
    assert builder.frame().shape == (200_000, 4 + 4 + 4 + 1)
    builder.write(tmp_path / "r.zip")
    assert sum(rendered) == 1 + 200_000
    rendered.clear()
    builder.add(reported(0, 20_000.0, loss=0.0))
    builder.write(tmp_path / "r.zip")
    assert sum(rendered) < zipped_csv.BLOCK_ROWS
    assert len(read_results(tmp_path / "r.zip")) == 200_001
