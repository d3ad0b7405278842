"""The fault matrix, trials that are training jobs of the simulated cloud, on its virtual clock."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_experiment import Experiment, Tally, curve

from cloudtune.clock import Clock, VirtualClock
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.paths import ExperimentPaths
from cloudtune.sagemaker_backend.backend import SageMakerBackend
from cloudtune.simulated_cloud import CloudSettings, FileFaults, QuotaChange, SimulatedCloud, TrialScript
from cloudtune.stores import FileStore
from cloudtune.testing.accidents import Accidents
from cloudtune.testing.crash_anywhere import Disk, Laboratory, crash_often
from cloudtune.testing.scripted_world import Fault
from cloudtune.testing.story import Story
from cloudtune.trial import Config, Outcome
from cloudtune.tuner_loop import LoopObserver

#: Calls of a tuner's life on average: where its death is the fault, and where it comes on top.
SHORT_LIFE, LONG_LIFE = 30.0, 250.0
_AWAY_S = 1800.0


def pace(config: Config) -> float:
    """Seconds per level: no two trials in step."""
    return float(30.0 + 21.0 * config["x"])


class Cloud(SimulatedCloud):
    """Whose tuner's machine, once it is lost, is away for a while: jobs go on meanwhile."""

    away = random.Random(0)

    def lose_machine(self, recorded: Any, disk: bool = False) -> None:
        self.clock.sleep(self.away.expovariate(1 / _AWAY_S))


