"""The fault matrix, tuners that are jobs: an instance that may be lost with its disk, and the state in S3.

S3 is the one of moto, over HTTP; the mirrored store is the real one. Trials are jobs of the simulated cloud, or
processes on the tuner's instance.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_experiment import Experiment, Tally
from faults_local import LocalLab
from faults_sagemaker import LONG_LIFE, CloudLab, s3_settings, struck
from moto.server import ThreadedMotoServer

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.paths import S3Uri
from cloudtune.remote import mirrored_store
from cloudtune.testing.crash_anywhere import Disk, Laboratory
from cloudtune.testing.fuse import Fuse, SimulatedCrash
from cloudtune.testing.mirrored_disk import IMPATIENCE, MirroredDisk, Unreliable
from cloudtune.testing.story import Story

_SHORT_LIFE = 20.0
_LOGGERS = ("werkzeug", "cloudtune.remote.mirrored_store", "cloudtune.aws")


@dataclass(frozen=True)
class Bucket:
    """S3, for one experiment after the other."""

    objects: S3Objects
    uri: S3Uri
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def prefix(self) -> S3Uri:
        """Of the next one."""
        return self.uri / str(next(self.numbers))


@contextlib.contextmanager
def running_s3() -> Iterator[Bucket]:
    """A server of moto, and stores that upload at once. Threads that upload may die with their tuner."""
    usual = {name: getattr(mirrored_store, name) for name in IMPATIENCE}
    usual_hook = threading.excepthook
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        vars(mirrored_store).update(IMPATIENCE)
        threading.excepthook = lambda hooked: None if hooked.exc_type is SimulatedCrash else usual_hook(hooked)
        host, port = server.get_host_and_port()
        environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
        session = AwsSession(endpoint_url=f"http://{host}:{port}", environ=environ)
        yield Bucket(S3Objects(session), S3Uri(session.default_bucket(), "matrix"))
    finally:
        vars(mirrored_store).update(usual)
        threading.excepthook = usual_hook
        server.stop()


class RemoteCloudLab(CloudLab):
    """Trials are jobs; the journal is in S3. The tuner's job ends with the tuner, and its disk is lost."""

    def __init__(self, bucket: Bucket, experiment: Experiment, folder: Path, *args: Any, **options: Any) -> None:
        super().__init__(experiment, folder, *args, **options)
        self.disk = MirroredDisk(bucket.objects, bucket.prefix(), lambda: self.paths)

    def laboratory(self) -> Laboratory:
        lab = super().laboratory()
        lab.lose_disk = self.disk.lose
        return lab

    def make_disk(self) -> Disk:
        return self.disk.make()

    def crash_often(self, mean_calls: float, machine: float = 1.0) -> Story:
        return super().crash_often(mean_calls, machine)


class RemoteLocalLab(LocalLab):
    """Trials are processes on the tuner's instance, and die with it; their checkpoints are synced."""

    def __init__(self, bucket: Bucket, experiment: Experiment, folder: Path, *args: Any, **options: Any) -> None:
        super().__init__(experiment, folder, *args, **options)
        self.disk = MirroredDisk(bucket.objects, bucket.prefix(), lambda: self.world.paths)

    def laboratory(self) -> Laboratory:
        lab = super().laboratory()
        lab.lose_disk = self.disk.lose
        return lab

    def make_disk(self) -> Disk:
        return self.disk.make()


def with_unreliable_s3(bucket: Bucket, experiment: Experiment, folder: Path, tally: Tally) -> None:
    """A tenth of the requests of tuner and store fail, half of them after they were performed."""
    lab = RemoteCloudLab(bucket, experiment, folder, s3_settings(experiment.seed))
    rng = random.Random(experiment.seed)
    fuses: list[Unreliable] = []

    def fuse() -> Fuse:
        fuses.append(Unreliable(rng=rng, share=0.1))
        return fuses[-1]

    lab.disk.next_fuse = fuse  # type: ignore[method-assign]
    story = lab.crash_often(LONG_LIFE)
    tally.take(experiment, story, struck(lab.cloud) + sum(fuse.num_failed for fuse in fuses))


def instance_lost(bucket: Bucket, experiment: Experiment, folder: Path, tally: Tally) -> None:
    lab = RemoteLocalLab(bucket, experiment, folder)
    story = lab.crash_often(_SHORT_LIFE, machine=1.0)
    tally.take(experiment, story, story.machines_lost)
