"""A WSGI layer that records each call as its client sees it, faults included."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from cloudtune.emulator.audit import AuditLog
from cloudtune.emulator.faults.answers import StartResponse
from cloudtune.emulator.faults.calls import Call, Environ, identify
from cloudtune.emulator.faults.request_faults import RequestFaults

_OWN_PAGES = "/_emulator/"
# In JSON, where a namespace may stand before it, and XML; in CBOR behind its length.
_CODE = re.compile(rb'"__type"\s*:\s*"(?:[^"#]*#)?([^"]{1,128})"|<Code>([^<]{1,128})</Code>')
_CBOR_CODE = re.compile(rb"__type\x7a(.{4})", re.DOTALL)
_ACCESS_KEY = re.compile(r"Credential=(\w{16,128})/")
_CUT = "ConnectionReset"
_NAME, _OPERATION, _KEY = 63, 128, 1024  # characters; what is longer is no name, and may be anything


class CallAudit:
    """Stands in front of ``application``.

    Args:
        application: Answers requests.
        audit: Gets an entry of kind ``call`` before the client gets its answer.
        role_of: Name of the role that has an access key; None if none has.
    """

    def __init__(self, application: RequestFaults, audit: AuditLog, role_of: Callable[[str], str | None]) -> None:
        self._application = application
        self._audit = audit
        self._role_of = role_of

    def date_shift_s(self) -> float:
        """Real seconds to add to the dates of answers."""
        return self._application.date_shift_s()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        call = _call(environ)
        if call is None:
            return self._application(environ, start_response)
        key = _ACCESS_KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
        role = self._role_of(key[1]) if key else None
        statuses: list[str] = []

        def remember(status: str, *rest: object) -> object:
            statuses.append(status)
            return start_response(status, *rest)

        began = time.perf_counter()
        try:
            answer = self._application(environ, remember)
        except ConnectionResetError:
            self._record(call, role, None, _CUT, time.perf_counter() - began)
            raise
        seconds = time.perf_counter() - began
        status = int(statuses[-1][:3]) if statuses else None
        code = None
        if status is not None and status >= 400:
            answer = _taken(answer)
            code = _code(answer, status)
        self._record(call, role, status, code, seconds)
        return answer

    def _record(self, call: Call, role: str | None, status: int | None, error: str | None, seconds: float) -> None:
        facts: dict[str, object] = {"service": call.service, "operation": call.operation[:_OPERATION]}
        facts |= {"status": status, "error": error, "seconds": round(seconds, 6)}
        if role is not None:
            facts["role"] = role
        if 0 < len(call.job) <= _NAME:
            facts["job"] = call.job
        if call.bucket:
            facts["bucket"], facts["key"] = call.bucket[:_NAME], call.key[:_KEY]
        self._audit.record("call", **facts)


def _call(environ: Environ) -> Call | None:
    """None for what is not recorded: looks at the emulator's own pages."""
    path = environ.get("PATH_INFO", "")
    if not path.startswith(_OWN_PAGES):
        return identify(environ)
    method = environ.get("REQUEST_METHOD", "")
    return None if method == "GET" else Call("emulator", f"{method} {path.removeprefix(_OWN_PAGES)}")


def _taken(answer: Iterable[bytes]) -> list[bytes]:
    """An error's body, which is short."""
    try:
        return [b"".join(answer)]
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()


def _code(body: list[bytes], status: int) -> str:
    """The service's error code; where there is no body (HEAD), the HTTP status, as boto3 has it."""
    content = body[0][:4096]
    found = _CODE.search(content)
    if found is not None:
        return bytes(found[1] or found[2]).decode(errors="replace")
    found = _CBOR_CODE.search(content)
    if found is not None:
        return content[found.end() :][: int.from_bytes(found[1], "big")].decode(errors="replace")
    return str(status)
