"""Interquartile mean against its definition, and the comparison of methods on experiments with known curves."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import events_of
from rich.console import Console
from scipy.stats import trim_mean

from cloudtune.errors import NotFound, SpecError, StoreError
from cloudtune.experiments.comparison import Comparison, compare_methods
from cloudtune.experiments.experiment_result import ExperimentResult
from cloudtune.results.frame import ResultsBuilder
from cloudtune.results.statistics import (
    best_so_far,
    bootstrap_band,
    carried_forward,
    interquartile_mean,
    iqm_weights,
)
from cloudtune.tuning_status import TuningStatus

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("n", [4, 8, 12, 40])
def test_iqm_is_the_trimmed_mean_where_that_is_defined(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 3))
    np.testing.assert_allclose(interquartile_mean(values), trim_mean(values, 0.25, axis=0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=11))
def test_iqm_is_the_mean_of_the_middle_half(values: list[float]) -> None:
    # By definition: repeat each value four times, so that quartiles fall between values; drop a quarter each side.
    fourfold = sorted(value for value in values for _ in range(4))
    middle = fourfold[len(values) : 3 * len(values)]
    assert interquartile_mean(values) == pytest.approx(sum(middle) / len(middle), abs=1e-6)
    assert iqm_weights(len(values)).sum() == pytest.approx(1.0)


def test_iqm_stands_infinite_values_outside_the_quartiles() -> None:
    assert interquartile_mean([1.0, 2.0, 3.0, math.inf, -math.inf, 2.0, 2.0, 2.0]) == 2.0


def test_the_band_is_a_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).normal(size=(9, 5))
    low, high = bootstrap_band(values, np.random.default_rng(7), 400, 0.9)
    chosen = np.random.default_rng(7).integers(0, 9, size=(400, 9))
    means = np.array([interquartile_mean(values[rows]) for rows in chosen])
    np.testing.assert_allclose(low, np.quantile(means, 0.05, axis=0))
    np.testing.assert_allclose(high, np.quantile(means, 0.95, axis=0))
    again, _ = bootstrap_band(values, np.random.default_rng(7), 400, 0.9)
    assert np.array_equal(low, again)


def test_the_band_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    low, high = bootstrap_band(rng.normal(size=(30, 400)), rng, 200)
    covered = np.mean((low <= 0) & (high >= 0))  # each column is a sample of its own
    assert 0.85 < covered < 0.99


def test_best_so_far_sorts_and_skips_nan() -> None:
    times, values = best_so_far([3.0, 1.0, 2.0, 4.0], [5.0, 7.0, math.nan, 6.0], "min")
    assert times.tolist() == [1.0, 3.0, 4.0] and values.tolist() == [7.0, 5.0, 5.0]
    assert best_so_far([1.0, 2.0], [1.0, 3.0], "max")[1].tolist() == [1.0, 3.0]
    grid = carried_forward(times, values, np.array([0.5, 1.0, 2.9, 3.0, 99.0]))
    assert grid.tolist()[1:] == [7.0, 7.0, 5.0, 5.0] and math.isnan(grid[0])


def experiment(
    method: str, seed: int, reports: list[tuple[float, float]], ended: bool = True, **metadata: object
) -> ExperimentResult:
    events = events_of({0: reports} if reports else {}, ended)
    facts = {
        "algorithm": method,
        "seed": seed,
        "benchmark": "digits",
        "metric_names": ["loss"],
        "metric_mode": ["min"],
    }
    return ExperimentResult(
        f"{method}-{seed}",
        ResultsBuilder(events).frame(),
        facts | metadata,
        None,
        Path("none"),
        TuningStatus(["loss"], events),
        ended,
    )


def test_seeds_are_averaged_and_short_ones_carried_forward() -> None:
    runs = [
        experiment("A", 0, [(1.0, 4.0), (10.0, 1.0)]),
        experiment("A", 1, [(2.0, 2.0)]),
        experiment("B", 0, [(5.0, 3.0), (6.0, 9.0)]),
    ]
    comparison = compare_methods(runs, num_points=11)
    assert comparison.times.tolist() == list(range(11))
    a, b = comparison.curves
    assert (a.method, b.method) == ("A", "B")  # the best first
    # With two seeds the middle half is half of each; before both have reported there is no mean.
    assert np.isnan(a.iqm[:2]).all() and a.iqm[2:].tolist() == [3.0] * 8 + [1.5]
    assert b.iqm[5:].tolist() == [3.0] * 6
    assert (a.final, a.best, a.num_trials, a.num_reports) == (1.5, 1.0, 2, 3)
    assert (a.low[-1], a.high[-1]) == (1.0, 2.0)
    assert np.isnan(b.low).all()  # a single seed says nothing about others
    assert comparison.target == 3.0
    assert (comparison.time_to(a, 3.0), comparison.time_to(b, 3.0)) == (2.0, 5.0)
    assert math.isnan(comparison.time_to(b, 0.5))
    frame = comparison.frame()
    assert frame[(frame["method"] == "A") & (frame["time"] == 10.0)]["iqm"].item() == 1.5


@pytest.mark.filterwarnings("error")
def test_runs_that_diverge_are_compared_without_noise(tmp_path: Path) -> None:
    infinity = float("inf")
    runs = [experiment("A", seed, [(1.0, infinity), (2.0, float(seed))]) for seed in range(3)]
    runs += [experiment("A", 3, [(1.0, infinity)]), experiment("B", 0, [(1.0, infinity)])]
    runs += [experiment("C", seed, [(1.0, sign * infinity)]) for seed, sign in enumerate((1, -1))]
    comparison = compare_methods(runs, num_points=5)
    assert [curve.method for curve in comparison.curves] == ["A", "B", "C"]
    assert comparison.curves[0].final == 1.5 and comparison.curves[1].final == infinity
    comparison.print(Console(file=io.StringIO(), width=100))
    assert comparison.plot(tmp_path / "x.png") is not None


def test_maximisation_turns_everything_round() -> None:
    runs = [experiment("A", s, [(1.0, 0.5), (4.0, 0.2 + s / 100)]) for s in range(4)]
    runs += [experiment("B", s, [(1.0, 0.9), (4.0, 0.7)]) for s in range(4)]
    comparison = compare_methods(runs, metric="accuracy", mode="max", num_points=5)
    assert [curve.method for curve in comparison.curves] == ["A", "B"]
    assert comparison.curves[0].best == pytest.approx(0.8)
    assert comparison.target == pytest.approx(0.3)
    assert comparison.time_to(comparison.curves[0], comparison.target) == 1.0


def test_another_method_changes_no_band() -> None:
    rng = np.random.default_rng(3)
    runs = [experiment("A", s, [(1.0, float(rng.random())), (5.0, 0.01 * s)]) for s in range(6)]
    alone = compare_methods(runs).curves[0]
    together = next(
        c for c in compare_methods([*runs, experiment("B", 0, [(5.0, 9.0)])]).curves if c.method == "A"
    )
    np.testing.assert_array_equal(alone.low, together.low)
    assert not np.array_equal(alone.low, compare_methods(runs, seed=1).curves[0].low, equal_nan=True)


def test_table_and_picture_with_experiments_that_run_or_have_nothing(tmp_path: Path) -> None:
    runs = [experiment("ASHA", s, [(1.0, 0.5), (5.0 + s, 0.1 * (s + 1))], ended=s > 0) for s in range(5)]
    runs += [experiment("RS", 0, [(2.0, 0.6)]), experiment("RS", 1, []), experiment("none", 0, [], ended=False)]
    comparison = compare_methods(runs)
    out = io.StringIO()
    comparison.print(Console(file=out, width=100))
    text = out.getvalue()
    assert "digits: loss (lower is better)" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["ASHA"][1:3] == ["5", "0.3"] and "1 of 2" in " ".join(lines["RS"])
    assert "none-0 is not in the comparison: no results yet." in text
    assert "Not ended: 2 of" in text
    for name in ("c.png", "deep/folder/c.png"):
        path = comparison.plot(tmp_path / name)
        assert path is not None and path.read_bytes().startswith(PNG) and path.stat().st_size > 10_000
    assert b"ASHA (5 seeds, 1 not ended)" in (comparison.plot(tmp_path / "c.svg") or Path()).read_bytes()
    with pytest.raises(StoreError, match="banana"):
        comparison.plot(tmp_path / "c.banana")
    with pytest.raises(NotFound, match="No method has results"):
        compare_methods([experiment("none", 0, [])]).plot(tmp_path / "empty.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_methods([experiment("A", 0, []), experiment("A", 1, [], benchmark="b")]), "b, digits"),
        (lambda: compare_methods([experiment("A", 0, []), experiment("A", 1, [], metric_names=["x"])]), "loss, x"),
        (lambda: compare_methods([experiment("A", 0, [])], metric="los"), "They have loss"),
        (lambda: compare_methods([experiment("A", 0, [])], mode="lowest"), "'min' or 'max'"),
        (lambda: compare_methods([experiment("A", 0, [])], num_points=1), "at least 2"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        call()


def test_nothing_to_compare() -> None:
    with pytest.raises(NotFound, match="no experiments"):
        compare_methods([])


def test_a_method_without_metadata_is_known_by_its_scheduler() -> None:
    run = experiment("A", 0, [(1.0, 0.5)])
    del run.metadata["algorithm"]
    run.metadata["scheduler_name"] = "HyperbandScheduler"
    assert compare_methods([run]).curves[0].method == "HyperbandScheduler"


def test_pictures_of_one_experiment(tmp_path: Path) -> None:
    run = experiment("A", 0, [(1.0, 0.5), (20.0, 0.1), (400.0, 0.2)])
    run.plot(figure_path=tmp_path / "best.png", color="black")
    run.plot_trials_over_time("accuracy", tmp_path / "trials.png", figsize=(6, 4))
    assert (tmp_path / "best.png").read_bytes().startswith(PNG)
    assert (tmp_path / "trials.png").read_bytes().startswith(PNG)
    empty = experiment("A", 0, [], ended=False)
    with pytest.raises(NotFound, match="may still be running"):
        empty.plot(figure_path=tmp_path / "none.png")
    with pytest.raises(NotFound, match="0 reports"):
        empty.best_config()
    with pytest.raises(SpecError, match="0: loss"):
        run.plot(3)
    assert not (tmp_path / "none.png").exists()


def test_modes_of_several_metrics() -> None:
    run = experiment(
        "A", 0, [(1.0, 0.5), (2.0, 0.1)], metric_names=["loss", "accuracy"], metric_mode=["min", "max"]
    )
    assert run.metric_mode() == ["min", "max"] and run.metric_names() == ["loss", "accuracy"]
    assert run.best_config("accuracy")["epoch"] == run.best_config(0)["epoch"] == 2
    assert experiment("A", 0, []).metric_mode() == "min"
    assert experiment("A", 0, [], metric_mode="max").mode_of("loss") == "max"
    assert str(run) == "Experiment A-0: 1 trials, 2 reports"


def printed(comparison: Comparison, width: int = 100) -> str:
    out = io.StringIO()
    comparison.print(Console(file=out, width=width))
    return out.getvalue()


def test_what_a_reader_must_know_besides() -> None:
    runs = [
        experiment("A", s, [(1.0, 0.5)], n_workers=2 + 2 * (s == 1), instance_type="ml.m5.large") for s in range(3)
    ]
    runs[0].num_interruptions, runs[2].num_interruptions = 2, 1
    runs[2].error = "4 trials failed, more than max_failures=3.\nTrial 7: no memory"
    text = printed(compare_methods(runs))
    assert "Interrupted and continued where they were: 3 times in all." in text
    assert "Not alike, so judge with care: n_workers is 2 or 4." in text and "instance_type" not in text
    assert "A-2 ended early: 4 trials failed, more than max_failures=3." in text and "Trial 7" not in text
    assert compare_methods(runs[:1]).notes == ("Interrupted and continued where they were: 2 times in all.",)


def test_an_experiment_that_was_run_anew_counts_once() -> None:
    first, last = experiment("A", 0, [(1.0, 0.5)]), experiment("A", 0, [(1.0, 0.25)])
    last.name = "A-0-r3"
    comparison = compare_methods([last, first])
    assert comparison.curves[0].seeds == (0,) and comparison.curves[0].final == 0.25
    assert comparison.left_out == {"A-0": "it was run anew as A-0-r3"}


def test_nothing_yet_is_no_number() -> None:
    text = printed(compare_methods([experiment("A", 0, [], ended=False)]))
    assert "nan" not in text and "time to" not in text and "no results yet" in text


@pytest.mark.parametrize("width", [24, 40, 56, 57, 58, 80])
def test_numbers_are_never_cut(width: int) -> None:
    text = printed(compare_methods([experiment("ASHA", s, [(1.0, 0.51234)]) for s in range(2)]), width)
    assert "0.5123" in text and "\u2026" not in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of matplotlib
@pytest.mark.parametrize("values", [(1e308, -1e308), (1e308, 1e307), (1.7e308, 1e-308), (-1e308, -1e307)])
def test_values_of_any_size_are_drawn(values: tuple[float, float], tmp_path: Path) -> None:
    runs = [experiment("A", 0, [(1.0, max(values)), (2.0, min(values))])]
    assert compare_methods(runs).plot(tmp_path / "a.png") is not None
    runs[0].plot(0, tmp_path / "b.png")