class CloudLab:
    """One experiment on the simulated cloud.

    Args:
        experiment: Which.
        folder: For the journal.
        settings: Of the cloud.
        faults: Of the script.
        observers: Of a tuner's life, given the cloud.
        spec: Of the trials' jobs.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        settings: CloudSettings | None = None,
        faults: tuple[Fault, ...] = (),
        observers: Callable[[Cloud], list[LoopObserver]] = lambda _: [],
        **spec: Any,
    ) -> None:
        self.experiment = experiment
        self.settings = settings or CloudSettings()
        self.faults = faults
        self.observers = observers
        self.spec = spec
        self.paths = ExperimentPaths(folder / "experiment")
        folder.mkdir(parents=True, exist_ok=True)
        self.script = folder / "train.py"
        self.script.write_text("")
        self.cloud = self.make_cloud()

    def make_cloud(self) -> Cloud:
        self.true_clock = VirtualClock()
        self.begun = self.true_clock.now()
        self.cloud = Cloud(TrialScript(curve, epoch_s=pace, faults=self.faults), self.settings, self.true_clock)
        return self.cloud

    def passed_s(self) -> float:
        """Seconds since the beginning, by the service's clock."""
        return self.true_clock.now() - self.begun

    def make_disk(self) -> Disk:
        return lambda: FileStore(self.paths, segment_bytes=4000)

    def make_backend(self, cloud: Cloud) -> SageMakerBackend:
        spec = TrainingJobSpec("template", "", "", "", **self.spec)
        return SageMakerBackend(spec, entry_point=str(self.script), delete_checkpoints=True, cloud=cloud)

    def run_once(self, store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        self.experiment.loop(store, backend, clock, self.paths, self.observers(self.cloud)).run()

    def laboratory(self) -> Laboratory:
        return Laboratory(self.make_cloud, self.make_disk, self.run_once, self.make_backend)

    def crash_often(self, mean_calls: float, machine: float = 0.0) -> Story:
        """The tuner dies again and again; where ``machine`` says so, its machine is away for a while."""
        return crash_often(self.laboratory(), random.Random(self.experiment.seed), mean_calls, machine)


def scenario(*faults: dict[str, Any], quotas: dict[str, Any] | None = None, **settings: Any) -> CloudSettings:
    """Settings with these faults."""
    document = {"schema": 1, "delays": "realistic", "faults": list(faults), "quotas": quotas or {}}
    return CloudSettings(Scenario.from_json(document), **settings)


def struck(cloud: SimulatedCloud) -> int:
    """How many faults of its scenario have struck."""
    return int(cloud.audit.counts()["faults"])


#: Makes a laboratory of which only its place is known: arguments as of :class:`CloudLab`.
MakeLab = Callable[..., CloudLab]

# -- the faults


def tuner_killed(make_lab: MakeLab, experiment: Experiment, folder: Path, tally: Tally) -> None:
    story = make_lab(experiment, folder, scenario(seed=experiment.seed)).crash_often(SHORT_LIFE)
    tally.take(experiment, story, len(story.lives) - 1)


def machine_lost(make_lab: MakeLab, experiment: Experiment, folder: Path, tally: Tally) -> None:
    story = make_lab(experiment, folder, scenario(seed=experiment.seed)).crash_often(SHORT_LIFE, machine=1.0)
    tally.take(experiment, story, story.machines_lost)


def with_scenario(
    make_settings: Callable[[int], CloudSettings],
    make_lab: MakeLab,
    experiment: Experiment,
    folder: Path,
    tally: Tally,
    **spec: Any,
) -> None:
    """Faults of requests and jobs; the tuner dies now and then, too."""
    lab = make_lab(experiment, folder, make_settings(experiment.seed), **spec)
    story = lab.crash_often(LONG_LIFE)
    tally.take(experiment, story, struck(lab.cloud))


def spot_settings(seed: int) -> CloudSettings:
    interruptions = ({"kind": "interruption", "rate_per_hour": 12, "notice": notice} for notice in (False, True))
    return scenario(*interruptions, seed=seed)


def throttled_settings(seed: int) -> CloudSettings:
    """Of the other requests, some are performed, and the answer is lost."""
    operations = ["sagemaker:*", "servicequotas:*"]
    lost = {"kind": "request_error", "operations": operations, "error": "unavailable", "after_effect": True}
    refused = {"kind": "request_error", "operations": operations, "error": "throttled", "probability": 0.3}
    return scenario(refused, {**lost, "probability": 0.05}, seed=seed)


def s3_settings(seed: int) -> CloudSettings:
    """One request in ten; half of those that fail are performed all the same."""
    kinds = {"internal_error": False, "throttled": False, "unavailable": True, "truncated_body": True}
    error = {"kind": "request_error", "operations": ["s3:*"], "probability": 0.026}
    return scenario(*({**error, "error": kind, "after_effect": after} for kind, after in kinds.items()), seed=seed)


def stale_settings(seed: int) -> CloudSettings:
    late = {"kind": "stale_read", "operations": ["ListTrainingJobs"], "lag_s": 45, "appears_s": 60}
    old = {"kind": "stale_read", "operations": ["DescribeTrainingJob"], "lag_s": 20}
    return scenario(late, old, seed=seed)


def lost_checkpoint_settings(seed: int) -> CloudSettings:
    lost = {"kind": "lost_checkpoint_upload", "probability": 0.4}
    interruption = {"kind": "interruption", "rate_per_hour": 6}
    return scenario(lost, interruption, seed=seed, file_faults=FileFaults(late_checkpoint=0.3))


def torn_settings(seed: int) -> CloudSettings:
    """Every other one is never made whole."""
    repair_s = 60.0 if seed % 2 else None
    return scenario(seed=seed, file_faults=FileFaults(torn_reports=0.7, repair_s=repair_s))


def quota_halved(make_lab: MakeLab, experiment: Experiment, folder: Path, tally: Tally) -> None:
    """Halved, restored and halved again, while jobs run; half of the tuners cannot read quotas."""
    changes = tuple(
        QuotaChange(400.0 * number, "*", "on_demand", 2 if number % 2 else 4) for number in range(1, 30)
    )
    settings = scenario(
        quotas={"*": {"on_demand": 4}},
        seed=experiment.seed,
        quota_changes=changes,
        quotas_readable=experiment.seed % 2 == 0,
    )
    lab = make_lab(experiment, folder, settings)
    story = lab.crash_often(LONG_LIFE)
    tally.take(experiment, story, sum(change.after_s < lab.passed_s() and change.limit == 2 for change in changes))


def clock_jumps(make_lab: MakeLab, experiment: Experiment, folder: Path, tally: Tally) -> None:
    rng = random.Random(experiment.seed)
    jumps = tuple((rng.uniform(0, 2500), rng.choice([-1, 1]) * rng.expovariate(1 / 900)) for _ in range(20))
    lab = make_lab(experiment, folder, scenario(seed=experiment.seed, clock_jumps=jumps))
    story = lab.crash_often(LONG_LIFE)
    tally.take(experiment, story, sum(after_s < lab.passed_s() for after_s, _ in jumps))


def trial_killed(make_lab: MakeLab, experiment: Experiment, folder: Path, tally: Tally) -> None:
    """Scripts fail, the platform fails under them, and somebody stops jobs in the console."""
    rng = random.Random(experiment.seed)
    faults = tuple(
        Fault(trial_id, attempt, rng.randint(1, 6), rng.choice([Outcome.failed, Outcome.interrupted]))
        for trial_id in range(experiment.max_trials)
        for attempt in range(3)
        if rng.random() < 0.4
    )
    accidents: list[Accidents] = []

    def stop_a_job(cloud: Cloud) -> bool:
        names = cloud.running()
        if names:
            cloud.jobs.stop(rng.choice(names))
        return bool(names)

    def observers(cloud: Cloud) -> list[LoopObserver]:
        accidents.append(Accidents(functools.partial(stop_a_job, cloud), rng, 0.02))
        return [accidents[-1]]

    internal = {"kind": "internal_error", "training_s": 70, "probability": 0.2}
    lab = make_lab(experiment, folder, scenario(internal, seed=experiment.seed), faults, observers)
    story = lab.crash_often(LONG_LIFE)
    stopped = sum(accident.num_struck for accident in accidents)
    scripted = sum("scripted fault" in (status.failure_reason or "") for status in lab.cloud.statuses())
    tally.take(experiment, story, stopped + scripted + struck(lab.cloud))
