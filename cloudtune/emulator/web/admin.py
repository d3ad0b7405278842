"""The emulator's own pages, below ``/_emulator/``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qsl

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.engine import Engine
from cloudtune.emulator.faults import Faults, InterruptRule
from cloudtune.emulator.faults.in_force import InForce
from cloudtune.emulator.fleet.job_table import JobTable
from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid
from cloudtune.errors import SpecError

_PAGE = 5_000  # entries of the audit log
_MOST_JOBS = 10_000
#: Whoever asks for this one only watches: it keeps no idle emulator alive.
LIVE_PAGE = "live"


class Shown(Protocol):
    """An emulator."""

    def health(self) -> JsonObject:
        """Facts for programs."""

    def live(self) -> JsonObject:
        """What people see."""


class Admin:
    """Answers what only an emulator is asked.

    ``GET health``, ``GET live``, ``GET jobs``, ``GET audit?kind=&since=&job=``, ``GET interrupt_rules``,
    ``POST interrupt_rules``, ``POST interrupt``, ``POST parallel_jobs``, ``GET scenario``, ``PUT scenario``,
    ``POST shutdown``.

    Args:
        shown: Tells about this emulator.
        shutdown: Begins to close it; returns at once.
    """

    def __init__(
        self,
        table: JobTable,
        engine: Engine,
        faults: Faults,
        in_force: InForce,
        audit: AuditLog,
        shown: Shown,
        shutdown: Callable[[], None],
    ) -> None:
        self._table = table
        self._engine = engine
        self._faults = faults
        self._in_force = in_force
        self._audit = audit
        self._shown = shown
        self._shutdown = shutdown

    def answer(self, method: str, page: str, body: bytes, query: str = "") -> object:
        """Raises ServiceError."""
        pages: dict[tuple[str, str], Callable[[bytes], object]] = {
            ("GET", "health"): lambda _: self._shown.health(),
            ("GET", LIVE_PAGE): lambda _: self._shown.live(),
            ("GET", "jobs"): lambda _: {"jobs": [job.describe() for job in self._table.all()]},
            ("GET", "audit"): lambda _: self._entries(query),
            ("GET", "interrupt_rules"): lambda _: {"rules": [rule.to_json() for rule in self._faults.rules()]},
            ("POST", "interrupt_rules"): self._add_rule,
            ("POST", "interrupt"): self._interrupt,
            ("POST", "parallel_jobs"): self._allow_parallel_jobs,
            ("GET", "scenario"): lambda _: self._in_force.to_json(),
            ("PUT", "scenario"): self._put_scenario,
            ("POST", "shutdown"): self._close,
        }
        if (method, page) not in pages:
            known = ", ".join(f"{known_method} {known_page}" for known_method, known_page in pages)
            raise ServiceError("NotFound", f"The emulator has no page {method} {page!r}. It has: {known}.", 404)
        return pages[method, page](body)

    def _entries(self, query: str) -> object:
        """A page of the audit log, and the ``since`` of the next one; ``more``: whether that has entries now."""
        wanted = dict(parse_qsl(query, keep_blank_values=True))
        known = {"kind", "since", "job"}
        if not set(wanted) <= known:
            raise invalid(f"The audit log is asked for {', '.join(sorted(known))}, not for {query!r}.")
        since = wanted.get("since", "0")
        if not (since.isascii() and since.isdigit() and len(since) < 20):
            raise invalid(f"since={since!r} is no number of an entry.")
        end = int(self._audit.counts()["entries"])
        try:
            found = self._audit.entries(wanted.get("kind"), int(since), wanted.get("job"))
        except SpecError as error:
            raise invalid(str(error)) from error
        page, rest = found[:_PAGE], found[_PAGE:]
        return {"entries": page, "next": rest[0]["number"] if rest else max(end, int(since)), "more": bool(rest)}

    def _add_rule(self, body: bytes) -> object:
        try:
            rule = InterruptRule.from_json(_json(body))
        except SpecError as error:
            raise invalid(str(error)) from error
        self._engine.add_rule(rule)
        return rule.to_json()

    def _put_scenario(self, body: bytes) -> object:
        try:
            self._in_force.put(_json(body))
        except SpecError as error:
            raise invalid(str(error)) from error
        return self._in_force.to_json()

    def _interrupt(self, body: bytes) -> object:
        request = _json(body)
        name = request.get("job_name") if isinstance(request, dict) else None
        notice = request.get("notice", False) if isinstance(request, dict) else False
        if not isinstance(name, str) or not isinstance(notice, bool):
            raise invalid('Send {"job_name": NAME, "notice": true or false}.')
        self.interrupt(name, notice)
        return {}

    def _allow_parallel_jobs(self, body: bytes) -> object:
        request = _json(body)
        at_least = request.get("at_least") if isinstance(request, dict) else None
        if not isinstance(at_least, int) or isinstance(at_least, bool) or not 1 <= at_least <= _MOST_JOBS:
            raise invalid(f'Send {{"at_least": NUMBER}}, from 1 to {_MOST_JOBS}.')
        self._engine.allow_parallel_jobs(at_least)
        return self._shown.health()

    def interrupt(self, name: str, notice: bool) -> None:
        """Raises ServiceError where no such spot job runs."""
        jobs = self._table.by_name(name)
        if not jobs:
            raise invalid(f"There is no job {name!r}.")
        for job in jobs:
            self._engine.interrupt(job, notice)

    def _close(self, body: bytes) -> object:
        del body
        self._shutdown()
        return {}


def _json(body: bytes) -> object:
    try:
        return json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise invalid("The request is no valid JSON.") from None
