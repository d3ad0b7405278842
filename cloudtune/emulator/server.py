"""AWS for rehearsals in one process: put together, started, closed."""

from __future__ import annotations

import logging
import math
import os
import secrets
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.client_environment import client_environment
from cloudtune.emulator.control.account_rules import Account
from cloudtune.emulator.control.control_plane import ControlPlane
from cloudtune.emulator.control.iam import Roles
from cloudtune.emulator.control.pricing import Pricing
from cloudtune.emulator.control.service_quotas import ServiceQuotas
from cloudtune.emulator.engine import Engine
from cloudtune.emulator.faults import Faults, InterruptRule, Scenario, load_scenario
from cloudtune.emulator.faults.in_force import InForce
from cloudtune.emulator.faults.killing import Killer, Restart, check_killable
from cloudtune.emulator.faults.request_faults import RequestFaults
from cloudtune.emulator.fleet.delays import Delays
from cloudtune.emulator.fleet.job_states import Phase
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.fleet.jobs import JobContext
from cloudtune.emulator.fleet.quotas import Quotas
from cloudtune.emulator.machine.instance_shares import Shares
from cloudtune.emulator.machine.isolation import check_choice, choose
from cloudtune.emulator.machine.job_credentials import role_of
from cloudtune.emulator.machine.job_environment import ScriptFolder
from cloudtune.emulator.machine.processes import Keeper
from cloudtune.emulator.machine.shared_threads import SharedThreads
from cloudtune.emulator.machine.site import Site
from cloudtune.emulator.object_store import ObjectStore
from cloudtune.emulator.screen.live import Live
from cloudtune.emulator.service_clock import ServiceClock
from cloudtune.emulator.service_error import JsonObject, ServiceError
from cloudtune.emulator.settings import ACCOUNT_ID, DEFAULT_REGION, DEFAULT_ROLE, Settings, default_parallel_jobs
from cloudtune.emulator.state.kept_state import KeptState
from cloudtune.emulator.state.state_folder import StateFolder
from cloudtune.emulator.web.admin import Admin
from cloudtune.emulator.web.call_audit import CallAudit
from cloudtune.emulator.web.http_server import HOST, bind
from cloudtune.emulator.web.https_proxy import Authority
from cloudtune.emulator.web.middleware import Middleware
from cloudtune.errors import SpecError

_log = logging.getLogger(__name__)
_POLL_S = 0.1  # after which the server notices that it is to close


