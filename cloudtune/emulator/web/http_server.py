"""The HTTP server of an emulator."""

from __future__ import annotations

import time
from typing import Any

from werkzeug.serving import BaseWSGIServer, make_server

from cloudtune.emulator.web.call_audit import CallAudit
from cloudtune.emulator.web.https_proxy import Authority, ProxyHandler
from cloudtune.errors import SpecError

HOST = "127.0.0.1"


def bind(port: int, authority: Authority) -> BaseWSGIServer:
    """A server that has its port, and answers that it is not ready until it gets its application, ``app``.

    Args:
        port: 0 takes a free one.
        authority: Speaks for hosts of AWS.

    Raises:
        SpecError: The port is taken.
    """
    handler = type("Handler", (_Handler,), {"authority": authority})
    try:
        return make_server(HOST, port, _not_ready, threaded=True, request_handler=handler)
    except (OSError, SystemExit) as error:  # werkzeug leaves the process when a port is taken
        raise SpecError(f"Port {port} is taken.", "Choose another one, or 0 for a free one.") from error


class _Handler(ProxyHandler):
    # Headers and body are two writes: with Nagle's algorithm the second waits 40 ms for the first one's receipt.
    disable_nagle_algorithm = True
    timeout = 60

    def log_request(self, *_: object) -> None:
        """Nothing: a line per request drowns what matters."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer, by the service's clock as a scenario has it."""
        application = self.server.app
        shift = application.date_shift_s() if isinstance(application, CallAudit) else 0.0
        return str(super().date_time_string((time.time() if timestamp is None else timestamp) + shift))


def _not_ready(environ: Any, start_response: Any) -> list[bytes]:
    del environ
    start_response("503 Service Unavailable", [("Content-Length", "0")])
    return []
