"""CloudWatch Logs as it can be: events that show late, and pages without events in the middle of a stream."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable

from cloudtune.emulator.faults.answers import Answer, Application, StartResponse, perform
from cloudtune.emulator.faults.calls import Call, Environ
from cloudtune.emulator.faults.job_faults import Faults
from cloudtune.emulator.faults.kinds import EmptyLogPage, LogLag
from cloudtune.emulator.service_error import JsonObject

_EVENTS = ("logs:GetLogEvents", "logs:FilterLogEvents")
_STREAMS = "logs:DescribeLogStreams"
#: In the token of the page that an empty one stands for, before its number: where moto reads past it, so that the
#: token is good even if the scenario goes.
_AGAIN = " "
#: Of a page, after its direction ("f/", "b/"): the number of its first or last event.
_NUMBER = 2
_BEGINNING = "f/-1"  # of a stream: nobody gives this token


class LogFaults:
    """Answers reads of logs."""

    def __init__(self, faults: Faults, application: Application) -> None:
        self._faults = faults
        self._application = application

    def concern(self, call: Call) -> bool:
        return call.name in (*_EVENTS, _STREAMS) and bool(
            self._faults.armed(LogLag) or self._faults.armed(EmptyLogPage)
        )

    def application(self, call: Call) -> Application:
        """What answers ``call``."""

        def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            found = self._answer(call, environ)
            start_response(found.status, found.headers)
            return [found.body]

        return answer

    def _answer(self, call: Call, environ: Environ) -> Answer:
        request = _read(environ, call.size)
        if request is None:
            return perform(self._application, environ)
        newest_ms = self._newest_ms(call)
        if newest_ms is not None and call.name in _EVENTS:
            asked = request.get("endTime")
            request["endTime"] = min(asked, newest_ms) if isinstance(asked, int) else newest_ms
        body = json.dumps(request).encode()
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        answer = perform(self._application, environ)
        if call.name == _STREAMS:
            return answer if newest_ms is None else _without_new_streams(answer, newest_ms)
        return self._emptied(call, answer, request)

    def _newest_ms(self, call: Call) -> int | None:
        """Time of the newest event that can be read."""
        clock = self._faults.clock
        lags = [
            armed.spec.lag_s
            for armed in self._faults.armed(LogLag)
            if armed.concerns(call.job) and armed.is_open(clock.now())
        ]
        # Events have the time of the machine that printed them.
        return int((time.time() - clock.real(max(lags))) * 1000) if lags else None

    def _emptied(self, call: Call, answer: Answer, request: JsonObject) -> Answer:
        # At the end of a stream the service repeats the token; an empty page there would go on for ever.
        if call.name != "logs:GetLogEvents" or not answer.document().get("events"):
            return answer
        token = str(request.get("nextToken") or (_BEGINNING if request.get("startFromHead") else ""))
        if token[_NUMBER:].startswith(_AGAIN) or not token:
            return answer
        for armed in self._faults.armed(EmptyLogPage):
            if armed.concerns(call.job) and armed.strikes(
                self._faults.clock.now(), armed.spec.probability, "", call.job, token
            ):
                self._faults.record("empty_log_page", job=call.job, rule=armed.number)
                again = token[:_NUMBER] + _AGAIN + token[_NUMBER:]
                return answer.with_document({"events": [], "nextForwardToken": again, "nextBackwardToken": again})
        return answer


def _without_new_streams(answer: Answer, newest_ms: int) -> Answer:
    document = answer.document()
    streams = document.get("logStreams")
    if not isinstance(streams, list):
        return answer
    return answer.with_document(
        {**document, "logStreams": [item for item in streams if item.get("creationTime", 0) <= newest_ms]}
    )


def _read(environ: Environ, size: int) -> JsonObject | None:
    """The request; None if it is no JSON object, as whoever answers will say, or comes in chunks."""
    if not size:
        return None
    body = environ["wsgi.input"].read(size)
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) else None
