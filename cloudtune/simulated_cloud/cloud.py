"""The simulated cloud: put together, and seen from all sides."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloudtune.aws.job_status import JobStatus
from cloudtune.clock import VirtualClock
from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.fleet.delays import CALM, REALISTIC, Delays
from cloudtune.emulator.fleet.fleet import Fleet
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext, TrainingJob
from cloudtune.emulator.fleet.launch import Provider
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.experiment.ports import AttemptKey, ExperimentStore
from cloudtune.paths import ExperimentPaths, S3ExperimentPaths, code_archive
from cloudtune.sagemaker_backend.ports import Pace, Prepared
from cloudtune.sagemaker_backend.template import TrialTemplate
from cloudtune.simulated_cloud.agenda import Agenda
from cloudtune.simulated_cloud.bucket import Bucket
from cloudtune.simulated_cloud.clocks import EventClock, MachineClock
from cloudtune.simulated_cloud.file_desk import FileDesk
from cloudtune.simulated_cloud.job_desk import REGION, JobDesk, status_of
from cloudtune.simulated_cloud.machines import Hall, Machines
from cloudtune.simulated_cloud.requests import Requests
from cloudtune.simulated_cloud.settings import CloudSettings
from cloudtune.simulated_cloud.trial_script import TrialScript
from cloudtune.simulated_cloud.witness import Witness
from cloudtune.stores import FileStore
from cloudtune.testing.world import Launch
from cloudtune.trial import Config

ACCOUNT = "123456789012"
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/simulated"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/simulated:1"
_DELAYS = {"calm": CALM, "realistic": REALISTIC}


class SimulatedCloud:
    """One account's SageMaker and S3, as a backend sees it (:class:`~cloudtune.sagemaker_backend.ports.Cloud`) and
    as the crash laboratory does (:class:`~cloudtune.testing.world.World`). Trial jobs go on when a tuner dies.

    It has no thread: with each call it catches up with the clock. The same seed, settings and calls give the same
    answers. Not thread-safe.

    Args:
        script: What trial jobs run.
        settings: Durations, quotas and faults.
        true_clock: Moved by whoever waits.
    """

    def __init__(
        self,
        script: TrialScript,
        settings: CloudSettings | None = None,
        true_clock: VirtualClock | None = None,
    ) -> None:
        settings = settings or CloudSettings()
        scenario = settings.loaded_scenario()
        self.script = script
        self.settings = settings
        self.strict_attempts = True
        self._true_clock = true_clock or VirtualClock()
        self._machine_clock = MachineClock(self._true_clock)
        self._time = EventClock(self._true_clock.now())
        #: Transitions, bills and faults, as the emulator records them.
        self.audit = AuditLog()
        self._faults = Faults(self._time, self.audit, scenario, settings.seed)
        self._quotas = Quotas(self._time)
        for limit in scenario.quotas:
            self._quotas.set_limit(*limit)
        self._table = JobTable(ACCOUNT, JobContext(self._time, self.audit))
        provider = Provider(self._faults, Delays(_DELAYS[scenario.delays], settings.seed), self._quotas)
        self._fleet = Fleet(self._table, self._time, provider)
        self._agenda = Agenda()
        self._bucket = Bucket()
        self._witness = Witness()
        hall = Hall(self._fleet, self._faults, self._agenda, self._time, self._bucket, self._witness)
        self._machines = Machines(hall, script, settings)
        self._requests = Requests(self._faults, self.catch_up, self._true_clock.sleep)
        self._jobs = JobDesk(
            self._requests,
            self._table,
            self._fleet,
            self._quotas,
            self._machines,
            self._faults,
            self._time,
            self._witness,
            settings.quotas_readable,
        )
        self._plan_changes()

    def _plan_changes(self) -> None:
        begin = self._time.now()
        for change in self.settings.quota_changes:
            limit = functools.partial(self._quotas.set_limit, change.instance_type, change.kind, change.limit)
            self._agenda.at(begin + change.after_s, limit)
        for after_s, seconds in self.settings.clock_jumps:
            self._agenda.at(begin + after_s, functools.partial(self._machine_clock.jump, seconds))

    def catch_up(self) -> None:
        """Plays all that is due by now."""
        while True:
            fleet_due, event_due = self._fleet.next_due(), self._agenda.next_at()
            due = min(fleet_due, event_due)
            if due > self._true_clock.now():
                break
            self._time.time = max(self._time.time, due)
            if event_due <= fleet_due:
                self._agenda.pop()()
            else:
                self._fleet.advance()
                for job in self._fleet.take_ready(self._fleet.size()):
                    self._machines.begin(job)
        self._time.time = self._true_clock.now()

    # -- as a backend sees it

    @property
    def jobs(self) -> JobDesk:
        return self._jobs

    @property
    def pace(self) -> Pace:
        return self.settings.pace

    def files(self, where: S3ExperimentPaths) -> FileDesk:
        """What the experiment's trials keep."""
        return FileDesk(where, self._requests, self._bucket, self._machines, self._time, self._witness)

    def where(self, tuner_name: str) -> S3ExperimentPaths:
        """The experiment's place."""
        return S3ExperimentPaths.of(BUCKET, tuner_name)

    def make_room(self, jobs: int) -> None:
        """There is as much as the quotas allow."""

    def prepare(self, template: TrialTemplate, where: S3ExperimentPaths) -> Prepared:
        """Nothing is uploaded; an image and a role exist."""
        del where
        spec = replace(template.spec, image=template.spec.image or IMAGE, role_arn=template.spec.role_arn or ROLE)
        return Prepared(replace(template, spec=spec), code_archive(BUCKET, "simulated"), REGION)

    def make_store(self, paths: ExperimentPaths, where: S3ExperimentPaths) -> ExperimentStore:
        """On this machine."""
        del where
        return FileStore(paths)

    # -- as the laboratory sees it

    @property
    def clock(self) -> MachineClock:
        """Of the tuner's machine."""
        return self._machine_clock

    @property
    def resource_attr(self) -> str:
        return self.script.resource_attr

    @property
    def max_resource_attr(self) -> str:
        return self.script.max_resource_attr

    @property
    def violations(self) -> list[str]:
        self.catch_up()
        return self._witness.violations

    @property
    def launches(self) -> Sequence[Launch]:
        self.catch_up()
        return self._witness.launches

    def report(self, config: Config, level: int) -> Mapping[str, Any]:
        """What a script reports at ``level``."""
        return self.script.report(config, level)

    def levels_reported(self, launch: Launch) -> list[int]:
        """Levels that runs of the attempt have reported, to S3 or a log: not those that died with an instance."""
        self.catch_up()
        now = self._time.now()
        processes = self._witness.processes(launch.trial_id, launch.attempt)
        return [level for process in processes for level in process.levels(process.uploaded(now))]

    def running(self) -> list[str]:
        """Names of the jobs that nobody has asked to end."""
        self.catch_up()
        return [job.name for job in self._table.all() if job.status.value == "InProgress"]

    def lose_machine(self, recorded: Mapping[AttemptKey, int], disk: bool = False) -> None:
        """The tuner's machine. Jobs go on, and S3 keeps what they have reported."""

    # -- as tests and rehearsals see it

    def all_jobs(self) -> list[TrainingJob]:
        """In the order of their creation, as they are now."""
        self.catch_up()
        return self._table.all()

    def statuses(self) -> list[JobStatus]:
        """Of all jobs, as they are now, without a request."""
        return [status_of(job.view()) for job in self.all_jobs()]

    @property
    def calls(self) -> Counter[str]:
        """How many requests were made, by ``service:Operation``."""
        return self._requests.counts

    def checkpoints(self, where: S3ExperimentPaths) -> dict[int, list[int]]:
        """Levels of the checkpoints that S3 has, by trial; trials without are left out."""
        self.catch_up()
        root = f"{where.checkpoints}/"
        found = {}
        for folder in sorted(self._bucket.checkpoints):
            self._machines.sync_checkpoints(folder)
            levels = self._bucket.checkpoints[folder]
            if folder.startswith(root) and levels:
                found[int(folder.removeprefix(root))] = sorted(levels)
        return found

    def next_instant(self) -> float:
        """When next something happens by itself that a tuner may see, seconds since the epoch by the service's
        clock; infinity if nothing does."""
        self.catch_up()
        return min(self._agenda.next_at(), self._fleet.next_due(), self._machines.next_report())
