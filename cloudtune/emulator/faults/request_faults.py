"""A WSGI layer in which requests meet the scenario's faults.

The emulator's own pages are never disturbed. A scenario without faults of requests costs one comparison.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn

from cloudtune.emulator.faults.answers import Application, StartResponse, perform
from cloudtune.emulator.faults.calls import Call, Environ, identify
from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.log_faults import LogFaults
from cloudtune.emulator.faults.responses import Refusal
from cloudtune.emulator.faults.treatment import RequestRules

_OWN_PAGES = "/_emulator/"
_READ_BYTES = 1 << 20
_PACE_S = 0.05  # real, between two parts of a slow answer


class RequestFaults:
    """Stands in front of ``application``.

    Args:
        application: Answers requests.
        faults: The scenario in force.
    """

    def __init__(self, application: Application, faults: Faults) -> None:
        self._application = application
        self._faults = faults
        self._rules = RequestRules(faults)
        self._logs = LogFaults(faults, application)

    def date_shift_s(self) -> float:
        """Real seconds to add to the dates of answers."""
        return self._rules.skew_s()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._faults.disturb_requests or environ.get("PATH_INFO", "").startswith(_OWN_PAGES):
            return self._application(environ, start_response)
        call = identify(environ)
        treatment = self._rules.treat(call, environ)
        rate = treatment.bytes_per_s
        self._wait(treatment.latency_s + (0.0 if rate is None else call.size / rate))
        behind = self._logs.application(call) if self._logs.concern(call) else self._application
        if treatment.is_answered and rate is None:
            return behind(environ, start_response)
        answer = perform(behind, environ) if treatment.takes_place else None
        if treatment.reset:
            if not treatment.takes_place:
                _drain(call.size, environ)
            _cut(environ)
        if treatment.refusal is not None:
            return _refuse(call, treatment.refusal, environ, start_response)
        if answer is None:
            raise ValueError(f"{call.name} is neither performed nor refused")
        start_response(answer.status, answer.headers)
        if treatment.truncate:
            return _halved(answer.body, environ)
        return [answer.body] if rate is None else self._paced(answer.body, rate)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(self._faults.clock.real(seconds))

    def _paced(self, body: bytes, bytes_per_s: float) -> Iterator[bytes]:
        """``body`` in parts, at that rate of service seconds."""
        size = max(1, int(bytes_per_s * self._faults.clock.scale * _PACE_S))
        for start in range(0, len(body), size):
            part = body[start : start + size]
            self._wait(len(part) / bytes_per_s)
            yield part


def _refuse(call: Call, refusal: Refusal, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body, content_type = refusal.content(call)
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start_response(refusal.status_line, headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _halved(body: bytes, environ: Environ) -> Iterator[bytes]:
    """Fewer bytes than the headers have promised."""
    yield body[: len(body) // 2]
    if body:
        _cut(environ)


def _drain(size: int, environ: Environ) -> None:
    """Reads what the client still sends: the server would take it for the next request."""
    left = size
    while left > 0 and (part := environ["wsgi.input"].read(min(left, _READ_BYTES))):
        left -= len(part)


def _cut(environ: Environ) -> NoReturn:
    """Ends the connection without another byte; the server takes the error for a client that has gone."""
    connection = environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):  # gone already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("a fault of the scenario")
