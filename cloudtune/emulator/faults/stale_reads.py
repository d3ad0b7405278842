"""Reads that lag behind: what a job looked like a while ago."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

from cloudtune.emulator.faults.armed import Armed
from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.kinds import StaleRead
from cloudtune.emulator.service_error import JsonObject

#: Known only when a job has ended.
_OF_THE_END = (
    "TrainingEndTime",
    "TrainingTimeInSeconds",
    "BillableTimeInSeconds",
    "FailureReason",
    "FinalMetricDataList",
    "WarmPoolStatus",
)


_SUMMARY = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
    "TrainingEndTime",
    "WarmPoolStatus",
)


class Readable(Protocol):
    """A training job, as far as reads show it. What it gives is for reading only."""

    def view(self) -> JsonObject:
        """All that is known."""
        ...

    def describe(self) -> JsonObject:
        """The same as a copy."""
        ...

    def summary(self) -> JsonObject:
        """What a list tells."""
        ...


class _Past:
    """A job as it was."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document

    def view(self) -> JsonObject:
        return self._document

    def describe(self) -> JsonObject:
        return copy.deepcopy(self._document)

    def summary(self) -> JsonObject:
        return {name: self._document[name] for name in _SUMMARY if name in self._document}


def as_of(document: JsonObject, when: float) -> JsonObject:
    """A job's description at an earlier service time; as it was at first, if it did not exist yet."""
    transitions = document["SecondaryStatusTransitions"]
    known = [dict(item) for item in transitions if item["StartTime"] <= when] or [dict(transitions[0])]
    if len(known) == len(transitions):
        return document
    last = known[-1]
    last.pop("EndTime", None)
    past = {name: value for name, value in document.items() if name not in _OF_THE_END}
    if past.get("TrainingStartTime", when) > when:
        del past["TrainingStartTime"]
    if "ModelArtifacts" in past:
        past["ModelArtifacts"] = {"S3ModelArtifacts": ""}
    return past | {
        "SecondaryStatusTransitions": known,
        "SecondaryStatus": last["Status"],
        "TrainingJobStatus": "Stopping" if last["Status"] == "Stopping" else "InProgress",
        "LastModifiedTime": last["StartTime"],
    }


def seen(faults: Faults, operation: str, jobs: Sequence[Readable]) -> Sequence[Readable]:
    """What ``operation`` shows of ``jobs`` now; the same objects where it shows them as they are."""
    for armed in faults.armed(StaleRead):
        if operation in armed.spec.operations:
            shown = [_view(faults, armed, operation, job) for job in jobs]
            jobs = [job for job in shown if job is not None]
    return jobs


def _view(faults: Faults, armed: Armed[StaleRead], operation: str, job: Readable) -> Readable | None:
    now, spec, document = faults.clock.now(), armed.spec, job.view()
    name = document["TrainingJobName"]
    if not armed.concerns(name) or not armed.is_open(now):
        return job
    hidden = operation != "DescribeTrainingJob" and now < document["CreationTime"] + spec.appears_s
    past = as_of(document, now - spec.lag_s)
    if not (hidden or past is not document) or not armed.strikes(now, 1.0, "", name):
        return job
    faults.record("stale_read", operation=operation, job=name, hidden=hidden, rule=armed.number)
    return None if hidden else _Past(past)
