"""Failed experiments are run anew under names that a later launch finds again."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from launcher_helpers import GOOD, benchmark_of, write_script

from cloudtune.constants import MAX_NAME_LENGTH
from cloudtune.experiments import compare_methods, load_experiments
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_local import main
from cloudtune.experiments.retries import MAX_RUNS, replaced_names
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.names import is_legal_name, legal_name, retry_name
from cloudtune.remote.tuning_job import continued_by

# As names.tuner_name makes them.
NAMES = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+){0,4}", fullmatch=True).filter(
    lambda name: len(name) <= MAX_NAME_LENGTH
)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.integers(2, MAX_RUNS))
def test_names_are_legal_distinct_and_those_of_continued_jobs(name: str, run: int) -> None:
    found = [retry_name(name, number) for number in range(1, MAX_RUNS + 1)]
    assert found[0] == name and len(set(found)) == MAX_RUNS and all(map(is_legal_name, found))
    assert continued_by(TrainingJobSpec(name, "i", "r", "s3://b/o"), run).name == retry_name(name, run)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sets(st.integers(2, MAX_RUNS)))
def test_the_last_run_counts(name: str, runs: set[int]) -> None:
    found = {retry_name(name, run) for run in {1, *runs}}
    last = retry_name(name, max({1, *runs}))
    assert replaced_names(found) == dict.fromkeys(found - {last}, last)


def test_seeds_do_not_replace_one_another() -> None:
    assert replaced_names([f"a-RS-{seed}" for seed in range(20)]) == {}


def test_the_same_command_runs_a_failed_experiment_anew(tmp_path: Path, own_folder: Path) -> None:
    script = write_script(tmp_path / "s", "raise RuntimeError('out of memory')")
    command = ["--method", "RS", "--experiment_tag", "t", "--max_failures", "0"]
    assert main(methods, lambda: benchmark_of(script), argv=command) == 6
    write_script(tmp_path / "s", GOOD)
    assert main(methods, lambda: benchmark_of(script), argv=command) == 0
    assert main(methods, lambda: benchmark_of(script), argv=command) == 0  # nothing more to do
    found = load_experiments("t", download_if_not_found=False)
    assert [e.name for e in found] == ["t-mine-RS-0", "t-mine-RS-0-r2"]
    assert ["more than max_failures=0" in e.error for e in found] == [True, False] and not found[1].error
    comparison = compare_methods(found)
    assert [curve.seeds for curve in comparison.curves] == [(0,)]  # not twice
    assert comparison.left_out == {"t-mine-RS-0": "it was run anew as t-mine-RS-0-r2"}
    assert (own_folder / "t" / "comparison.png").stat().st_size > 1000


@settings(max_examples=100, deadline=None)
@given(st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,80}", fullmatch=True), st.integers(1, MAX_RUNS))
def test_any_legal_name_stays_as_it_is_and_longer_ones_are_not_legal(name: str, run: int) -> None:
    assert is_legal_name(name) == (len(name) <= MAX_NAME_LENGTH)
    if is_legal_name(name):
        assert retry_name(name, 1) == legal_name(name) == name
    assert is_legal_name(retry_name(name, run))
