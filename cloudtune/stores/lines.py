"""Events as lines of bytes, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

from cloudtune.errors import SpecError
from cloudtune.experiment.events import Event, encode


def encode_lines(events: Sequence[Event]) -> list[bytes]:
    """One line each, newline included.

    Raises:
        SpecError: Naming the event that holds something JSON has no form for. Nothing has been stored then.
    """
    lines = []
    for event in events:
        try:
            lines.append(encode(event).encode("ascii") + b"\n")
        except (TypeError, ValueError, RecursionError) as error:
            raise SpecError(
                f"{type(event).__name__} cannot be recorded: {error}. It is {str(event)[:200]}.",
                "Configurations and reports hold numbers, strings, booleans, None, lists and dictionaries.",
            ) from error
    return lines


def check_since(since: int) -> int:
    """Refuses a negative number of events."""
    if since < 0:
        raise SpecError(
            f"read(since={since}): events are numbered from 0.", "Pass the number of events known already."
        )
    return since
