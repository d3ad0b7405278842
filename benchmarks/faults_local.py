"""The fault matrix, trials on the tuner's machine: real processes, and the journal on its disk."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_experiment import Experiment, Tally, curve

from cloudtune.backend import LocalBackend
from cloudtune.clock import Clock, VirtualClock
from cloudtune.errors import Conflict
from cloudtune.experiment.ports import ExperimentStore, TrialBackend
from cloudtune.paths import ExperimentPaths
from cloudtune.stores import FileStore
from cloudtune.testing import processes, witnessed_checkpoints
from cloudtune.testing.accidents import Accidents
from cloudtune.testing.crash_anywhere import Disk, Laboratory, crash_often
from cloudtune.testing.jumping_clock import JumpingClock
from cloudtune.testing.process_world import ProcessWorld
from cloudtune.testing.scripted_world import ScriptedWorld
from cloudtune.testing.story import Story
from cloudtune.trial import Config

#: Calls of a tuner's life on average: where its death is the fault, and where it comes on top.
SHORT_LIFE, LONG_LIFE = 60.0, 600.0
_TORN_EVENT = b'{"kind":"trial_reported","schema":1,"time":17'
_TORN_REPORT = b'[tune-metric]: {"epoch": 1, "lo'


class LocalLab:
    """One experiment with real processes.

    Args:
        experiment: Which.
        folder: Of its own.
        strike: What goes wrong at random turns of the tuner, given the lab; whether there was anything to strike.
        probability: At each turn.
        script: Of the trials; None: the world's.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        strike: Callable[[LocalLab], bool] = lambda _: False,
        probability: float = 0.0,
        script: Path | None = None,
    ) -> None:
        self.experiment = experiment
        self.rng = random.Random(experiment.seed)
        self.world = ProcessWorld(folder, script) if script else ProcessWorld(folder)
        self.accidents = Accidents(lambda: strike(self), self.rng, probability)

    def make_disk(self) -> Disk:
        return lambda: FileStore(self.world.paths, segment_bytes=4000)

    def make_backend(self, world: ProcessWorld) -> LocalBackend:
        return LocalBackend(world.entry_point, rotate_gpus=False, grace_period_s=5.0)

    def run_once(self, store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        self.experiment.loop(store, backend, clock, self.world.paths, [self.accidents]).run()

    def laboratory(self) -> Laboratory:
        return Laboratory(lambda: self.world, self.make_disk, self.run_once, self.make_backend)

    def crash_often(self, mean_calls: float, machine: float = 0.0) -> Story:
        try:
            return crash_often(self.laboratory(), self.rng, mean_calls, machine)
        finally:
            self.world.end()


def with_accidents(
    strike: Callable[[LocalLab], bool],
    probability: float,
    experiment: Experiment,
    folder: Path,
    tally: Tally,
    **options: Any,
) -> None:
    """The tuner dies now and then, too."""
    lab = LocalLab(experiment, folder, strike, probability, **options)
    story = lab.crash_often(LONG_LIFE, machine=0.5)
    tally.take(experiment, story, lab.accidents.num_struck)


# -- the faults


def tuner_killed(experiment: Experiment, folder: Path, tally: Tally) -> None:
    story = LocalLab(experiment, folder / "processes").crash_often(SHORT_LIFE)
    tally.take(experiment, story, len(story.lives) - 1)
    story = scripted(experiment, folder / "scripted", 0.0)
    tally.take(experiment, story, len(story.lives) - 1)


def machine_lost(experiment: Experiment, folder: Path, tally: Tally) -> None:
    story = LocalLab(experiment, folder / "processes").crash_often(SHORT_LIFE, machine=1.0)
    tally.take(experiment, story, story.machines_lost)
    story = scripted(experiment, folder / "scripted", 1.0)
    tally.take(experiment, story, story.machines_lost)


def scripted(experiment: Experiment, folder: Path, machine: float) -> Story:
    """The same on a virtual clock, where a tuner can die more often in a second."""

    def pace(config: Config) -> float:
        return float(1.0 + 0.7 * config["x"])

    paths = ExperimentPaths(folder / "experiment")

    def run_once(store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        experiment.loop(store, backend, clock, paths).run()

    lab = Laboratory(
        lambda: ScriptedWorld(VirtualClock(), curve, epoch_s=pace),
        lambda: lambda: FileStore(paths, segment_bytes=4000),
        run_once,
    )
    return crash_often(lab, random.Random(experiment.seed), 20.0, machine)


def kill_a_script(lab: LocalLab) -> bool:
    """As for lack of memory: SIGKILL to the script alone."""
    return _signal(lab, signal.SIGKILL)


def interrupt_a_trial(lab: LocalLab) -> bool:
    """SIGTERM from outside, or SIGKILL to all that the trial has started."""
    if lab.rng.random() < 0.5:
        return _signal(lab, signal.SIGTERM)
    return _kill_a_group(lab) is not None


def _signal(lab: LocalLab, number: int) -> bool:
    pids = lab.world.scripts()
    if pids:
        _send(lab.rng.choice(pids), number)
    return bool(pids)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _kill_a_group(lab: LocalLab) -> int | None:
    """The trial it was."""
    pids = lab.world.scripts()
    if not pids:
        return None
    pid = lab.rng.choice(pids)
    trial_id = processes.variable(pid, "CLOUDTUNE_TRIAL_ID")
    try:
        os.killpg(pid if trial_id is None else os.getpgid(pid), signal.SIGKILL)
    except ProcessLookupError:
        return None
    return None if trial_id is None else int(trial_id)


def tear_a_report(lab: LocalLab) -> bool:
    """A trial dies in the middle of a line."""
    trial_id = _kill_a_group(lab)
    if trial_id is None:
        return False
    with lab.world.paths.trial(trial_id).stdout.open("ab") as file:
        file.write(_TORN_REPORT)
    return True


def truncate_a_checkpoint(lab: LocalLab) -> bool:
    """The newest of a trial is cut to half, as on a disk that was full or lost power."""
    files = sorted(lab.world.paths.trials_dir.parent.glob(f"checkpoints/*/*/{witnessed_checkpoints.VALUE}"))
    newest = {path.parents[1]: path for path in files if not path.parent.name.startswith(".")}
    if not newest:
        return False
    path = lab.rng.choice(list(newest.values()))
    try:
        os.truncate(path, path.stat().st_size // 2)
    except FileNotFoundError:
        return False
    return True


class TearingStore(FileStore):
    """Whose last line was cut when the tuner died.

    Args:
        paths: Of the experiment.
        tears: Gets an entry for each.
    """

    def __init__(self, paths: ExperimentPaths, tears: list[Path]) -> None:
        super().__init__(paths, segment_bytes=4000)
        self._tears = tears

    def open(self, holder: str) -> None:
        segments = self.segments()
        if segments:
            with segments[-1].path.open("ab") as file:
                file.write(_TORN_EVENT)
            self._tears.append(segments[-1].path)
        super().open(holder)


def torn_files(experiment: Experiment, folder: Path, tally: Tally) -> None:
    """Of reports, by trials that die in the middle of a line; of the journal, likewise."""
    lab = LocalLab(experiment, folder, tear_a_report, 0.2)
    tears: list[Path] = []
    lab.make_disk = lambda: lambda: TearingStore(lab.world.paths, tears)  # type: ignore[method-assign]
    story = lab.crash_often(SHORT_LIFE)
    tally.take(experiment, story, lab.accidents.num_struck + len(tears))


def let_in_a_rival(lab: LocalLab) -> bool:
    """Starts the same tuner once more, which must be refused by name."""
    world = lab.world
    rival = lab.experiment.loop(FileStore(world.paths), lab.make_backend(world), world.clock, world.paths)
    try:
        rival.run()
    except Conflict as conflict:
        if f"{socket.gethostname()}:{os.getpid()}" not in conflict.message:
            raise AssertionError(f"the refusal does not name the holder: {conflict}") from conflict
        return True
    raise AssertionError("a second tuner has run the experiment while the first one did")


class JumpingLab(LocalLab):
    """Whose clock jumps: forward while a tuner runs, in any direction from one to the next."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        super().__init__(experiment, folder, lambda _: self.jump(self.rng.expovariate(1 / 600)), 0.1)
        self.clock = self.world.clock = JumpingClock()
        self.num_jumps = 0

    def jump(self, seconds: float) -> bool:
        self.clock.jump(seconds)
        self.num_jumps += 1
        return True

    def run_once(self, store: ExperimentStore, backend: TrialBackend, clock: Clock) -> None:
        self.jump(self.rng.choice([-1, 1]) * self.rng.expovariate(1 / 3600))
        super().run_once(store, backend, clock)


def clock_jumps(experiment: Experiment, folder: Path, tally: Tally) -> None:
    lab = JumpingLab(experiment, folder)
    story = lab.crash_often(LONG_LIFE)
    tally.take(experiment, story, lab.num_jumps)
