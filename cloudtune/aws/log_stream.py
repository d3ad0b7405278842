"""A job's log, read forwards, a few pages at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from cloudtune.aws.errors import aws_call
from cloudtune.aws.session import AwsSession
from cloudtune.aws.training_jobs import LOG_GROUP, stream_epoch
from cloudtune.errors import InvalidRequest, ResourceNotFound

# Pages of events in one call of read().
_PAGES_AT_ONCE = 2


@dataclass(frozen=True)
class _Cursor:
    """Where reading goes on: at ``token`` (None: the beginning) of the stream of run number ``run``, of which
    ``read`` events have been told. ``skip`` come once more, since a token was good no longer."""

    run: int = 0
    token: str | None = None
    read: int = 0
    skip: int = 0


class JobLog:
    """Logs of training jobs. A job writes a stream for each run and instance; the first instance's are read."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def read(self, job: str, cursor: str | None) -> tuple[list[tuple[int, str]], str, bool]:
        """The next lines, in up to three calls.

        Args:
            cursor: From the call before; None: from the beginning.

        Returns:
            The lines, each with the number of its run from 0; the next cursor; and whether no more were there.
        """
        place = _Cursor(**json.loads(cursor)) if cursor else _Cursor()
        # Asked before the lines: when a later run is there, all lines of the earlier one are, too.
        streams = self._streams(job)
        lines: list[tuple[int, str]] = []
        if place.run >= len(streams):
            return lines, _text(place), True
        for _ in range(_PAGES_AT_ONCE):
            messages, following = self._page(streams[place.run], place)
            lines += [(place.run, message) for message in messages]
            is_end = following.token == place.token
            place = following
            if is_end and place.run + 1 == len(streams):
                return lines, _text(place), True
            if is_end:
                place = _Cursor(place.run + 1)
        return lines, _text(place), False

    def _streams(self, job: str) -> list[str]:
        """Of the job's runs, the oldest first."""
        client = self._session.client("logs")
        arguments = {"logGroupName": LOG_GROUP, "logStreamNamePrefix": f"{job}/algo-1-"}
        streams: list[str] = []
        try:
            with aws_call(f"find the log of {job!r} (logs:DescribeLogStreams)"):
                for page in client.get_paginator("describe_log_streams").paginate(**arguments):
                    streams += [str(stream["logStreamName"]) for stream in page["logStreams"]]
        except ResourceNotFound:
            return []
        return sorted(streams, key=lambda stream: (stream_epoch(stream), stream))

    def _page(self, stream: str, place: _Cursor) -> tuple[list[str], _Cursor]:
        """A page may be empty in the middle of a stream; the end is where the token repeats."""
        arguments: dict[str, Any] = {"logGroupName": LOG_GROUP, "logStreamName": stream, "startFromHead": True}
        if place.token is not None:
            arguments["nextToken"] = place.token
        try:
            with aws_call(f"read the log {stream!r} (logs:GetLogEvents)"):
                answer = self._session.client("logs").get_log_events(**arguments)
        except InvalidRequest:
            if place.token is None:
                raise
            return [], replace(place, token=None, skip=place.read)  # tokens are good for a day
        messages = [str(event["message"]).rstrip("\n") for event in answer["events"]]
        new = messages[place.skip :]
        skip = max(0, place.skip - len(messages))
        return new, replace(place, token=answer["nextForwardToken"], read=place.read + len(new), skip=skip)


def _text(place: _Cursor) -> str:
    return json.dumps(asdict(place))
