"""Failed experiments are run anew under names that a later launch finds again."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from launcher_helpers import GOOD, benchmark_of, write_script

from cloudtune.experiments import load_experiments
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_local import main
from cloudtune.experiments.launchers.retries import MAX_RUNS, replaced_names, without_replaced
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.names import is_legal_name, retry_name
from cloudtune.remote.tuning_job import continued_by

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True).filter(is_legal_name)


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
    assert found - replaced_names(found) == {retry_name(name, max({1, *runs}))}


def test_seeds_do_not_replace_one_another() -> None:
    assert replaced_names([f"a-RS-{seed}" for seed in range(20)]) == set()


def test_the_same_command_runs_a_failed_experiment_anew(tmp_path: Path, own_folder: Path) -> None:
    script = write_script(tmp_path / "s", "raise RuntimeError('out of memory')")
    command = ["--method", "RS", "--experiment_tag", "t", "--max_failures", "0"]
    assert main(methods, lambda: benchmark_of(script), argv=command) == 6
    write_script(tmp_path / "s", GOOD)
    assert main(methods, lambda: benchmark_of(script), argv=command) == 0
    assert main(methods, lambda: benchmark_of(script), argv=command) == 0  # nothing more to do
    found = load_experiments("t", download_if_not_found=False)
    assert [e.name for e in found] == ["t-mine-RS-0", "t-mine-RS-0-r2"]
    assert [e.num_reports > 0 for e in without_replaced(found)] == [True]
    assert (own_folder / "t" / "comparison.png").stat().st_size > 1000
