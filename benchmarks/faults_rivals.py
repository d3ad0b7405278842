"""The fault matrix, two tuners of one experiment whose journal is in S3."""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

from fault_experiment import Experiment, Tally
from faults_remote import Bucket, RemoteCloudLab
from faults_sagemaker import LONG_LIFE, Cloud, scenario

from cloudtune.errors import Conflict
from cloudtune.experiment import events as ev
from cloudtune.paths import ExperimentPaths
from cloudtune.remote.mirrored_store import MirroredStore
from cloudtune.remote.polite_claim import PoliteClaim
from cloudtune.stores import FileStore
from cloudtune.testing.accidents import Accidents
from cloudtune.testing.fuse import BACKEND_CALLS, STORE_CALLS, Fuse, SimulatedCrash, crashing
from cloudtune.testing.mirrored_disk import MirroredDisk
from cloudtune.testing.story import Story
from cloudtune.tuner_loop import LoopObserver

_MAX_SESSIONS = 60


class Rivals:
    """Tuners of the experiment on other machines, each with a disk of its own."""

    def __init__(self, lab: RemoteCloudLab, folder: Path) -> None:
        self._lab = lab
        self._folders = (folder / f"machine-{number}" for number in itertools.count())
        self.rng = random.Random(lab.experiment.seed)
        self.lives: list[list[str]] = []

    def run(self, observers: list[LoopObserver], dies_at: int | None = None) -> MirroredStore:
        """One more, to its end, to its death at a call, or to the Conflict that it raises."""
        paths = ExperimentPaths(next(self._folders) / "experiment")
        store, backend = self._lab.disk.elsewhere(paths), self._lab.make_backend(self._lab.cloud)
        fuse = Fuse(dies_at)
        try:
            self._lab.experiment.loop(
                crashing(store, fuse, STORE_CALLS, "store"),
                crashing(backend, fuse, BACKEND_CALLS, "backend"),
                self._lab.cloud.clock,
                paths,
                observers,
            ).run()
        finally:
            self.lives.append(fuse.calls)
            store.abandon()
        return store


def second_is_refused(bucket: Bucket, experiment: Experiment, folder: Path, tally: Tally) -> None:
    """The tuner on another machine is refused by name while the first one runs; once that is dead, the next takes
    over."""

    def let_in_a_rival() -> bool:
        try:
            rivals.run([])
        except Conflict as conflict:
            if f"{socket.gethostname()}:{os.getpid()}" not in conflict.message:
                raise AssertionError(f"the refusal does not name the holder: {conflict}") from conflict
            return True
        raise AssertionError("a second tuner has run the experiment while the first one did")

    def observers(_cloud: Cloud) -> list[LoopObserver]:
        return [accidents]

    lab = RemoteCloudLab(bucket, experiment, folder, scenario(seed=experiment.seed), (), observers)
    lab.disk = MirroredDisk(bucket.objects, bucket.prefix(), lambda: lab.paths, PoliteClaim)
    rivals = Rivals(lab, folder)
    accidents = Accidents(let_in_a_rival, rivals.rng, 0.05)
    story = lab.crash_often(LONG_LIFE, machine=0.0)
    tally.take(experiment, story, accidents.num_struck)


def first_is_superseded(bucket: Bucket, experiment: Experiment, folder: Path, tally: Tally) -> None:
    """The platform gives an instance up for dead and starts another; the first one wakes up again, and must not
    disturb."""
    lab = RemoteCloudLab(bucket, experiment, folder, scenario(seed=experiment.seed))
    lab.make_disk()
    rivals = Rivals(lab, folder)
    superseded = 0

    def start_another() -> bool:
        with_death = int(rivals.rng.expovariate(1 / LONG_LIFE))
        try:
            rivals.run([], with_death)
        except SimulatedCrash:
            return True
        return True

    for _ in range(_MAX_SESSIONS):
        first = Accidents(start_another, rivals.rng, 0.02)
        try:
            store = rivals.run([first])
        except Conflict:
            superseded += 1
            continue
        if first.num_struck:
            raise AssertionError("a tuner that was superseded has come to the end of the experiment")
        events = store.read()
        if isinstance(events[-1], ev.ExperimentEnded):
            break
    else:
        raise AssertionError(f"{_MAX_SESSIONS} sessions have not come to an end")
    fetched = ExperimentPaths(folder / "fetched" / "experiment")
    lab.disk.elsewhere(fetched).restore()
    story = Story(lab.cloud, FileStore(fetched).read(), rivals.lives)
    tally.take(experiment, story, superseded)