class SageMakerEmulator:
    """S3, STS, IAM, CloudWatch Logs (moto) and SageMaker training jobs that really run, on 127.0.0.1.

    One emulator per process at a time: moto's state is the process's, and it is reset at the start. Usable as a
    context manager, which starts and closes it.

    Args:
        port: 0 takes a free one.
        state_dir: Folder that keeps S3, logs, roles and jobs over restarts, also over ``kill -9`` at any moment.
            None: they are gone at the end.
        max_parallel_jobs: Jobs that run at once, the others wait. Default: half of the cores, at least one.
        isolation: ``root`` or ``user`` namespaces, ``none``, or ``auto``: the strongest that works here.
        stop_grace_s: Service seconds between SIGTERM and SIGKILL when a job is stopped.
        time_scale: How many times faster than real time the service's time passes (see :class:`ServiceClock`).
        scenario: What goes wrong: the name of a preset, the path of a file, or a scenario.
        seed: Of the scenario's draws.

    Raises:
        SpecError: For arguments out of range.
    """

    account_id = ACCOUNT_ID
    region = DEFAULT_REGION
    role_arn = f"arn:aws:iam::{ACCOUNT_ID}:role/service-role/{DEFAULT_ROLE}"

    def __init__(
        self,
        port: int = 0,
        state_dir: str | os.PathLike[str] | None = None,
        max_parallel_jobs: int | None = None,
        isolation: str = "auto",
        stop_grace_s: float = 120.0,
        time_scale: float = 1.0,
        scenario: str | os.PathLike[str] | Scenario = "calm",
        seed: int = 0,
    ) -> None:
        if not 0 <= port <= 65535:
            raise SpecError(f"port={port} is no port.", "Give 1 to 65535, or 0 for a free one.")
        check_choice(isolation)
        if max_parallel_jobs is not None and max_parallel_jobs < 1:
            raise SpecError(f"max_parallel_jobs={max_parallel_jobs} lets no job run.", "Give 1 or more.")
        if not (stop_grace_s >= 0 and math.isfinite(stop_grace_s)):
            raise SpecError(f"stop_grace_s={stop_grace_s} is out of range.", "Give seconds, 0 or more.")
        self._scenario, self._seed = load_scenario(scenario), seed
        self._port = port
        self._state_dir = None if state_dir is None else Path(state_dir).absolute()
        self._isolation = isolation
        self._settings = Settings(
            max_parallel_jobs or default_parallel_jobs(),
            stop_grace_s=stop_grace_s,
        )
        self._clock = ServiceClock(time_scale)
        #: Every call, transition, bill and fault.
        self.audit = AuditLog()
        #: Kills this process and starts another in its place. None: a scenario that wants that is refused.
        self.restart: Restart | None = None
        self._account()
        self._closing = threading.Lock()
        self._closed = threading.Event()
        self._server: BaseWSGIServer | None = None
        self._state: StateFolder | None = None
        self._kept: KeptState | None = None

    def _account(self) -> None:
        #: How long instances take to come and go; how many there may be. Both may be changed at any time.
        self.delays, self.quotas = Delays(), Quotas(self._clock)
        #: The account's roles; may be made strict at any time.
        self.roles = Roles()

    def start(self) -> SageMakerEmulator:
        """Serves from now on; returns when ready. Not to be called again: ``with SageMakerEmulator()`` calls it.

        Raises:
            SpecError: The port is taken, the isolation does not work here, the scenario kills the emulator,
                ``state_dir`` is no folder of the emulator's, or this one has been started before.
            Conflict: Another emulator has ``state_dir``.
            StoreError: What is in ``state_dir`` is damaged.
        """
        if self._server is not None:
            raise SpecError(
                "This emulator has been started before.",
                "Use it in a with block, or call start(), not both; for another start make another one.",
            )
        check_killable(self._scenario, self.restart)
        if self._state_dir is not None:
            self._state = StateFolder(self._state_dir)
            self._state.clean()
        folder = self._state_dir or Path(tempfile.mkdtemp(prefix="cloudtune-emulator-"))
        self._folder = folder / "jobs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keeper = Keeper(secrets.token_hex(8), None if self._state else folder, self._state)
        try:
            if self._state_dir is not None:
                self.audit.write_to(folder / "audit.jsonl")
            self._chosen = choose(self._isolation, self._folder)
            self._authority = Authority(folder / "tls")
            self._scripts = ScriptFolder(folder / "bin")
            port = self._port or (0 if self._state is None else self._state.free_port())
            self._server = bind(port, self._authority)
            lost_at = None
            if self._state is not None:
                lost_at = self._state.begin(self.port, self._keeper.mark, self._clock)
            self.isolation = self._chosen.name
            self._build(self._server, lost_at)
        except BaseException:
            if self._server is not None:
                self._server.server_close()
            self._let_go()
            raise
        self._record("start")
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="emulator", daemon=True).start()
        return self

    def _build(self, server: BaseWSGIServer, lost_at: float | None = None) -> None:
        """Makes an account with nothing in it but what was kept, and an engine; and has the server serve them.

        Args:
            lost_at: When the emulator ended that ran the jobs that were kept, if that is known.
        """
        BackendDict.reset()
        reset_model_data()
        self._kept = kept = None if self._state is None else KeptState(self._state.root, self.roles)
        store = ObjectStore(ACCOUNT_ID) if kept is None else ObjectStore(ACCOUNT_ID, kept.s3, kept.logs)
        clock = self._clock
        self._faults = Faults(clock, self.audit)
        self._threads = SharedThreads()
        self._shares = Shares()
        self._table = JobTable(ACCOUNT_ID, JobContext(clock, self.audit))
        if kept is not None:
            kept.load_jobs(self._table)
        site = Site(
            self._folder,
            self.endpoint_url,
            self._authority.bundle,
            store,
            self._chosen,
            self._settings,
            self._faults,
            self._keeper,
            self._scripts,
            self.audit,
            clock,
            self._threads,
            self.delays,
            shares=self._shares,
        )
        self._engine = Engine(site, self._table, self.quotas)
        self._live = Live(self._table, self.audit, self._shares, self._clock)
        self._killer = Killer(self._faults, self.restart)
        self._in_force = InForce(self._faults, self.quotas, self.delays, self._killer, self._engine.recheck)
        self._in_force.apply(self._scenario, self._seed)
        self._admin = Admin(
            self._table, self._engine, self._faults, self._in_force, self.audit, self, self._close_soon
        )
        self._middleware = Middleware(
            DomainDispatcherApplication(create_backend_app),
            ControlPlane(self._table, Account(store, self.roles), self._engine, self._faults),
            self._admin,
            self.roles,
            {"AWSPriceListService": Pricing(), "ServiceQuotasV20190624": ServiceQuotas(self.quotas)},
            *(() if kept is None else (kept.answering,)),
        )
        self.roles.ensure(DEFAULT_ROLE)
        if kept is not None:
            kept.revive_jobs(self._table, self._engine, lost_at)
        server.app = CallAudit(RequestFaults(self._middleware, self._faults), self.audit, role_of)

    def _record(self, event: str) -> None:
        settings = self._settings
        self.audit.record(
            "emulator",
            event=event,
            endpoint_url=self.endpoint_url,
            pid=os.getpid(),
            isolation=self.isolation,
            max_parallel_jobs=settings.max_parallel_jobs,
            stop_grace_s=settings.stop_grace_s,
            time_scale=self._clock.scale,
            scenario=self._faults.scenario.name,
            seed=self._faults.seed,
        )

    def reset(self) -> None:
        """As good as new, in milliseconds, at the same address: ends all jobs at once; buckets, logs, roles, rules
        are gone; quotas, delays and the scenario are those of the beginning; the audit log's memory is empty.

        Not to be called while other threads use the emulator.
        """
        with self._closing:
            if self._server is None or self._closed.is_set():
                raise SpecError("The emulator does not run.", "Use it in a with block, or call start().")
            self._halt()
            if self._kept is not None:
                self._kept.forget()
            self._account()
            self.audit.forget()
            self._build(self._server)
            self._record("reset")

    def close(self) -> None:
        """Ends all jobs, processes and threads. Without ``state_dir``, what was stored is gone; with it, the next
        emulator there goes on, and the jobs have lost their instances. May be called twice."""
        self._close(stop_jobs=False)

    def _close(self, stop_jobs: bool) -> None:
        with self._closing:
            if self._server is None or self._closed.is_set():
                return
            if self._state is not None:
                self._state.leaving()
            self._server.shutdown()
            self._server.server_close()
            self._halt()
            if stop_jobs:
                for job in self._table.all():
                    job.enter(Phase.stopping)
                    job.enter(Phase.stopped)
            self._record("end")
            self._let_go()
            self._closed.set()

    def _let_go(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._keeper.close()
        self.audit.close()
        if self._state is not None:
            self._state.close()

    def _halt(self) -> None:
        """Nothing runs any more."""
        self._killer.cancel()
        self._engine.close()
        self._threads.close()

    def _close_soon(self) -> None:
        """At a user's wish: the jobs do not go on with the next emulator."""
        threading.Thread(target=self._close, args=(True,), name="closing", daemon=False).start()

    def wait_closed(self, timeout_s: float | None = None) -> bool:
        """Whether it is closed, at the latest after ``timeout_s``."""
        return self._closed.wait(timeout_s)

    def __enter__(self) -> SageMakerEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        if self._server is None:
            raise SpecError("The emulator has not been started.", "Use it in a with block, or call start().")
        return int(self._server.port)

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def environment(self, proxy: bool = False) -> dict[str, str]:
        """Environment variables with which any AWS client talks to this emulator.

        Args:
            proxy: Also clients that insist on AWS's own addresses, like the SageMaker SDKs; see
                :mod:`cloudtune.emulator.web.https_proxy`.
        """
        return client_environment(self.endpoint_url, self._authority.bundle if proxy else None)

    def health(self) -> JsonObject:
        """Facts for people and for the daemon's clients."""
        return {
            "endpoint_url": self.endpoint_url,
            "pid": os.getpid(),
            "isolation": self.isolation,
            "ca_bundle": str(self._authority.bundle),
            "max_parallel_jobs": self._engine.max_parallel_jobs,
            "busy": self._engine.busy(),
            "state": None if self._state is None else str(self._state.root),
            "shares": self._shares.report(),
        }

    def live(self) -> JsonObject:
        """What the live view shows; see :class:`cloudtune.emulator.screen.live.Live`."""
        scenario = {"scenario": self._faults.scenario.name, "seed": self._faults.seed}
        return {**self.health(), **scenario, **self._live.picture()}

    def jobs(self) -> list[JsonObject]:
        """All jobs in the order of their creation, as DescribeTrainingJob has them (times in seconds)."""
        return [job.describe() for job in self._table.all()]

    def interrupt(self, job_name: str, notice: bool = False) -> None:
        """Takes the instance of a running spot job away.

        Args:
            job_name: The job.
            notice: SIGTERM and the grace period first.

        Raises:
            SpecError: No such spot job runs.
        """
        try:
            self._admin.interrupt(job_name, notice)
        except ServiceError as error:
            raise SpecError(
                error.message, "Interrupt a job with EnableManagedSpotTraining while it trains."
            ) from error

    def add_interrupt_rule(self, rule: InterruptRule) -> None:
        """Interrupts matching spot jobs from now on, also those that run."""
        self._engine.add_rule(rule.checked())

    def apply_scenario(self, scenario: str | os.PathLike[str] | Scenario, seed: int = 0) -> None:
        """Replaces the scenario, for jobs that run as well; its times begin now.

        Raises:
            SpecError: There is no such preset or file, or it is no scenario.
        """
        self._in_force.apply(load_scenario(scenario), seed)

    def idle_seconds(self) -> float:
        """Since the last request; 0 while a job runs or waits."""
        return 0.0 if self._engine.busy() else self._middleware.idle_seconds()
