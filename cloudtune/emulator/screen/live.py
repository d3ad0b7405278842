"""What the live view shows of an emulator, in this process or another, as one document."""

from __future__ import annotations

from itertools import islice
from typing import Any

from moto.logs.models import logs_backends

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.fleet.job_states import JobStatus, Phase
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import SPOT_PRICE_SHARE, TrainingJob
from cloudtune.emulator.machine.instance_shares import Machine, Shares
from cloudtune.emulator.object_store import LOG_GROUP
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import JsonObject
from cloudtune.emulator.settings import ACCOUNT_ID

_MAX_JOBS = 60
_MAX_LOGS = 8  # jobs
_MAX_LOG_LINES = 20
_MAX_LINE = 400  # characters
_MAX_CALLS, _MAX_FAULTS = 60, 20
_RUNS = (Phase.downloading, Phase.training, Phase.uploading)


class Live:
    """Takes pictures. Thread-safe.

    Args:
        table: The jobs.
        audit: What happened.
        shares: What jobs use of this machine.
        clock: The service's.
    """

    def __init__(self, table: JobTable, audit: AuditLog, shares: Shares, clock: ServiceClock) -> None:
        self._table = table
        self._audit = audit
        self._shares = shares
        self._clock = clock
        self._machine = Machine.here()

    def picture(self) -> JsonObject:
        """Jobs (those that have not ended, then the newest), log tails of those that run, counts, last calls and
        faults. Ages and bills are in service seconds."""
        jobs = self._table.all()
        open_jobs = [job for job in jobs if not job.status.is_terminal]
        ended = (job for job in reversed(jobs) if job.status.is_terminal)
        shown = [*open_jobs[:_MAX_JOBS], *islice(ended, max(0, _MAX_JOBS - len(open_jobs)))]
        running = [job for job in open_jobs if job.phase in (*_RUNS, Phase.stopping)]
        uses = self._shares.report()
        now = self._clock.now()
        return {
            "time_scale": self._clock.scale,
            "machine": {"cpus": len(self._machine.cpus), "gpus": len(self._machine.gpus)},
            "job_counts": _count(jobs, running),
            "jobs": [_row(job, now, uses) for job in shown],
            "logs": _tails(running[:_MAX_LOGS]),
            "counts": self._audit.counts(),
            "calls": self._audit.newest("call", _MAX_CALLS),
            "faults": self._audit.newest("fault", _MAX_FAULTS),
        }


def _count(jobs: list[TrainingJob], running: list[TrainingJob]) -> JsonObject:
    """``running``, ``waiting`` (neither running nor ended), and how many have ended how."""
    ended = {"completed": JobStatus.completed, "failed": JobStatus.failed, "stopped": JobStatus.stopped}
    statuses = [job.status for job in jobs]
    counts = {name: statuses.count(status) for name, status in ended.items()}
    return {"running": len(running), "waiting": len(jobs) - len(running) - sum(counts.values()), **counts}


def _row(job: TrainingJob, now: float, uses: JsonObject) -> JsonObject:
    facts = job.view()
    transitions = facts["SecondaryStatusTransitions"]
    ended = job.status.is_terminal
    mine = [share for user, share in uses.items() if _is_of(user, job)]
    return {
        "name": job.name,
        "status": job.status.value,
        "phase": job.phase.value,
        "message": facts.get("FailureReason") or transitions[-1]["StatusMessage"],
        "age_s": (transitions[-1]["EndTime"] if ended else now) - job.created,
        "instances": [[count, kind] for kind, count in job.cluster],
        "spot": job.is_spot,
        "attempt": job.attempt,
        "billable_s": _billable_s(job, facts, now),
        "cpus": sum(len(share["cpus"]) for share in mine),
        "gpus": sum(len(share["gpus"]) for share in mine),
    }


def _is_of(user: str, job: TrainingJob) -> bool:
    """Whether a share is taken under the job's name, which an attempt follows: ``{job}-{attempt}-{id}/{host}``."""
    return user.partition("/")[0].rsplit("-", 2)[0] == job.name


def _billable_s(job: TrainingJob, facts: JsonObject, now: float) -> float:
    """What has been billed, and what the attempt that runs adds so far."""
    if "BillableTimeInSeconds" in facts:
        return float(facts["BillableTimeInSeconds"])
    seconds = job.seconds_used
    for transition in reversed(facts["SecondaryStatusTransitions"]):
        if transition["Status"] == Phase.downloading and not job.status.is_terminal:
            seconds += now - transition["StartTime"]
        if transition["Status"] not in (*_RUNS, Phase.stopping) or transition["Status"] == Phase.downloading:
            break
    return seconds * (SPOT_PRICE_SHARE if job.is_spot else 1.0)


def _tails(jobs: list[TrainingJob]) -> list[JsonObject]:
    """The newest lines of each job, of all its hosts; no attempt but the last one's, where that has any."""
    found = []
    for region in {job.region: None for job in jobs}:
        group: Any = logs_backends[ACCOUNT_ID][region].groups.get(LOG_GROUP)
        streams: dict[str, Any] = {} if group is None else dict(group.streams)
        mine = {job.name: job for job in jobs if job.region == region}
        events: dict[str, list[tuple[int, str, str]]] = {name: [] for name in mine}
        for name, stream in streams.items():
            job_name, _, host = name.partition("/")
            if job_name in mine:
                tail = stream.events[-_MAX_LOG_LINES:]
                events[job_name] += [
                    (event.timestamp, host.rpartition("-")[0], event.message[:_MAX_LINE]) for event in tail
                ]
        for name, lines in events.items():
            lines.sort(key=lambda line: line[0])
            found.append({"job": name, "lines": [[host, text] for _, host, text in lines[-_MAX_LOG_LINES:]]})
    return found
