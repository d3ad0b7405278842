"""The WSGI application: SageMaker's training jobs and the emulator's own pages; most else is moto's."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from botocore.model import OperationNotFoundError
from moto.backend_index import backend_url_patterns
from moto.backends import list_of_moto_modules
from moto.moto_server.werkzeug_app import SIGNING_ALIASES

from cloudtune.emulator.control.control_plane import ControlPlane
from cloudtune.emulator.control.iam import Roles
from cloudtune.emulator.control.json_service import JsonService
from cloudtune.emulator.control.log_filter import narrow
from cloudtune.emulator.service_error import JsonObject, ServiceError
from cloudtune.emulator.settings import DEFAULT_REGION
from cloudtune.emulator.web.admin import LIVE_PAGE, Admin
from cloudtune.emulator.web.https_proxy import is_aws

_log = logging.getLogger(__name__)
Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
Keeping = Callable[[str, str, str, str], AbstractContextManager[None]]

_SAGEMAKER = "SageMaker"
_FILTER_LOGS = "Logs_20140328.FilterLogEvents"
_JSON = "application/x-amz-json-1.1"
_CBOR = "rpc-v2-cbor"
_FORM = "application/x-www-form-urlencoded"
_OWN_PAGES = "/_emulator/"
_XML_SERVICES = ("", "s3", "route53", "cloudfront", "iam", "sts", "ec2")
_UNKNOWN, _INTERNAL = "UnknownOperationException", "InternalFailure"
_MAX_BODY = 8 << 20
_GONE = (ConnectionError, TimeoutError)  # the client: there is nobody to answer
_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
}
_LOCAL_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
# A name that the public DNS might give to this machine is a web site's, whose pages want in. What never is in it:
# names of one part, addresses, and these.
_HOST = re.compile(
    r"([^.:]*|[\d.]+|\[[\da-f:.%]*\]|.+\.(localhost|local|test|internal|lan|home\.arpa|localstack\.cloud))(:\d*)?",
    re.IGNORECASE,
)
_SCOPE = re.compile(r"Credential=[^/,&\s]+/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")


class Middleware:
    """Routes requests.

    Args:
        moto: Moto's dispatcher.
        control_plane: Answers for SageMaker.
        admin: Answers below ``/_emulator/``.
        roles: Answers for IAM what moto lacks.
        services: Answer for others, by the first part of ``X-Amz-Target``.
        keeping: Entered around what moto answers, given the request's method, service, region and, of the JSON
            protocol, operation: keeps what that changes.
    """

    def __init__(
        self,
        moto: Application,
        control_plane: ControlPlane,
        admin: Admin,
        roles: Roles,
        services: Mapping[str, JsonService],
        keeping: Keeping = lambda *_: nullcontext(),
    ) -> None:
        self._moto = moto
        self._control_plane = control_plane
        self._admin = admin
        self._roles = roles
        self._services = services
        self._keeping = keeping
        self._lock = threading.Lock()
        self._last_request = time.monotonic()

    def idle_seconds(self) -> float:
        """Since the last request of a client."""
        return time.monotonic() - self._last_request

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        try:
            if path != _OWN_PAGES + LIVE_PAGE:
                self._last_request = time.monotonic()
            if path.startswith(_OWN_PAGES):
                _refuse_pages(environ)
                return self._admin_page(environ, path, start_response)
            _refuse_pages(environ, local=True)
            if "HTTP_X_AMZ_TARGET" in environ:
                return self._json_service(environ, start_response)
            region, service = _scope(environ)
            if service == "iam":
                answer = self._roles.answer(_form(environ))
                if answer is not None:
                    return _respond(environ, start_response, 200, answer.encode(), "text/xml")
            if service not in ("", "s3") and "HTTP_AUTHORIZATION" not in environ:
                _sign(environ, region, service)  # presigned: moto knows only S3 by the query
            return self._pass_on(environ, start_response)
        except ServiceError as error:
            return _respond_error(environ, start_response, error)
        except _GONE:
            raise
        except Exception as error:  # noqa: BLE001 - the server would answer with HTML
            _log.exception("a defect of the emulator: %s %s", environ.get("REQUEST_METHOD"), path)
            return _respond_error(environ, start_response, ServiceError(_INTERNAL, repr(error), 500))

    def _admin_page(self, environ: Environ, path: str, start_response: StartResponse) -> Iterable[bytes]:
        body = _read_body(environ)
        page, query = path.removeprefix(_OWN_PAGES), environ.get("QUERY_STRING", "")
        answer = self._admin.answer(environ["REQUEST_METHOD"], page, body, query)
        return _respond(environ, start_response, 200, json.dumps(answer, default=str).encode(), "application/json")

    def _json_service(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """A request of the JSON protocol, which names service and operation in a header."""
        service, dot, operation = environ["HTTP_X_AMZ_TARGET"].partition(".")
        if not dot:
            raise ServiceError(_UNKNOWN, "The header X-Amz-Target names a service and an operation.")
        if service == _SAGEMAKER:
            _refuse_pages(environ)
            answer = self._sagemaker(environ, operation)
        elif service in self._services:
            request = _parse(_peek_body(environ))
            answer = self._services[service].answer(operation, _scope(environ)[0], request)
        elif environ["HTTP_X_AMZ_TARGET"] == _FILTER_LOGS:
            answer = _filter_logs(environ)
        else:
            answer = None
        if answer is None:
            return self._pass_on(environ, start_response)
        return _respond(environ, start_response, 200, json.dumps(answer).encode(), _JSON)

    def _sagemaker(self, environ: Environ, operation: str) -> JsonObject | None:
        """The answer; None where moto is to give one."""
        if environ["REQUEST_METHOD"] != "POST":
            raise ServiceError(
                "UnknownOperationException", "SageMaker is asked by POST.", 405, rule="operation.method"
            )
        request = _parse(_peek_body(environ))
        region, _ = _scope(environ)
        if not self._control_plane.answers(operation, request):
            _sign(environ, region, "sagemaker")
            return None
        return self._control_plane.answer(operation, region, request)

    def _pass_on(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Moto's answer; its HTML error pages are turned into errors of the protocol."""
        region, service = _scope(environ)
        if not _moto_has(service):
            raise ServiceError(_UNKNOWN, f"The emulator has no service {service!r}.", rule="service.unknown")
        started: list[tuple[str, Headers]] = []

        def remember(status: str, headers: Headers, *_: object) -> None:
            started[:] = [(status, headers)]

        try:
            operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
            with self._keeping(environ.get("REQUEST_METHOD", ""), service, region, operation):
                answer = self._moto(environ, remember)
        except (NotImplementedError, OperationNotFoundError) as error:
            return _respond_error(environ, start_response, ServiceError(_UNKNOWN, str(error)))
        except _GONE:
            raise
        except OSError as error:
            raise _incomplete(error) from error
        except Exception as error:  # noqa: BLE001 - whatever moto stumbles over, the client gets an error it can read
            where = environ.get("REQUEST_METHOD"), environ.get("PATH_INFO")
            _log.warning("moto cannot answer %s %s: %r", *where, error, exc_info=_log.isEnabledFor(logging.DEBUG))
            return _respond_error(environ, start_response, ServiceError(_INTERNAL, repr(error), 500))
        status, headers = started[0]
        if int(status[:3]) >= 400 and _content_type(headers).startswith("text/html"):
            content = b"".join(answer)
            nothing = not content and service not in ("", "s3")  # S3's HEAD has no body
            if nothing or content[:14].lower().startswith((b"<!doctype html", b"<html")):
                code = _UNKNOWN if status.startswith(("404", "405")) else _INTERNAL
                text = "The emulator does not know this request."
                return _respond_error(environ, start_response, ServiceError(code, text, int(status[:3])))
            answer = [content]
        start_response(status, headers)
        return answer


