"""Answers of the application behind the faults, taken as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from cloudtune.emulator.faults.calls import Environ
from cloudtune.emulator.service_error import JsonObject

Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


@dataclass(frozen=True)
class Answer:
    """
    Args:
        status: HTTP status line, such as ``200 OK``.
        headers: As the application gave them.
        body: All of it.
    """

    status: str
    headers: Headers
    body: bytes

    def document(self) -> JsonObject:
        """The body's JSON object; empty for an error or anything else."""
        if not self.status.startswith("200"):
            return {}
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def with_document(self, document: JsonObject) -> Answer:
        body = json.dumps(document).encode()
        others = [item for item in self.headers if item[0].lower() != "content-length"]
        return replace(self, headers=[*others, ("Content-Length", str(len(body)))], body=body)


def perform(application: Application, environ: Environ) -> Answer:
    """Has the request take place, to its end."""
    started: list[tuple[str, Headers]] = []
    written: list[bytes] = []

    def remember(status: str, headers: Headers, *_: object) -> Callable[[bytes], None]:
        started[:] = [(status, headers)]
        return written.append

    parts = application(environ, remember)
    try:
        body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    status, headers = started[0]
    return Answer(status, headers, b"".join(written) + body)
