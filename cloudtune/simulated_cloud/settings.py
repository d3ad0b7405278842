"""How long things take in the simulated cloud, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudtune.emulator.faults.kinds import ClockSkew, EmulatorKilled
from cloudtune.emulator.faults.scenario import Scenario, load_scenario
from cloudtune.errors import SpecError
from cloudtune.sagemaker_backend.ports import Pace


@dataclass(frozen=True)
class FileFaults:
    """What goes wrong with what jobs write, beyond what a scenario can say.

    Args:
        torn_reports: Probability that an upload of reports arrives in half, for each run of a job.
        repair_s: Seconds until the job notices and uploads it again; None: never.
        late_checkpoint: Probability that a job's checkpoint is uploaded once more after its end.
        late_checkpoint_s: How long after.
    """

    torn_reports: float = 0.0
    repair_s: float | None = 60.0
    late_checkpoint: float = 0.0
    late_checkpoint_s: float = 20.0


@dataclass(frozen=True)
class QuotaChange:
    """From ``after_s`` seconds on, so many instances of a type (or ``*``) may be in use at once; ``kind``:
    ``on_demand``, ``spot`` or ``warm_pool``."""

    after_s: float
    instance_type: str
    kind: str
    limit: int


@dataclass(frozen=True)
class CloudSettings:
    """All durations in seconds.

    Args:
        scenario: Of the emulator (docs/emulator_scenarios.md), or the name of one: delays, quotas, faults of
            requests and of jobs.
        seed: Of all chance.
        download_s: From instances that are up to the start of the container.
        upload_s: From the end of the container to that of the job.
        report_delay_s: From a line that a script prints to the object in S3, and to the log.
        checkpoint_delay_s: From a checkpoint on a job's disk to S3.
        grace_s: From SIGTERM to SIGKILL.
        file_faults: What goes wrong with files.
        quota_changes: What Service Quotas does meanwhile.
        quotas_readable: Whether Service Quotas tells; else quotas are learnt from refusals.
        clock_jumps: When, and by how much, the clock of the tuner's machine jumps; see
            :meth:`MachineClock.jump <cloudtune.simulated_cloud.clocks.MachineClock.jump>`.
        pace: How often the backend looks; default: as on AWS.

    Raises:
        SpecError: There is no such scenario, or it has faults of which only the emulator knows.
    """

    scenario: Scenario | str = "calm"
    seed: int = 0
    download_s: float = 20.0
    upload_s: float = 5.0
    report_delay_s: float = 1.0
    checkpoint_delay_s: float = 2.0
    grace_s: float = 120.0
    file_faults: FileFaults = field(default_factory=FileFaults)
    quota_changes: tuple[QuotaChange, ...] = ()
    quotas_readable: bool = True
    clock_jumps: tuple[tuple[float, float], ...] = ()
    pace: Pace = field(default_factory=lambda: Pace(reports_s=4.0, jobs_s=8.0))

    def __post_init__(self) -> None:
        for fault in self.loaded_scenario().faults:
            if isinstance(fault, (ClockSkew, EmulatorKilled)):
                raise SpecError(
                    f"The simulated cloud cannot play the fault {fault.kind!r} of scenario "
                    f"{self.loaded_scenario().name!r}.",
                    "Leave it out; clock_jumps moves the clock of the tuner's machine.",
                )

    def loaded_scenario(self) -> Scenario:
        return load_scenario(self.scenario)