@lru_cache(maxsize=512)
def _moto_has(service: str) -> bool:
    """Whether moto has a backend for a signing name. Moto itself prints a line when it looks for one in vain."""
    name = SIGNING_ALIASES.get(service, service)
    hosts = [
        name,
        *(f"http://{prefix}{name}.us-east-1.amazonaws.com" for prefix in ("", "api.", "data.", "ingest.")),
    ]
    hosts += [f"http://{name}.us-east-1.api.aws", f"http://{name}.amazonaws.com"]
    known = name == "" or name in list_of_moto_modules()
    return known or any(pattern.match(host) for _, pattern in backend_url_patterns for host in hosts)


def _filter_logs(environ: Environ) -> JsonObject | None:
    """The answer; None where moto is to give one, to a request that it understands."""
    request = _parse(_peek_body(environ))
    if not isinstance(request, dict):
        return None
    narrowed = narrow(request, _scope(environ)[0])
    if narrowed is None:
        return {"events": [], "searchedLogStreams": []}
    _replace_body(environ, json.dumps(narrowed).encode())
    return None


def _refuse_pages(environ: Environ, local: bool = False) -> None:
    """A page in the user's browser must not be able to run programs on their machine, nor to replace in S3 what
    jobs run. With ``local``, pages of this machine may ask, such as a web application under test.

    Where a page's site is a name for 127.0.0.1, browsers tell no origin with what it reads: only the host.
    """
    host = environ.get("HTTP_HOST", "")
    if not _HOST.fullmatch(host) and not is_aws(host.partition(":")[0].lower()):
        raise ServiceError(
            "AccessDeniedException",
            f"The emulator is asked as 127.0.0.1 or localhost, not as {host!r}.",
            403,
            rule="operation.host",
        )
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not (local and _LOCAL_ORIGIN.fullmatch(origin)):
        raise ServiceError(
            "AccessDeniedException", "The emulator does not serve web pages.", 403, rule="operation.origin"
        )


