"""All that an emulator keeps over restarts, and over its being killed at any moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudtune.emulator.control.iam import Roles
from cloudtune.emulator.engine import Engine
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.state import moto_roles
from cloudtune.emulator.state.job_journal import JobJournal, goes_on
from cloudtune.emulator.state.log_state import LogState
from cloudtune.emulator.state.s3_state import S3State
from cloudtune.paths import write_atomic

_READS = ("GET", "HEAD", "OPTIONS")
_READS_LOGS = ("Describe", "Filter", "Get", "List")  # operations that begin so
_ROLES, _JOBS = "roles.json", "jobs.jsonl"
_PARTS = (*S3State.FILES, *LogState.FILES, _ROLES, _JOBS)


class KeptState:
    """S3, CloudWatch Logs and roles are loaded into moto, which must be empty, when constructed.

    What was answered is in files: it survives the process, not the loss of the machine's power.

    Args:
        root: The folder. The caller holds it.
        roles: The account's.

    Raises:
        StoreError: What is there is damaged.
    """

    def __init__(self, root: Path, roles: Roles) -> None:
        self._root = root
        self.s3 = S3State(root)
        self.logs = LogState(root)
        self._jobs = JobJournal(root / _JOBS)
        self._roles = ""
        if (root / _ROLES).exists():
            self._roles = (root / _ROLES).read_text(encoding="utf-8")
            if "aws:policy/" in self._roles:
                roles.load_managed_policies()
            moto_roles.restore_roles(json.loads(self._roles))

    def load_jobs(self, table: JobTable) -> None:
        """And keeps them from now on."""
        self._jobs.load(table)
        table.context.on_change, table.context.on_remove = self._jobs.changed, self._jobs.removed

    def revive_jobs(self, table: JobTable, engine: Engine, lost_at: float | None) -> None:
        """Those that were not at their end go on; their instances went with the last emulator.

        Args:
            lost_at: Service time of its end, if that is known.
        """
        latest = max((job.view()["LastModifiedTime"] for job in table.all()), default=0.0)
        for job in table.all():
            if goes_on(job, max(latest, lost_at or latest)):
                engine.adopt(job)

    @contextmanager
    def answering(self, method: str, service: str, region: str, operation: str) -> Iterator[None]:
        """Around a request that moto answers: what it changes is kept when the block has been left.

        Raises:
            NotKept, OSError: It could not be written.
        """
        if method in _READS:
            yield
            return
        with self.s3.keeping():
            yield
        if service == "logs":
            if not operation.startswith(_READS_LOGS):  # there may be very many
                self.logs.keep_region(region)
        elif service == "iam":
            self._keep_roles()

    def _keep_roles(self) -> None:
        text = json.dumps(moto_roles.roles_document())
        if text != self._roles:
            write_atomic(self._root / _ROLES, text)
            self._roles = text

    def close(self) -> None:
        """Nothing is kept any more."""
        self.s3.close()
        self.logs.close()
        self._jobs.close()

    def forget(self) -> None:
        """Closes, and removes all that was kept."""
        self.close()
        for name in _PARTS:
            part = self._root / name
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
