"""Experiments in S3 and jobs that run, made by hand: what tuners leave, without tuners."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import TrainingJobs
from cloudtune.clock import WallClock
from cloudtune.emulator import SageMakerEmulator
from cloudtune.experiment import events as ev
from cloudtune.experiment_record import write_metadata
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.names import trial_job_name
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri
from cloudtune.remote import job_layout as layout
from cloudtune.remote.claim_record import ClaimRecord
from cloudtune.remote.writer_claim import CLAIM_NAME
from cloudtune.stores.file import FileStore

T = TypeVar("T")
T0 = 1_700_000_000.0
#: Runs until SIGTERM, upon which it ends at once.
FOREVER = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('begun', flush=True); "
    "signal.pause()"
)
METADATA: dict[str, Any] = {
    "backend": "SageMakerBackend",
    "metric_names": ["loss"],
    "metric_mode": ["min"],
    "n_workers": 2,
    "st_tuner_creation_timestamp": T0,
}
#: Of a machine that is not this one.
FAR = ClaimRecord("me@far.away:77", "s1", "far.away/0/", 77, T0)


def until(look: Callable[[], T], what: str = "") -> T:
    """What ``look`` returns as soon as it is true."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what or look}")


def story(trials: int = 2, ended: bool = False, error: str = "") -> list[ev.Event]:
    """Trial ``i`` reports ``loss`` ``10 - i``; all end if ``ended``."""
    events: list[ev.Event] = [ev.SessionStarted(T0, 0.0, 0, "far.away:77")]
    for trial_id in range(trials):
        events.append(ev.TrialStarted(T0 + 1, 1.0, trial_id, 0, {"x": 0.5 * trial_id}))
        metrics = {"loss": 10.0 - trial_id, "epoch": 1}
        events.append(ev.TrialReported(T0 + 2, 2.0, trial_id, 0, 0, metrics, "CONTINUE"))
    if ended:
        events += [ev.TrialEnded(T0 + 3, 3.0, trial_id, 0, "completed") for trial_id in range(trials)]
        events.append(ev.ExperimentEnded(T0 + 4, 4.0, "all trials have ended", error))
    return events


def write_journal(paths: ExperimentPaths, events: list[ev.Event], **metadata: Any) -> None:
    """A tuner that has let go of ``paths``."""
    store = FileStore(paths)
    store.open("far.away:77")
    store.append(events)
    store.close()
    write_metadata(paths, {**METADATA, **metadata})


class Lab:
    """An account on the emulator; ``folder`` is another machine's disk."""

    def __init__(self, aws: SageMakerEmulator, folder: Path) -> None:
        self.aws = aws
        self._folder = folder
        self.session = AwsSession()
        self.objects = S3Objects(self.session)
        self.jobs = TrainingJobs(self.session, WallClock())
        self.bucket = self.session.default_bucket()

    def where(self, name: str, tag: str | None = None) -> S3ExperimentPaths:
        return S3ExperimentPaths.of(self.bucket, name, tag)

    def experiment(
        self,
        name: str,
        events: list[ev.Event] | None = None,
        tag: str | None = None,
        claim: ClaimRecord | None = None,
        **metadata: Any,
    ) -> S3ExperimentPaths:
        """As a tuner elsewhere has left it; by default one that has let go of it."""
        paths, where = ExperimentPaths(self._folder / (tag or "-") / name), self.where(name, tag)
        write_journal(paths, story() if events is None else events, **metadata)
        for path in [paths.metadata, *paths.journal.glob("*.jsonl")]:
            self.objects.upload(path, where.state / path.relative_to(paths.dir).as_posix())
        self.objects.put(where.state / CLAIM_NAME, (claim or replace(FAR, released=True)).encode())
        return where

    def put(self, uri: S3Uri, content: str = "x") -> S3Uri:
        self.objects.put(uri, content.encode())
        return uri

    def keys(self, uri: S3Uri) -> list[str]:
        return [item.uri.key.removeprefix(uri.prefix) for item in self.objects.list(uri)]

    def start(self, name: str, script: str = FOREVER, **more: Any) -> str:
        """A job; by default it runs until it is stopped."""
        options: dict[str, Any] = {"instance_type": "ml.m5.large", "volume_size_gb": 1, "max_run_s": 600, **more}
        entrypoint = (sys.executable, "-c", script)
        output = f"s3://{self.bucket}/elsewhere/output"
        self.jobs.create(
            TrainingJobSpec(name, "image", self.aws.role_arn, output, entrypoint=entrypoint, **options)
        )
        if script is FOREVER:  # asked to stop before it listens, it would be given two minutes
            until(lambda: self._waits(name) or self.jobs.log_tail(name, 1) == ["begun"], f"{name} listens")
        return name

    def _waits(self, name: str) -> bool:
        """Until a place among the jobs that run at once is free."""
        found = self.session.client("sagemaker").describe_training_job(TrainingJobName=name)
        return "max_parallel_jobs" in found["SecondaryStatusTransitions"][-1]["StatusMessage"]

    def start_trial(self, tuner: str, trial_id: int, attempt: int = 0, script: str = FOREVER, **more: Any) -> str:
        return self.start(trial_job_name(tuner, trial_id, attempt), script, **more)

    def start_tuner(self, tuner: str, job: str | None = None, script: str = FOREVER, **more: Any) -> str:
        environment = {layout.ENV_TUNER_NAME: tuner, layout.ENV_COMMAND: json.dumps(["x"])}
        return self.start(job or tuner, script, environment=environment, **more)

    def ended(self, *names: str) -> None:
        """Waits for these jobs to end."""
        for name in names:
            until(lambda job=name: self.jobs.describe(job).state.is_final, f"{name} has ended")  # type: ignore[misc]

    def state(self, name: str) -> str:
        return str(self.jobs.describe(name).state)

    def calls(self, since: int = 0) -> Counter[str]:
        return Counter(entry["operation"] for entry in self.aws.audit.entries("call") if entry["number"] >= since)

    def now(self) -> int:
        """For :meth:`calls`."""
        return max((int(entry["number"]) for entry in self.aws.audit.entries("call")), default=-1) + 1
