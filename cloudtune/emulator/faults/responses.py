"""Errors as the client of each service reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape

from cloudtune.emulator.faults.calls import Call

_QUERY_SERVICES = ("iam", "sts")
_REASONS = {400: "Bad Request", 403: "Forbidden", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True)
class Refusal:
    """An error response.

    Args:
        status: HTTP status.
        code: The service's error code.
        message: In the service's wording.
    """

    status: int
    code: str
    message: str

    @property
    def status_line(self) -> str:
        return f"{self.status} {_REASONS[self.status]}"

    def content(self, call: Call) -> tuple[bytes, str]:
        """Body and its type, in the protocol of the service that was called."""
        code, message = escape(self.code), escape(self.message)
        if call.service == "s3":
            text = f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>/{escape(call.resource)}"
            return _xml(f"{text}</Resource></Error>")
        if call.service in _QUERY_SERVICES:
            kind = "Sender" if self.status < 500 else "Receiver"
            inner = f"<Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            return _xml(f"<ErrorResponse>{inner}<RequestId>emulated</RequestId></ErrorResponse>")
        body = {"__type": self.code, "message": self.message}
        return json.dumps(body).encode(), "application/x-amz-json-1.1"


def _xml(text: str) -> tuple[bytes, str]:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode(), "application/xml"


def throttled(call: Call) -> Refusal:
    if call.service == "s3":
        return Refusal(503, "SlowDown", "Please reduce your request rate.")
    return Refusal(
        400, "Throttling" if call.service in _QUERY_SERVICES else "ThrottlingException", "Rate exceeded"
    )


def internal_error(call: Call) -> Refusal:
    if call.service == "s3":
        return Refusal(500, "InternalError", "We encountered an internal error. Please try again.")
    return Refusal(500, "InternalFailure", "The request processing has failed because of an unknown error.")


def unavailable(call: Call) -> Refusal:
    if call.service == "s3":
        return Refusal(503, "ServiceUnavailable", "Service is unable to handle request.")
    code = "ServiceUnavailableException" if call.service == "logs" else "ServiceUnavailable"
    return Refusal(503, code, "The request has failed due to a temporary failure of the server.")


def too_skewed(call: Call) -> Refusal:
    message = "The difference between the request time and the current time is too large."
    if call.service == "s3":
        return Refusal(403, "RequestTimeTooSkewed", message)
    code = "SignatureDoesNotMatch" if call.service in _QUERY_SERVICES else "InvalidSignatureException"
    return Refusal(
        403 if call.service in _QUERY_SERVICES else 400, code, f"Signature not yet current or expired: {message}"
    )
