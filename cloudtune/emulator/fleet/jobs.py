"""Training jobs as the service knows them: states, transitions, times, bills."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.fleet.instances import Cluster, preferences
from cloudtune.emulator.fleet.job_states import FOLLOWERS, MESSAGE, JobStatus, Phase
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import JsonObject, ServiceError

__all__ = ["SPOT_PRICE_SHARE", "JobContext", "JobStatus", "Phase", "TrainingJob"]

#: Billed share of the seconds of a spot job: "savings" are 1 - BillableTime / TrainingTime.
SPOT_PRICE_SHARE = 0.3
_MAX_REASON = 1024
_DEFAULT_MAX_RUNTIME_S = 86_400
_MAX_TAGS = 50
_SUMMARIZED_FACTS = ("TrainingEndTime", "WarmPoolStatus")


@dataclass
class JobContext:
    """What jobs share.

    Args:
        clock: Dates and durations are its.
        audit: Learns of each transition and each bill.
        lock: Held for all that is read and changed: a job's end, its quota and its warm pool change at once.
        on_end: Called once for each job, lock held, when it has reached its last state.
        on_change, on_remove: Called for each change of a job, and when it is deleted, lock held.
    """

    clock: ServiceClock
    audit: AuditLog
    lock: threading.RLock = field(default_factory=threading.RLock)
    on_end: Callable[[TrainingJob], None] = lambda _: None
    on_change: Callable[[TrainingJob], None] = lambda _: None
    on_remove: Callable[[TrainingJob], None] = lambda _: None


class TrainingJob:
    """One training job. Thread-safe.

    Args:
        request: A valid CreateTrainingJob request.
        arn: Its resource name.
        region: Where it was created.
        context: What it shares with others.
    """

    def __init__(self, request: JsonObject, arn: str, region: str, context: JobContext) -> None:
        self.request = copy.deepcopy(request)
        self.request.setdefault("StoppingCondition", {}).setdefault("MaxRuntimeInSeconds", _DEFAULT_MAX_RUNTIME_S)
        self.name: str = request["TrainingJobName"]
        self.arn = arn
        self.region = region
        self.tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in self.request.pop("Tags", [])}
        self._context = context
        self._lock = context.lock
        self.created = context.clock.now()
        self._phase: Phase | None = None
        self._facts: JsonObject = {"LastModifiedTime": self.created}
        self._transitions: list[JsonObject] = []
        self._cluster: Cluster = preferences(self.request)[0]
        self._seconds_used = 0.0
        self._attempts_ended = 0
        self._attempt_began: float | None = None
        self._trained_until: float | None = None
        self._interruptions = 0
        self._retries = 0
        self.enter(Phase.starting)

    @property
    def is_spot(self) -> bool:
        return bool(self.request.get("EnableManagedSpotTraining"))

    @property
    def status(self) -> JobStatus:
        return self.phase.status

    @property
    def phase(self) -> Phase:
        with self._lock:
            return self._phase or Phase.starting

    @property
    def attempt(self) -> int:
        """Number of the current attempt: 0, and one more after each interruption and each retry."""
        with self._lock:
            return self._interruptions + self._retries

    @property
    def cluster(self) -> Cluster:
        """The instances it runs on, or is to run on; see :meth:`select`."""
        with self._lock:
            return self._cluster

    @property
    def seconds_used(self) -> float:
        """Of all attempts that have ended, for MaxRuntimeInSeconds."""
        with self._lock:
            return self._seconds_used

    @property
    def max_runtime_s(self) -> float:
        return float(self.request["StoppingCondition"]["MaxRuntimeInSeconds"])

    @property
    def max_wait_s(self) -> float:
        """Since creation; infinite for a job that is not spot."""
        wait = self.request["StoppingCondition"].get("MaxWaitTimeInSeconds")
        return math.inf if wait is None else float(wait)

    @property
    def keep_alive_s(self) -> float:
        """How long a warm pool is kept after the end; 0: none."""
        with self._lock:
            return float(self.request.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds", 0))

    @property
    def failure_reason(self) -> str:
        with self._lock:
            return str(self._facts.get("FailureReason", ""))

    @property
    def warm_pool_status(self) -> str | None:
        with self._lock:
            status = self._facts.get("WarmPoolStatus", {}).get("Status")
            return None if status is None else str(status)

    @property
    def output_prefix(self) -> str:
        """S3 URI of the folder of the job's results."""
        return f"{self.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"

    def enter(self, phase: Phase, message: str | None = None) -> bool:
        """Records a transition. False, and nothing done, where the job has ended, or is ending and ``phase``
        would bring it back.

        Raises:
            ValueError: ``phase`` never follows the current one: a defect of the caller.
        """
        with self._lock:
            if self.status.is_terminal or (self.status is JobStatus.stopping and not phase.status.is_terminal):
                return False
            if self._phase is not None and phase not in FOLLOWERS[self._phase]:
                raise ValueError(f"job {self.name}: {phase} does not follow {self._phase}")
            now = self._context.clock.now()
            self._count(phase, now)
            if self._transitions:
                self._transitions[-1].setdefault("EndTime", now)
            self._transitions.append(
                {"Status": phase.value, "StartTime": now, "StatusMessage": message or MESSAGE[phase]}
            )
            self._phase = phase
            self._facts["LastModifiedTime"] = now
            self._context.audit.record(
                "transition", job=self.name, phase=phase.value, status=phase.status.value, service_time=now
            )
            if phase.status.is_terminal:
                self._transitions[-1]["EndTime"] = now
                self._finish(now)
            self._context.on_change(self)
            if phase.status.is_terminal:
                self._context.on_end(self)
            return True

    def _count(self, phase: Phase, now: float) -> None:
        if phase is Phase.interrupted:
            self._interruptions += 1
        elif phase is Phase.restarting:
            self._retries += 1
        elif phase is Phase.downloading:
            self._attempt_began = now
            self._facts.setdefault("TrainingStartTime", now)

    def _finish(self, now: float) -> None:
        if "TrainingStartTime" not in self._facts:
            return
        share = SPOT_PRICE_SHARE if self.is_spot else 1.0
        self._facts["TrainingEndTime"] = now if self._trained_until is None else self._trained_until
        self._facts["TrainingTimeInSeconds"] = max(1, round(self._seconds_used))
        self._facts["BillableTimeInSeconds"] = max(1, round(self._seconds_used * share))

    def say(self, message: str) -> None:
        """Replaces the current transition's StatusMessage."""
        with self._lock:
            if not self.status.is_terminal:
                self._transitions[-1]["StatusMessage"] = message
                self._context.on_change(self)

    def fail(self, reason: str) -> bool:
        """Ends the job as Failed, also one that is being stopped."""
        with self._lock:
            if self.status.is_terminal:
                return False
            self._facts["FailureReason"] = reason[:_MAX_REASON]
            return self.enter(Phase.failed)

    def restart(self) -> bool:
        """After an internal error of the platform: whether the job's RetryStrategy grants another attempt, and
        nobody has asked for its end."""
        with self._lock:
            granted = self.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
            return self._retries < granted and self.enter(Phase.restarting)

    def end_attempt(self, at: float | None = None) -> None:
        """Counts and bills the time from Downloading until ``at``, or now; nothing where no attempt runs."""
        with self._lock:
            if self._attempt_began is None:
                return
            now = self._context.clock.now() if at is None else at
            self._trained_until = max(self._attempt_began, now)
            seconds = self._trained_until - self._attempt_began
            self._attempt_began = None
            share = SPOT_PRICE_SHARE if self.is_spot else 1.0
            self._bill("training", self._attempts_ended, seconds, seconds * share)
            self._seconds_used += seconds
            self._attempts_ended += 1
            self._context.on_change(self)

    def _bill(self, what: str, attempt: int, seconds: float, billable_seconds: float) -> None:
        self._context.audit.record(
            "billed",
            job=self.name,
            what=what,
            attempt=attempt,
            seconds=seconds,
            billable_seconds=billable_seconds,
            instances=[{"instance_type": kind, "instance_count": count} for kind, count in self._cluster],
            spot=self.is_spot,
        )

    def select(self, cluster: Cluster) -> None:
        """Notes on which of its preferences it runs."""
        with self._lock:
            self._cluster = cluster
            if "InstancePreferences" in self.request["ResourceConfig"]:
                (kind, count), *_ = cluster
                chosen = {"SelectedInstanceType": kind, "SelectedInstanceCount": count}
                resources = {**self.request["ResourceConfig"], **chosen}
                self.request = {**self.request, "ResourceConfig": resources}
            self._context.on_change(self)

    def set_warm_pool(self, status: str, retained_s: float | None = None, reused_by: str | None = None) -> None:
        """Notes what became of its warm pool; ``retained_s``, once it has ended, is billed."""
        with self._lock:
            found: JsonObject = {"Status": str(status)}
            if retained_s is not None:
                found["ResourceRetainedBillableTimeInSeconds"] = round(retained_s)
                self._bill("warm_pool", self._attempts_ended, retained_s, retained_s)
            if reused_by is not None:
                found["ReusedByJob"] = reused_by
            self._facts["WarmPoolStatus"] = found
            self._facts["LastModifiedTime"] = self._context.clock.now()
            self._context.on_change(self)

    def set_result(self, model_uri: str | None, metrics: list[JsonObject]) -> None:
        with self._lock:
            if model_uri is not None:
                self._facts["ModelArtifacts"] = {"S3ModelArtifacts": model_uri}
            if metrics:
                self._facts["FinalMetricDataList"] = metrics
            self._context.on_change(self)

    def update(self, changes: JsonObject) -> None:
        """Merges the members of an UpdateTrainingJob request."""
        with self._lock:
            for name, value in changes.items():
                # Replaced, never changed: see view().
                merged = {**self.request.get(name, {}), **value} if isinstance(value, dict) else value
                self.request = {**self.request, name: merged}
            self._facts["LastModifiedTime"] = self._context.clock.now()
            self._context.on_change(self)

    def leave(self) -> None:
        """It has been removed: nobody learns any more of what a late request does to it."""
        with self._lock:
            self._context = replace(self._context, on_change=lambda _: None)

    def describe(self) -> JsonObject:
        """Everything that is known, by the service's names; with ``Tags``."""
        return copy.deepcopy(self.view())

    def view(self) -> JsonObject:
        """Like :meth:`describe`, not copied: for reading only."""
        with self._lock:
            return {
                "EnableNetworkIsolation": False,
                "EnableInterContainerTrafficEncryption": False,
                "EnableManagedSpotTraining": False,
                "ModelArtifacts": {"S3ModelArtifacts": ""},
                **self.request,
                # SDK v2 reads the key of every job that it attaches to.
                "OutputDataConfig": {"KmsKeyId": "", **self.request["OutputDataConfig"]},
                "TrainingJobArn": self.arn,
                "TrainingJobStatus": self.status.value,
                "SecondaryStatus": self.phase.value,
                "CreationTime": self.created,
                "SecondaryStatusTransitions": [dict(transition) for transition in self._transitions],
                **self._facts,
                "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            }

    def summary(self) -> JsonObject:
        """What ListTrainingJobs tells of it; for reading only."""
        with self._lock:
            found = {
                "TrainingJobName": self.name,
                "TrainingJobArn": self.arn,
                "CreationTime": self.created,
                "LastModifiedTime": self._facts["LastModifiedTime"],
                "TrainingJobStatus": self.status.value,
                "SecondaryStatus": self.phase.value,
            }
            found |= {name: self._facts[name] for name in _SUMMARIZED_FACTS if name in self._facts}
            return found

    def set_tags(self, tags: Iterable[JsonObject], remove: Iterable[str] = ()) -> list[JsonObject]:
        """Adds or replaces ``tags``, drops the keys in ``remove``; returns all."""
        with self._lock:
            wanted = {**self.tags, **{tag["Key"]: tag["Value"] for tag in tags}}
            for key in remove:
                wanted.pop(key, None)
            if len(wanted) > _MAX_TAGS:
                raise ServiceError(
                    "ResourceLimitExceeded",
                    f"The maximum number of tags of a resource is {_MAX_TAGS}.",
                    rule="tags.limit",
                )
            if wanted != self.tags:
                self.tags = wanted
                self._context.on_change(self)
            return [{"Key": key, "Value": value} for key, value in wanted.items()]
