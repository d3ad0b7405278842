"""Trials that go on from the checkpoint of another one, as in population based training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from cloudtune import StoppingCriterion, Tuner
from cloudtune.config_space import uniform
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.experiment.events import TrialReported
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import RandomSearch
from cloudtune.optimizer.scheduler import SchedulerDecision, TrialSuggestion
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.simulated_cloud import CloudSettings, SimulatedCloud, TrialScript
from cloudtune.stores.memory import MemoryStore
from cloudtune.trial import Metrics, Outcome, Trial

LAST = 9


class Cloner(RandomSearch):
    """Trials up to ``plain`` begin anew, trial 0 up to level ``source_epochs``, the others to the last one. Each
    later one goes on from trial 0, once that is at level ``at`` and the other plain ones have ended."""

    def __init__(self, source_epochs: int, at: int, plain: int = 0) -> None:
        space = {"x": uniform(0, 1), "epochs": LAST}
        names = {"metric": "loss", "resource_attr": "epoch", "max_resource_attr": "epochs"}
        super().__init__(space, random_seed=1, **names)
        self._source_epochs, self._at, self._plain = source_epochs, at, plain
        self._reached, self._num_ended = 0, 0

    def suggest(self, trial_id: int) -> TrialSuggestion | None:
        found = super().suggest(trial_id)
        if found is None or trial_id == 0:
            return found and TrialSuggestion.start_suggestion({**found.config, "epochs": self._source_epochs})
        if trial_id <= self._plain:
            return found
        if self._reached < self._at or self._num_ended < self._plain:
            return None
        return TrialSuggestion.start_suggestion(found.config, checkpoint_trial_id=0)

    def on_report(self, trial: Trial, metrics: Metrics) -> SchedulerDecision:
        if trial.trial_id == 0:
            self._reached = metrics["epoch"]
        return super().on_report(trial, metrics)

    def on_end(self, trial: Trial, outcome: Outcome) -> None:
        super().on_end(trial, outcome)
        self._num_ended += trial.trial_id > 0


def tune(
    folder: Path, scheduler: Cloner, settings: CloudSettings, epoch_s: float
) -> tuple[list[Any], dict[int, list[int]]]:
    """From which level on each of three trials has trained, and what it has reported. Checkpoints are to be
    deleted."""
    world = SimulatedCloud(TrialScript(lambda config, level: {"loss": 1 / level}, epoch_s), settings)
    (folder / "train.py").write_text("")
    spec = TrainingJobSpec("", "", "", "")
    backend = SageMakerBackend(spec, entry_point=folder / "train.py", delete_checkpoints=True, cloud=world)
    store = MemoryStore()
    criterion = StoppingCriterion(max_num_trials_started=3)
    options: dict[str, Any] = {"clock": world.clock, "store": store, "save_tuner": False}
    Tuner(backend, scheduler, criterion, 3, tuner_name="t", suffix_tuner_name=False, **options).run()
    levels: dict[int, list[int]] = {}
    for event in store.read():
        if isinstance(event, TrialReported):
            levels.setdefault(event.trial_id, []).append(event.metrics["epoch"])
    assert not any(world.checkpoints(world.where("t")).values())
    assert world.violations == []
    assert [launch.trial_id for launch in world.launches] == [0, 1, 2]
    return [launch.from_level for launch in world.launches], levels


def one_instance() -> CloudSettings:
    return CloudSettings(Scenario.from_json({"schema": 1, "faults": [], "quotas": {"*": {"on_demand": 1}}}))


@pytest.mark.parametrize("epoch_s", [3.0, 30.0])
def test_the_source_goes_on_meanwhile(tmp_path: Path, epoch_s: float) -> None:
    """What is copied may be newer than what was recorded when the clone was planned."""
    begun, levels = tune(tmp_path, Cloner(source_epochs=LAST, at=2), CloudSettings(), epoch_s)
    assert begun[0] == 0 and min(begun[1:]) >= 2
    assert levels[0] == list(range(1, LAST + 1))
    assert all(levels[trial_id] == list(range(levels[trial_id][0], LAST + 1)) for trial_id in (1, 2))
    assert all(levels[trial_id][0] > begun[trial_id] for trial_id in (1, 2))


def test_the_source_is_over_before_there_is_room_for_its_clones(tmp_path: Path) -> None:
    begun, levels = tune(tmp_path, Cloner(source_epochs=4, at=2), one_instance(), 30.0)
    assert begun == [0, 4, 4]
    assert levels == {0: [1, 2, 3, 4], 1: [5, 6, 7, 8, 9], 2: [5, 6, 7, 8, 9]}


def test_nobody_could_know_that_the_source_would_be_cloned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was over long before the first clone was planned: that is said, at least."""
    with caplog.at_level(logging.WARNING, "cloudtune"):
        begun, _ = tune(tmp_path, Cloner(source_epochs=4, at=4, plain=1), CloudSettings(), 30.0)
    assert begun == [0, 0, 0]
    assert "Trial 2 was to go on from the checkpoint of trial 0" in caplog.text
