"""What scripts, users and disks get wrong must neither lose nor distort an experiment."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest
from simulated import SPACE, asha, kinds, random_search, simulated_tuner

from cloudtune import StoppingCriterion, Tuner
from cloudtune.backend import LocalBackend
from cloudtune.errors import StoreError
from cloudtune.experiment.core import CoreOptions, ExperimentCore, Moment
from cloudtune.experiment.events import StopRequested, TrialReported, TrialStarted
from cloudtune.experiment.ports import AttemptEnded, ReportSeen
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.results.frame import ResultsBuilder, read_results
from cloudtune.stores.file import FileStore
from cloudtune.stores.memory import MemoryStore
from cloudtune.trial import Outcome, Trial
from cloudtune.tuner_callback import TunerCallback
from cloudtune.tuning_status import TuningStatus

FIVE = StoppingCriterion(max_num_trials_started=5)
NOW = Moment(0.0, 0.0)


def one_worker_core(scheduler: Any) -> ExperimentCore:
    status = TuningStatus(["loss"])
    return ExperimentCore(scheduler, CoreOptions(n_workers=1), status, lambda: None)


def do_plans(core: ExperimentCore) -> list[Any]:
    events = []
    while (event := core.plan(NOW)) is not None:
        core.apply(event)
        events.append(event)
    return events


def tell(core: ExperimentCore, fact: ReportSeen | AttemptEnded) -> Any:
    event = core.interpret(fact, NOW)
    if event is not None:
        core.apply(event)
    return event


class TestBeyondThePause:
    """ASHA by promotion, and a script that trains to level 9 whatever it is told."""

    def test_it_is_promoted_to_the_top_by_what_it_has_reported_early(self) -> None:
        core = one_worker_core(asha(type="promotion"))
        events: list[Any] = []
        for _ in range(12):
            events += do_plans(core)
            for trial_id, attempt in [(i, core.state.trials[i].trial.attempt) for i in core.state.running]:
                facts: list[ReportSeen | AttemptEnded] = [
                    ReportSeen(trial_id, attempt, level - 1, {"epoch": level, "loss": trial_id + 1 / level})
                    for level in range(1, 10)
                ]
                events += [
                    tell(core, fact) for fact in [*facts, AttemptEnded(trial_id, attempt, Outcome.completed)]
                ]
        reports = [(e.trial_id, e.metrics["epoch"]) for e in events if isinstance(e, TrialReported)]
        assert len(reports) == len(set(reports)) == 9 * len(core.state.trials)
        attempts = [e.attempt for e in events if isinstance(e, TrialStarted) and e.trial_id == 0]
        assert attempts == [0, 1, 2]  # to levels 1, 3 and 9
        again = one_worker_core(asha(type="promotion"))
        for event in filter(None, events):
            again.replay(event)
        assert [(t.status, t.wanted, t.level) for t in again.state.trials.values()] == [
            (t.status, t.wanted, t.level) for t in core.state.trials.values()
        ]

    def test_a_script_that_goes_on_is_not_waited_for(self) -> None:
        core = one_worker_core(asha(type="promotion"))
        do_plans(core)
        tell(core, ReportSeen(0, 0, 0, {"epoch": 1, "loss": 1.0}))
        assert do_plans(core) == []  # it was told to end at level 1: it may do so by itself
        tell(core, ReportSeen(0, 0, 1, {"epoch": 2, "loss": 1.0}))
        stop = do_plans(core)[0]
        assert isinstance(stop, StopRequested)
        assert stop.outcome == "paused"

    def test_trials_that_take_long_to_stop_do_not_pile_up(self) -> None:
        core = one_worker_core(asha(type="promotion"))
        most = 0
        for _ in range(9):
            do_plans(core)
            most = max(most, len(core.state.running))
            for trial_id in list(core.state.running):
                cursor = core.state.trials[trial_id].cursor
                tell(core, ReportSeen(trial_id, 0, cursor, {"epoch": cursor + 1, "loss": 1.0}))
        assert most == 2

    def test_reports_after_a_stop_are_recorded(self) -> None:
        core = one_worker_core(asha(type="stopping"))
        do_plans(core)
        for level in (9, 10):
            event = tell(core, ReportSeen(0, 0, level - 9, {"epoch": level, "loss": 1.0}))
            assert isinstance(event, TrialReported)


class TestUselessReports:
    def test_one_fails_its_trial_and_not_the_experiment(self) -> None:
        def curve(config: Any, level: int) -> dict[str, Any]:
            is_bad = config["x"] == 0.5 and level == 4
            return {"accuracy": 1.0} if is_bad else {"loss": config["x"]}

        tuner = simulated_tuner(FIVE, world={"curve": curve})  # the first configuration is the middle: x=0.5
        tuner.run()
        status = tuner.tuning_status
        assert (status.num_trials_failed, status.num_trials_completed) == (1, 4)
        (failed,) = [e for e in kinds(tuner, "trial_ended") if e.outcome == "failed"]
        assert failed.trial_id == 0
        assert "without 'loss'" in failed.reason
        assert [e.metrics["epoch"] for e in kinds(tuner, "trial_reported") if e.trial_id == 0] == [1, 2, 3]

    def test_the_reason_of_a_failure_is_shown(self, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
        script = tmp_path / "train.py"
        script.write_text("raise ValueError('no such data set')")
        scheduler = RandomSearch(SPACE, metric="loss")
        criterion = StoppingCriterion(max_num_trials_started=1)
        with caplog.at_level(logging.WARNING):
            Tuner(LocalBackend(str(script)), scheduler, criterion, 1).run()
        assert "Trial 0 has failed: exit code 1; ValueError: no such data set" in caplog.text


class TestStoppedBySomebodyElse:
    """Not by the tuner: a platform that ends processes, or a person who ended this one."""

    def end(self, by_other: bool, reason: str = "", paused: bool = False) -> Any:
        core = one_worker_core(asha(type="promotion") if paused else random_search())
        do_plans(core)
        if paused:
            tell(core, ReportSeen(0, 0, 0, {"epoch": 1, "loss": 1.0}))
        return tell(core, AttemptEnded(0, 0, Outcome.stopped, reason, by_other=by_other)), do_plans(core)

    def test_a_person_meant_it(self) -> None:
        ended, next_up = self.end(by_other=True)
        assert (ended.outcome, ended.reason) == ("stopped", "stopped by somebody else")
        assert [(e.trial_id, e.attempt) for e in next_up] == [(1, 0)]
        ended, _ = self.end(by_other=True, reason="stopped on the console")
        assert ended.reason == "stopped on the console"

    def test_otherwise_it_is_resumed(self) -> None:
        ended, next_up = self.end(by_other=False)
        assert ended.outcome == "interrupted"
        assert [(e.trial_id, e.attempt) for e in next_up] == [(0, 1)]

    def test_one_that_had_got_as_far_as_it_was_to_get_is_paused(self) -> None:
        ended, _ = self.end(by_other=True, paused=True)
        assert ended.outcome == "paused"


class Sessions(TunerCallback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_tuning_start(self, tuner: Tuner) -> None:
        self.calls.append("start")

    def on_tuning_end(self) -> None:
        self.calls.append("end")


class TestEnds:
    def test_running_an_ended_experiment_restores_its_results(self) -> None:
        tuner = simulated_tuner(FIVE)
        tuner.run()
        tuner.paths.results.unlink()  # killed right after the last event
        sessions = Sessions()
        simulated_tuner(FIVE, callbacks=[sessions]).run()
        assert len(read_results(tuner.paths.results)) == 45
        assert sessions.calls == ["start", "end"]

    def test_a_backend_that_cannot_be_opened_ends_the_session(self) -> None:
        sessions = Sessions()
        tuner = Tuner(LocalBackend("missing.py"), asha(), FIVE, 1, callbacks=[sessions])
        with pytest.raises(ValueError, match=r"missing\.py"):
            tuner.run()
        assert sessions.calls == ["start", "end"]

    def test_an_error_is_not_hidden_by_one_of_a_callback(self) -> None:
        class Bad(TunerCallback):
            def on_trial_complete(self, trial: Trial, result: dict[str, Any] | None) -> None:
                raise ZeroDivisionError("first")

            def on_tuning_end(self) -> None:
                raise ValueError("second")

        with pytest.raises(ZeroDivisionError, match="first"):
            simulated_tuner(FIVE, callbacks=[Bad()]).run()

    def test_a_person_is_told_how_it_ended_and_where_results_are(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        script = tmp_path / "train.py"
        script.write_text("print('[tune-metric]: {\"loss\": 1.0}')")
        criterion = StoppingCriterion(max_num_trials_started=1)
        for _ in range(2):  # the second time, it has ended already
            tuner = Tuner(
                LocalBackend(str(script)),
                RandomSearch(SPACE, metric="loss", random_seed=1),
                criterion,
                1,
                tuner_name="told",
                suffix_tuner_name=False,
            )
            tuner.run()
            shown = capsys.readouterr().out
            assert f"Results: {tuner.tuner_path}. Ended: 1 trials have been started." in shown


class TestDisks:
    def test_results_that_cannot_be_written_cost_nothing(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(self: ResultsBuilder, path: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(ResultsBuilder, "write", full)
        tuner = simulated_tuner(FIVE)
        tuner.run()
        assert tuner.tuning_status.num_trials_completed == 5
        assert "No space left" in caplog.text

    def test_a_tuner_that_knows_more_than_its_journal_is_refused(self) -> None:
        class FullAfter(MemoryStore):
            is_full = False

            def append(self, events: Any) -> None:
                if len(self.read()) > 20 and not self.is_full:
                    self.is_full = True
                    raise StoreError("disk full")
                super().append(events)

        store = FullAfter()
        tuner = simulated_tuner(FIVE, store=store)
        with pytest.raises(StoreError, match="disk full"):
            tuner.run()
        num_events = len(store.read())
        with pytest.raises(StoreError, match="earlier session could not record"):
            tuner.run()
        assert len(store.read()) == num_events
        simulated_tuner(FIVE, store=store).run()
        assert store.read()[-1].kind == "experiment_ended"


class TestChoices:
    def test_a_scheduler_that_another_tuner_has_used_is_refused(self) -> None:
        scheduler = asha()
        tuner = simulated_tuner(FIVE, scheduler, tuner_name="one")
        tuner.run()
        tuner.run()  # the same tuner may go on
        with pytest.raises(ValueError, match="used by another tuner"):
            simulated_tuner(FIVE, scheduler, tuner_name="two").run()

    def test_an_unfinished_experiment_that_cannot_be_read_is_left_alone(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        arguments = {"tuner_name": "long", "suffix_tuner_name": True}
        first = simulated_tuner(FIVE, **arguments)
        first.run()
        segment = first.paths.segment(0)
        segment.write_bytes(segment.read_bytes()[:-40] + b"damaged\n")
        simulated_tuner(FIVE, **arguments)
        assert f"Not continuing {first.name}, which cannot be read" in caplog.text

    def test_looking_for_experiments_does_not_lock_those_that_begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        arguments = {"tuner_name": "long", "suffix_tuner_name": True}
        beginning = simulated_tuner(FIVE, **arguments)
        beginning._prepare()
        opened: list[str] = []
        monkeypatch.setattr(FileStore, "open", lambda self, holder: opened.append(holder))
        simulated_tuner(FIVE, **arguments)
        assert opened == []
