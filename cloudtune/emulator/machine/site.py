"""What all jobs of an emulator share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.fleet.delays import Delays
from cloudtune.emulator.machine.hosts import Addresses
from cloudtune.emulator.machine.instance_shares import Shares
from cloudtune.emulator.machine.isolation import Isolation
from cloudtune.emulator.machine.job_environment import ScriptFolder
from cloudtune.emulator.machine.processes import Keeper
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.settings import Settings


@dataclass(frozen=True)
class Site:
    """The place where jobs run, and what they need there."""

    folder: Path  # of all jobs
    endpoint_url: str
    ca_bundle: Path  # whom jobs are to trust
    store: ObjectStore
    isolation: Isolation
    settings: Settings
    faults: Faults
    keeper: Keeper
    scripts: ScriptFolder
    audit: AuditLog
    clock: ServiceClock
    threads: SharedThreads
    delays: Delays = field(default_factory=Delays)
    addresses: Addresses = field(default_factory=Addresses)
    shares: Shares = field(default_factory=Shares)
