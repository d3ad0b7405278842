"""A cloud in memory that does nothing by itself: a test says what becomes of each job, and what scripts report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.clock import VirtualClock
from cloudtune.errors import AlreadyExists, AwsError, ResourceNotFound
from cloudtune.experiment.ports import ExperimentStore
from cloudtune.job_spec import TrainingJobSpec, encode_hyperparameters
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, S3Uri
from cloudtune.report_stream import encode_line
from cloudtune.sagemaker_backend.ports import LogPage, Pace, Prepared, ReportObject, Usage
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.stores import MemoryStore

TUNER = "tuner"


@dataclass
class HandJob:
    """One job, as the test wants it."""

    spec: TrainingJobSpec
    status: JobStatus
    stop_asked: int = 0
    log: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class HandCloud:
    """Jobs, reports and checkpoints. Errors in ``errors[call]`` are raised by the next calls of that name."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    pace: Pace = field(default_factory=lambda: Pace(1.0, 2.0))
    held: dict[str, HandJob] = field(default_factory=dict)
    objects: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    errors: dict[str, list[AwsError]] = field(default_factory=dict)
    #: Calls about one job (or label), by name of call and job, that always fail.
    broken: dict[tuple[str, str], AwsError] = field(default_factory=dict)
    #: After the effect of the call.
    lost_answers: dict[str, list[AwsError]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    limits: dict[tuple[str, Usage], int] = field(default_factory=dict)
    checkpoints: dict[int, str] = field(default_factory=dict)
    #: Jobs that a listing does not show yet.
    hidden: set[str] = field(default_factory=set)
    #: What Describe goes on saying of a job.
    stale: dict[str, JobStatus] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)

    # -- what the test does

    def job(self, label: str) -> HandJob:
        return self.held[f"{label}-{TUNER}"]

    def becomes(self, label: str, state: str, phase: str = "", reason: str = "", **facts: Any) -> None:
        """From now on that is what the service says of the job."""
        job = self.job(label)
        now = self.clock.now()
        started = job.status.started or (now if phase == "Training" else None)
        ended = now if JobState(state).is_final else None
        job.status = replace(
            job.status,
            state=JobState(state),
            phase=phase or state,
            failure_reason=reason,
            last_modified=now,
            started=started,
            ended=ended,
            **facts,
        )

    def writes(self, label: str, *records: dict[str, Any], run: int = 0, segment: int = 0) -> None:
        """The supervisor has uploaded these lines, after what it has uploaded before."""
        self.objects[label, run, segment] = self.objects.get((label, run, segment), b"") + b"".join(
            map(encode_line, records)
        )

    def reports(self, label: str, *epochs: int, run: int = 0) -> None:
        """Of a script that counts from epoch 1, with a hello in the beginning."""
        if (label, run, 0) not in self.objects:
            self.writes(label, {"kind": "hello", "run": run, "time": self.clock.now()}, run=run)
        for epoch in epochs:
            self.writes(label, {"kind": "report", "seq": epoch - 1, "metrics": metrics(epoch)}, run=run)

    def ends(self, label: str, count: int, exit_code: int = 0, tail: str = "", run: int = 0) -> None:
        end = {"kind": "end", "exit_code": exit_code, "count": count, "tail": tail, "stopped": False}
        self.writes(label, end, run=run)

    # -- Cloud

    @property
    def jobs(self) -> HandCloud:
        return self

    def files(self, where: S3ExperimentPaths) -> HandCloud:
        return self

    def where(self, tuner_name: str) -> S3ExperimentPaths:
        return S3ExperimentPaths.of("bucket", tuner_name)

    def make_room(self, jobs: int) -> None:
        self.calls["make_room"] += 1

    def prepare(self, template: TrialTemplate, where: S3ExperimentPaths) -> Prepared:
        return Prepared(template, S3Uri("bucket", "cloudtune/_code/0"), "us-east-1")

    def make_store(self, paths: ExperimentPaths, where: S3ExperimentPaths) -> ExperimentStore:
        return MemoryStore()

    # -- TrialJobs

    def create(self, spec: TrainingJobSpec) -> None:
        self._call("create", spec.name)
        if spec.name in self.held:
            raise AlreadyExists(f"Job {spec.name} exists.")
        now = self.clock.now()
        status = JobStatus(
            spec.name,
            f"arn:{spec.name}",
            JobState.running,
            "Starting",
            created=now,
            last_modified=now,
            instance_type=spec.instance_type,
            instance_count=spec.instance_count,
            hyperparameters=encode_hyperparameters(spec.hyperparameters),
            environment=spec.environment,
        )
        self.held[spec.name] = HandJob(spec, status)
        self._lose_answer("create")

    def describe(self, name: str) -> JobStatus:
        self._call("describe", name)
        if name not in self.held:
            raise ResourceNotFound(f"There is no job {name}.")
        return self.stale.get(name, self.held[name].status)

    def changed(self, name_contains: str, since: float | None) -> list[JobStatus]:
        self._call("changed")
        return [
            replace(
                job.status,
                failure_reason="",
                hyperparameters={},
                environment={},
                instance_type="",
                billable_s=None,
            )
            for name, job in self.held.items()
            if name_contains in name
            and name not in self.hidden
            and (job.status.last_modified or 0) >= (since or 0)
        ]

    def stop(self, name: str) -> None:
        self._call("stop", name)
        if name not in self.held:
            raise ResourceNotFound(f"There is no job {name}.")
        self.held[name].stop_asked += 1
        if not self.held[name].status.state.is_final:
            self.held[name].status = replace(
                self.held[name].status, state=JobState.stopping, last_modified=self.clock.now()
            )
        self._lose_answer("stop")

    def release_warm_pool(self, name: str) -> None:
        self._call("release_warm_pool", name)
        self.released.append(name)

    def quotas(self, instance_types: Sequence[str]) -> dict[tuple[str, Usage], int]:
        return dict(self.limits)

    def log_page(self, name: str, cursor: str | None) -> LogPage:
        self._call("log_page", name)
        lines = self.held[name].log[int(cursor or 0) :]
        return LogPage(tuple(lines), str(len(self.held[name].log)), at_end=True)

    # -- TrialFiles

    def report_objects(self) -> list[ReportObject]:
        self._call("report_objects")
        return [
            ReportObject(label, run, segment, len(content), f"{hash(content):x}")
            for (label, run, segment), content in sorted(self.objects.items())
        ]

    def read_report(self, item: ReportObject, start: int) -> bytes:
        self._call("read_report", item.label)
        return self.objects[item.label, item.run, item.segment][start:]

    def delete_reports(self, labels: Sequence[str]) -> None:
        self._call("delete_reports")
        self.objects = {key: content for key, content in self.objects.items() if key[0] not in labels}

    def copy_checkpoint(self, source_trial_id: int, target_trial_id: int) -> int | None:
        self._call("copy_checkpoint")
        if source_trial_id in self.checkpoints:
            self.checkpoints[target_trial_id] = self.checkpoints[source_trial_id]
        return None

    def delete_checkpoints(self, trial_ids: Sequence[int]) -> None:
        self._call("delete_checkpoints")
        for trial_id in trial_ids:
            self.checkpoints.pop(trial_id, None)

    def _call(self, name: str, subject: str = "") -> None:
        self.calls[name] += 1
        if (name, subject) in self.broken:
            raise self.broken[name, subject]
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def _lose_answer(self, name: str) -> None:
        if self.lost_answers.get(name):
            raise self.lost_answers[name].pop(0)


def metrics(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "loss": 1.0 / epoch}


def script(folder: Path) -> Path:
    """A training script, which nobody runs here."""
    path = folder / "code" / "train.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("print('trained')\n")
    return path


def spec(**fields: Any) -> TrainingJobSpec:
    role = "arn:aws:iam::123456789012:role/role"
    return TrainingJobSpec(name="", image="image", role_arn=role, output_s3_uri="", **fields)
