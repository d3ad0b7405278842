"""The tuner as its users meet it, on a virtual clock."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from simulated import SPACE, asha, journal, kinds, random_search, simulated_tuner

from cloudtune import StoppingCriterion, Tuner
from cloudtune.config_space import choice
from cloudtune.errors import Conflict, NotFound, SpecError, TuningFailed
from cloudtune.optimizer.baselines import GridSearch, RandomSearch
from cloudtune.optimizer.scheduler import SchedulerDecision
from cloudtune.paths import experiments_root
from cloudtune.results.frame import read_results
from cloudtune.results_callback import ExtraResultsComposer, StoreResultsCallback
from cloudtune.stores.file import FileStore
from cloudtune.testing.scripted_world import Fault
from cloudtune.trial import Outcome, Status, Trial
from cloudtune.tuner_callback import TunerCallback

FIVE = StoppingCriterion(max_num_trials_started=5)


def test_files_of_an_experiment() -> None:
    tuner = simulated_tuner(FIVE, metadata={"user": "alice"})
    tuner.run()
    names = {path.name for path in tuner.tuner_path.iterdir()}
    assert {"metadata.json", "results.csv.zip", "tuner.dill", "journal"} <= names
    metadata = json.loads(tuner.paths.metadata.read_text())
    assert metadata["user"] == "alice"
    assert metadata["metric_names"] == ["loss"]
    assert metadata["scheduler_name"] == "RandomSearch"
    assert metadata["random_seed"] == 3
    results = read_results(tuner.paths.results)
    assert len(results) == 45
    assert set(results.trial_id) == set(range(5))


def test_best_config() -> None:
    tuner = simulated_tuner(FIVE)
    with pytest.raises(NotFound, match="no report"):
        tuner.best_config()
    tuner.run()
    results = read_results(tuner.paths.results)
    best = results.loc[results.loss.idxmin()]
    trial_id, config = tuner.best_config()
    assert trial_id == best.trial_id
    assert config["x"] == pytest.approx(best.config_x)
    assert tuner.best_config("loss") == (trial_id, config)
    with pytest.raises(NotFound, match="It has loss"):
        tuner.best_config("accuracy")


def test_same_seed_same_journal() -> None:
    first, second = (simulated_tuner(FIVE, asha(), tuner_name=name) for name in ("one", "two"))
    first.run()
    second.run()
    strip = [[e for e in journal(t) if e.kind != "session_started"] for t in (first, second)]
    assert strip[0] == strip[1]


def test_workers_never_exceed_their_number_and_are_kept_busy() -> None:
    tuner = simulated_tuner(StoppingCriterion(max_wallclock_time=500), asha(type="promotion"), n_workers=3)
    tuner.run()
    running, busiest = set(), 0
    for event in journal(tuner):
        if event.kind == "trial_started":
            running.add((event.trial_id, event.attempt))
        elif event.kind == "trial_ended":
            running.discard((event.trial_id, event.attempt))
        busiest = max(busiest, len(running))
    assert busiest == 3


def test_synchronous_scheduling_starts_batches() -> None:
    tuner = simulated_tuner(
        StoppingCriterion(max_num_trials_started=6), n_workers=3, asynchronous_scheduling=False
    )
    tuner.run()
    order = [e.kind for e in journal(tuner) if e.kind in ("trial_started", "trial_ended")]
    assert order == (["trial_started"] * 3 + ["trial_ended"] * 3) * 2


def test_an_exhausted_space_ends_tuning() -> None:
    space = {"x": choice([0.1, 0.2, 0.3]), "epochs": 9}
    scheduler = GridSearch(space, metric="loss", resource_attr="epoch", max_resource_attr="epochs", random_seed=0)
    tuner = simulated_tuner(StoppingCriterion(max_wallclock_time=1e6), scheduler)
    tuner.run()
    assert len(kinds(tuner, "trial_started")) == 3
    assert "exhausted" in kinds(tuner, "experiment_ended")[0].reason


def test_a_finished_experiment_is_not_run_again() -> None:
    simulated_tuner(FIVE).run()
    again = simulated_tuner(FIVE)
    before = len(journal(again))
    again.run()
    assert len(journal(again)) == before
    assert again.tuning_status.num_trials_completed == 5


def test_other_settings_under_the_same_name_are_refused() -> None:
    simulated_tuner(FIVE).run()
    with pytest.raises(SpecError, match=r"begun with other settings: .*stop_criterion"):
        simulated_tuner(StoppingCriterion(max_num_trials_started=6)).run()
    with pytest.raises(SpecError, match="scheduler"):
        simulated_tuner(FIVE, random_search(random_seed=4)).run()


def test_a_second_tuner_is_refused_and_names_the_first() -> None:
    tuner = simulated_tuner(FIVE)
    store = FileStore(tuner.paths)
    store.open("somebody:1234")
    with pytest.raises(Conflict, match="somebody:1234"):
        tuner.run()
    store.close()
    tuner.run()


class TestFailures:
    def test_a_few_failures_are_tolerated(self) -> None:
        world = {"faults": [Fault(trial_id=1, attempt=0, level=2, outcome=Outcome.failed)]}
        tuner = simulated_tuner(FIVE, world=world, max_failures=1)
        tuner.run()
        assert tuner.tuning_status.num_trials_failed == 1
        assert tuner.tuning_status.num_trials_completed == 4

    def test_too_many_end_tuning_with_the_reason(self) -> None:
        world = {"faults": [Fault(trial_id=i, attempt=0, level=1, outcome=Outcome.failed) for i in range(3)]}
        tuner = simulated_tuner(FIVE, world=world, max_failures=2)
        with pytest.raises(TuningFailed, match="3 trials failed"):
            tuner.run()
        assert tuner.tuning_status.num_trials_running == 0

    def test_interrupted_trials_are_resumed_and_lose_no_report(self) -> None:
        world = {"faults": [Fault(trial_id=0, attempt=0, level=4, outcome=Outcome.interrupted)]}
        tuner = simulated_tuner(FIVE, world=world)
        tuner.run()
        levels = [e.metrics["epoch"] for e in kinds(tuner, "trial_reported") if e.trial_id == 0]
        assert levels == list(range(1, 10))
        assert tuner.tuning_status.num_trials_completed == 5

    def test_without_checkpoints_repeated_levels_are_dropped(self) -> None:
        world = {
            "checkpointing": False,
            "faults": [Fault(trial_id=0, attempt=0, level=4, outcome=Outcome.interrupted)],
        }
        tuner = simulated_tuner(FIVE, world=world)
        tuner.run()
        levels = [e.metrics["epoch"] for e in kinds(tuner, "trial_reported") if e.trial_id == 0]
        assert levels == list(range(1, 10))

    def test_a_trial_that_is_always_interrupted_fails_in_the_end(self) -> None:
        world = {"faults": [Fault(trial_id=0, attempt=i, level=0, outcome=Outcome.interrupted) for i in range(9)]}
        tuner = simulated_tuner(FIVE, world=world)
        tuner.run()
        ends = [e for e in kinds(tuner, "trial_ended") if e.trial_id == 0]
        assert [e.outcome for e in ends] == ["interrupted"] * 3 + ["failed"]
        assert "4 times in a row" in ends[-1].reason

    def test_a_report_without_the_metric_says_so_and_leaves_nothing_running(self) -> None:
        tuner = simulated_tuner(FIVE, world={"curve": lambda config, level: {"accuracy": 1.0}})
        with pytest.raises(TuningFailed, match="without 'loss'"):
            tuner.run()
        assert tuner.trial_backend._world.running() == []
        assert kinds(tuner, "trial_reported") == []


class Recorder(TunerCallback):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_tuning_start(self, tuner: Tuner) -> None:
        self.calls.append(("start",))

    def on_tuning_end(self) -> None:
        self.calls.append(("end",))

    def on_start_trial(self, trial: Trial) -> None:
        self.calls.append(("trial", trial.trial_id))

    def on_resume_trial(self, trial: Trial) -> None:
        self.calls.append(("resume", trial.trial_id, trial.attempt))

    def on_trial_result(
        self, trial: Trial, status: Status, result: dict[str, Any], decision: SchedulerDecision
    ) -> None:
        self.calls.append(("result", trial.trial_id, result["epoch"], decision))

    def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
        self.calls.append(("complete", trial.trial_id, (result or {}).get("epoch")))

    def on_trial_paused(self, trial: Trial) -> None:
        self.calls.append(("paused", trial.trial_id))

    def on_trial_failed(self, trial: Trial, reason: str) -> None:
        self.calls.append(("failed", trial.trial_id))

    def on_trial_interrupted(self, trial: Trial, reason: str) -> None:
        self.calls.append(("interrupted", trial.trial_id))


class TestCallbacks:
    def test_hooks_follow_the_journal(self) -> None:
        recorder = Recorder()
        world = {"faults": [Fault(trial_id=1, attempt=0, level=2, outcome=Outcome.interrupted)]}
        tuner = simulated_tuner(
            StoppingCriterion(max_num_trials_started=6), asha(type="promotion"), callbacks=[recorder], world=world
        )
        tuner.run()
        assert recorder.calls[0] == ("start",)
        assert recorder.calls[-1] == ("end",)
        assert [c[1] for c in recorder.calls if c[0] == "trial"] == list(range(6))
        reported = [("result", e.trial_id, e.metrics["epoch"], e.decision) for e in kinds(tuner, "trial_reported")]
        assert [c for c in recorder.calls if c[0] == "result"] == reported
        outcomes = [e.outcome for e in kinds(tuner, "trial_ended")]
        assert sum(c[0] == "paused" for c in recorder.calls) == outcomes.count("paused") > 0
        resumed = [e for e in kinds(tuner, "trial_started") if e.attempt > 0]
        assert [c[1:] for c in recorder.calls if c[0] == "resume"] == [(e.trial_id, e.attempt) for e in resumed]

    def test_an_error_in_a_callback_leaves_nothing_running_and_the_experiment_resumable(self) -> None:
        class Bad(TunerCallback):
            def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
                raise ZeroDivisionError("oops")

        tuner = simulated_tuner(FIVE, callbacks=[Bad()])
        with pytest.raises(ZeroDivisionError):
            tuner.run()
        assert tuner.trial_backend._world.running() == []
        again = simulated_tuner(FIVE)
        again.run()
        assert again.tuning_status.num_trials_completed == 5
        reports = [(e.trial_id, e.metrics["epoch"]) for e in kinds(again, "trial_reported")]
        assert len(reports) == len(set(reports)) == 45

    def test_an_error_at_the_end_comes_out_when_all_is_recorded(self) -> None:
        class Bad(TunerCallback):
            def on_tuning_end(self) -> None:
                raise ZeroDivisionError("oops")

        tuner = simulated_tuner(FIVE, callbacks=[Bad()])
        with pytest.raises(Exception, match="oops"):
            tuner.run()
        assert kinds(tuner, "experiment_ended")
        assert tuner.paths.snapshot.exists()


class TestNames:
    def test_the_default_is_made_of_the_script_and_the_time(self) -> None:
        tuner = simulated_tuner(FIVE, tuner_name=None, suffix_tuner_name=True)
        assert tuner.name.endswith("-2023-11-14-22-13-20-000")

    def test_illegal_names_are_refused_with_a_proposal(self) -> None:
        with pytest.raises(SpecError, match="my-experiment"):
            simulated_tuner(FIVE, tuner_name="my_experiment")

    def test_the_same_command_continues_what_was_interrupted(self) -> None:
        class Stop(TunerCallback):
            def on_trial_result(self, trial: Trial, status: Status, result: Any, decision: Any) -> None:
                if trial.trial_id == 2:
                    raise KeyError("power cut")

        def make(callbacks: list[TunerCallback] | None = None, seed: int | None = None) -> Tuner:
            scheduler = RandomSearch(
                SPACE, metric="loss", resource_attr="epoch", max_resource_attr="epochs", random_seed=seed
            )
            return simulated_tuner(
                FIVE, scheduler, n_workers=1, suffix_tuner_name=True, tuner_name="long-run", callbacks=callbacks
            )

        first = make([Stop()])
        with pytest.raises(KeyError):
            first.run()
        second = make()
        assert second.name == first.name  # although the seed was drawn anew
        second.run()
        assert second.scheduler.random_seed == first.scheduler.random_seed
        assert second.tuning_status.num_trials_completed == 5
        assert second._find_unfinished("long-run") is None  # finished: the next run is a new one

    def test_resume_false_begins_anew(self) -> None:
        tuner = simulated_tuner(FIVE, tuner_name="x", suffix_tuner_name=True)
        tuner._prepare()
        assert simulated_tuner(FIVE, tuner_name="x", suffix_tuner_name=True, resume=False).name.startswith("x-")


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_workers": 0},
        {"n_workers": 1.5},
        {"n_workers": True},
        {"max_failures": -1},
        {"sleep_time": 0},
        {"results_update_interval": float("nan")},
        {"print_update_interval": -3},
        {"metadata": {"x": object()}},
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(arguments: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        simulated_tuner(FIVE, **arguments).run()
    assert not list(experiments_root().glob("*/journal"))


def test_a_criterion_must_be_one() -> None:
    with pytest.raises(SpecError, match="StoppingCriterion"):
        simulated_tuner(60)


class TestSnapshot:
    def test_a_loaded_tuner_can_be_looked_at(self) -> None:
        tuner = simulated_tuner(FIVE)
        tuner.run()
        loaded = Tuner.load(tuner.tuner_path)
        assert loaded.best_config() == tuner.best_config()
        assert loaded.tuning_status.num_reports == 45
        assert loaded.scheduler.random_seed == 3

    def test_it_is_not_needed(self) -> None:
        tuner = simulated_tuner(FIVE)
        tuner.run()
        tuner.paths.snapshot.write_bytes(b"damaged")
        again = simulated_tuner(FIVE)
        again.run()
        assert again.best_config() == tuner.best_config()

    def test_an_object_that_cannot_be_pickled_does_not_stop_tuning(self) -> None:
        class Unpicklable(TunerCallback):
            def __reduce__(self) -> Any:
                raise TypeError("no")

        tuner = simulated_tuner(FIVE, callbacks=[Unpicklable()])
        tuner.run()
        assert tuner.tuning_status.num_trials_completed == 5
        assert not tuner.paths.snapshot.exists()


def test_elapsed_time_is_recorded_while_nothing_happens() -> None:
    clock_world = {"epoch_s": 1000.0}
    tuner = simulated_tuner(StoppingCriterion(max_num_trials_started=1), n_workers=1, world=clock_world)
    tuner.run()
    times = [event.elapsed_s for event in journal(tuner)]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 31


def test_extra_columns_are_recorded_with_the_reports() -> None:
    class Running(ExtraResultsComposer):
        def __call__(self, tuner: Tuner) -> dict[str, Any]:
            return {"running": tuner.tuning_status.num_trials_running}

        def keys(self) -> list[str]:
            return ["running"]

    tuner = simulated_tuner(FIVE, n_workers=2, callbacks=[StoreResultsCallback(extra_results_composer=Running())])
    tuner.run()
    results = read_results(tuner.paths.results)
    assert list(results.running[:4]) == [2, 2, 2, 2]
    assert [event.extra["running"] for event in kinds(tuner, "trial_reported")] == list(results.running)
