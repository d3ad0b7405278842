"""Experiments in the simulated cloud: rehearsed by users, repeated by seed, a thousand trials at a time."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cloudtune import StoppingCriterion, Tuner
from cloudtune.aws.cost import SPOT_SHARE
from cloudtune.config_space import choice, loguniform, uniform
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.errors import SpecError
from cloudtune.experiment import events as ev
from cloudtune.instance_info import price_per_hour
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.optimizer.scheduler import Scheduler
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.sagemaker_backend.ports import Cloud
from cloudtune.simulated_cloud import CloudSettings, FileFaults, SimulatedCloud, TrialScript
from cloudtune.simulated_cloud.learning_curve import LearningCurve
from cloudtune.simulated_cloud.rehearsal import Rehearsal, rehearse
from cloudtune.stores import MemoryStore
from cloudtune.testing.journal_checks import check_journal

SPACE = {"lr": loguniform(1e-4, 1.0), "kind": choice(["a", "b", "c"]), "x": uniform(0, 1), "epochs": 27}
COMMON: dict[str, Any] = {"metric": "loss", "resource_attr": "epoch", "max_resource_attr": "epochs"}


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / "experiments"))
    script = tmp_path / "train.py"
    script.write_text("")
    return str(script)


def rehearsed(
    train: str,
    scenario: Scenario | str = "calm",
    seeds: range = range(1),
    epoch_s: Any = 60.0,
    tuner_instance: tuple[str, bool] | None = None,
    **spec: Any,
) -> Rehearsal:
    def backend(cloud: Cloud) -> SageMakerBackend:
        return SageMakerBackend(TrainingJobSpec("job", "", "", "", **spec), entry_point=train, cloud=cloud)

    def scheduler(seed: int) -> Scheduler:
        return RandomSearch({**SPACE, "epochs": 3}, random_seed=seed, **COMMON)

    criterion = StoppingCriterion(max_num_trials_started=6)
    where: dict[str, Any] = {"seeds": seeds, "scenario": scenario, "tuner_instance": tuner_instance}
    return rehearse(backend, scheduler, criterion, 2, epoch_s, **where)


def test_cost_by_hand(train: str) -> None:
    (run,) = rehearsed(train).runs
    price = price_per_hour("ml.m5.large")
    assert price is not None
    job_s = 20 + 10 + 3 * 60 + 1 + 5  # download, setup, epochs, end, upload
    assert run.usd == pytest.approx(6 * job_s * price / 3600)
    assert (run.num_trials, run.num_jobs, run.num_reports, run.highest_level) == (6, 6, 18, 3)
    assert 3 * job_s <= run.duration_s <= 3 * (job_s + 30), "two at a time; ends are noticed a little later"


def test_the_tuners_own_instance_costs_until_tuning_ends(train: str) -> None:
    (alone,) = rehearsed(train).runs
    for tuner_instance, share in ((("ml.m5.xlarge", False), 1.0), (("ml.m5.xlarge", True), SPOT_SHARE)):
        (both,) = rehearsed(train, tuner_instance=tuner_instance).runs
        assert both.usd - alone.usd == pytest.approx(share * 0.23 * alone.duration_s / 3600)
        assert both == replace(alone, usd=both.usd)
    (unknown,) = rehearsed(train, tuner_instance=("ml.z9.huge", False)).runs
    assert unknown == replace(alone, unpriced=("ml.z9.huge",))


def test_how_long_training_takes_may_depend_on_the_instance(train: str) -> None:
    """Also where it is not tuned: another type may have been taken in place of one that is not there."""
    seconds = {"ml.m5.large": 60.0, "ml.m5.xlarge": 30.0}

    def epoch_s(config: dict[str, Any]) -> float:
        return seconds[config["st_instance_type"]]

    (slow,) = rehearsed(train, epoch_s=epoch_s).runs
    (fast,) = rehearsed(train, epoch_s=epoch_s, instance_type="ml.m5.xlarge").runs
    assert slow.duration_s - fast.duration_s == pytest.approx(3 * 3 * 30, abs=30)


def test_conditions_show(train: str) -> None:
    (calm,) = rehearsed(train).runs
    (slow,) = rehearsed(train, Scenario("slow", delays="realistic")).runs
    (narrow,) = rehearsed(train, Scenario("narrow", quotas=(("*", "on_demand", 1),))).runs
    assert slow.starting_s >= 6 * 60
    assert slow.duration_s >= calm.duration_s + 3 * 60
    assert slow.usd == pytest.approx(calm.usd), "the wait for instances is free"
    assert narrow.waiting_s > calm.waiting_s + 5 * 100
    assert narrow.duration_s > 1.5 * calm.duration_s


def test_warm_pools_cost_their_idle_time(train: str) -> None:
    quotas = (("*", "warm_pool", 2),)
    (cold,) = rehearsed(train, Scenario("x", delays="realistic", quotas=quotas)).runs
    (warm,) = rehearsed(train, Scenario("x", delays="realistic", quotas=quotas), keep_alive_s=600).runs
    assert warm.duration_s < cold.duration_s - 100
    assert warm.usd > cold.usd


def test_repeatable_and_leaves_nothing(train: str, tmp_path: Path) -> None:
    spot: dict[str, Any] = {"spot": True}
    once, again = (rehearsed(train, "bad_day", range(2), **spot) for _ in range(2))
    assert once == again
    assert once.runs[0] != once.runs[1]
    assert sum(run.interruptions for run in once.runs) > 0
    assert not (tmp_path / "experiments").exists()


def test_table(train: str) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(rehearsed(train, seeds=range(2), instance_type="ml.m5.large").table())
    text = console.export_text()
    for word in ("Rehearsal, 2 runs", "duration", "cost", "highest level", "wait of a job for quota"):
        assert word in text


def test_needs_to_know_how_long_trials_are(train: str) -> None:
    with pytest.raises(SpecError, match="max_resource_attr"):
        rehearse(
            lambda cloud: SageMakerBackend(TrainingJobSpec("j", "", "", ""), entry_point=train, cloud=cloud),
            lambda seed: RandomSearch(SPACE, metric="loss", random_seed=seed),
            StoppingCriterion(max_num_trials_started=1),
            1,
            1.0,
        )


def test_learning_curves_are_plausible() -> None:
    curve = LearningCurve(SPACE, ["loss", "acc"], ["min", "max"], seed=1)
    good, bad = ({"lr": lr, "kind": "a", "x": 0.5} for lr in (0.01, 1.0))
    for config in (good, bad):
        values = [curve(config, level) for level in (1, 3, 9, 27)]
        assert [v["loss"] for v in values] == sorted((v["loss"] for v in values), reverse=True)
        assert [v["acc"] for v in values] == sorted(v["acc"] for v in values)
        assert all(0.0 <= v["loss"] <= 1.1 for v in values)
    assert curve(good, 27) == LearningCurve(SPACE, ["loss", "acc"], ["min", "max"], seed=1)(good, 27)
    assert curve(good, 27) != LearningCurve(SPACE, ["loss", "acc"], ["min", "max"], seed=2)(good, 27)
    assert len({curve({**good, "x": x / 10}, 27)["loss"] for x in range(10)}) == 10


def tuned(
    train: str, settings: CloudSettings, trials: int, n_workers: int, **spec: Any
) -> tuple[SimulatedCloud, list[ev.Event]]:
    """A whole experiment with ASHA."""
    space = {**SPACE, "epochs": 30}
    scheduler = ASHA(space, type="promotion", grace_period=1, random_seed=3, **COMMON)
    script = TrialScript(LearningCurve(space, ["loss"], ["min"], 3), lambda config: 40 + 30 * config["x"])
    cloud, store = SimulatedCloud(script, settings), MemoryStore()
    backend = SageMakerBackend(TrainingJobSpec("job", "", "", "", **spec), entry_point=train, cloud=cloud)
    Tuner(
        backend,
        scheduler,
        StoppingCriterion(max_num_trials_started=trials),
        n_workers,
        max_failures=trials,
        clock=cloud.clock,
        store=store,
        save_tuner=False,
        tuner_name=f"many-{n_workers}",
        suffix_tuner_name=False,
        resume=False,
    ).run()
    return cloud, store.read()


def check(cloud: SimulatedCloud, events: list[ev.Event]) -> None:
    assert cloud.violations == []
    assert check_journal(events, "epoch", "epochs") == []
    assert cloud.running() == []


def test_calls_do_not_grow_with_the_number_of_workers(train: str) -> None:
    """Lists per simulated second are the same with 4 and with 40 jobs at a time."""
    rates = []
    for n_workers in (4, 40):
        cloud, events = tuned(train, CloudSettings(), 60, n_workers)
        check(cloud, events)
        lists = cloud.calls["sagemaker:ListTrainingJobs"]
        rates.append(lists / events[-1].elapsed_s)
    assert rates[1] <= 1.2 * rates[0]


def test_the_same_seed_gives_the_same_story(train: str) -> None:
    settings = CloudSettings("bad_day", seed=4, file_faults=FileFaults(torn_reports=0.2, late_checkpoint=0.2))
    stories = []
    for _ in range(2):
        cloud, events = tuned(train, settings, 30, 5, spot=True)
        check(cloud, events)
        steps = [(e["job"], e["phase"], e["service_time"]) for e in cloud.audit.entries("transition")]
        stories.append((steps, [ev.encode(event) for event in events][1:]))
    assert stories[0][0] == stories[1][0]
    assert [line for line in stories[0][1] if "session" not in line] == [
        line for line in stories[1][1] if "session" not in line
    ]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["calm", "realistic", "bad_day"])
def test_a_thousand_trials(train: str, scenario: str) -> None:
    cloud, events = tuned(train, CloudSettings(scenario), 1000, 16)
    check(cloud, events)
    assert len({event.trial_id for event in events if isinstance(event, ev.TrialStarted)}) == 1000