def _scope(environ: Environ) -> tuple[str, str]:
    """Region and service that the request was signed for, in its header or, presigned, in its query."""
    signed = environ.get("HTTP_AUTHORIZATION")
    if signed is None:
        query = environ.get("QUERY_STRING", "")
        signed = unquote(query) if "X-Amz-Credential" in query else ""
    match = _SCOPE.search(signed)
    return (match[1], match[2]) if match else (DEFAULT_REGION, "")


def _sign(environ: Environ, region: str, service: str) -> None:
    """Tells moto where the request goes; it checks no signatures."""
    environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential=-/20200101/{region}/{service}/aws4_request"


def _read_body(environ: Environ) -> bytes:
    """The whole body, whether its length is announced or it comes in chunks. Raises ServiceError."""
    if environ.get("wsgi.input_terminated"):
        return _bounded(_receive(environ, _MAX_BODY + 1))
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise ServiceError(
            "SerializationException", "The Content-Length is no number.", rule="operation.length"
        ) from None
    if length > _MAX_BODY:
        raise _too_large()
    return _receive(environ, length) if length > 0 else b""


def _receive(environ: Environ, size: int) -> bytes:
    try:
        return bytes(environ["wsgi.input"].read(size))
    except _GONE:
        raise
    except OSError as error:
        raise _incomplete(error) from error


def _incomplete(error: OSError) -> ServiceError:
    """For a body in chunks that are none."""
    return ServiceError("IncompleteBody", f"The body cannot be read: {error}.")


def _bounded(body: bytes) -> bytes:
    if len(body) > _MAX_BODY:
        raise _too_large()
    return body


def _too_large() -> ServiceError:
    return ServiceError(
        "RequestEntityTooLarge", f"The request is larger than {_MAX_BODY} bytes.", 413, rule="operation.size"
    )


def _peek_body(environ: Environ) -> bytes:
    """The whole body, which stays readable for moto."""
    body = _read_body(environ)
    _replace_body(environ, body)
    return body


def _replace_body(environ: Environ, body: bytes) -> None:
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)


def _form(environ: Environ) -> dict[str, list[str]]:
    """The parameters of a query-protocol request, in its body or, presigned, in its query."""
    text = environ.get("QUERY_STRING", "")
    if environ.get("CONTENT_TYPE", "").startswith(_FORM):
        text = f"{_peek_body(environ).decode(errors='replace')}&{text}"
    return parse_qs(text)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body.decode() or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ServiceError(
            "SerializationException", "The request is no valid JSON.", rule="operation.json"
        ) from None


def _no_number(name: str) -> NoReturn:
    """Python would read ``NaN`` and ``Infinity``, which JSON lacks."""
    raise ValueError(name)


def _content_type(headers: Headers) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def _respond(
    environ: Environ, start_response: StartResponse, status: int, body: bytes, content_type: str, rule: str = ""
) -> Iterable[bytes]:
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("x-amzn-RequestId", str(uuid.uuid4())),
    ]
    if content_type == "application/cbor":
        headers.append(("smithy-protocol", _CBOR))
    if rule:
        headers.append(("x-emulator-rule", rule))
    start_response(f"{status} {_REASONS.get(status, 'Error')}", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _respond_error(environ: Environ, start_response: StartResponse, error: ServiceError) -> Iterable[bytes]:
    """An error as the request's protocol has it: JSON, S3's XML, or the query protocols' XML."""
    service = _scope(environ)[1]
    form = environ.get("CONTENT_TYPE", "").startswith(_FORM)
    own = environ.get("PATH_INFO", "").startswith(_OWN_PAGES)
    if environ.get("HTTP_SMITHY_PROTOCOL") == _CBOR:
        content = b"\xa2" + b"".join(map(_cbor_text, ("__type", error.code, "message", error.message)))
        return _respond(environ, start_response, error.status, content, "application/cbor", error.rule)
    if own or "HTTP_X_AMZ_TARGET" in environ or not (form or service in _XML_SERVICES):
        body: JsonObject = {"__type": error.code, "message": error.message}
        return _respond(environ, start_response, error.status, json.dumps(body).encode(), _JSON, error.rule)
    text = f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
    if service == "ec2":
        text = f"<Response><Errors>{text}</Errors><RequestID>emulator</RequestID></Response>"
    elif service not in ("s3", ""):
        text = f"<ErrorResponse>{text}</ErrorResponse>"
    body_text = f'<?xml version="1.0"?>{text}'.encode()
    return _respond(environ, start_response, error.status, body_text, "application/xml", error.rule)


def _cbor_text(text: str) -> bytes:
    """A text string of RFC 8949, its length in four bytes."""
    content = text.encode()
    return b"\x7a" + len(content).to_bytes(4, "big") + content
