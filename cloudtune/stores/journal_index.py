"""Which event lies where in the segments of a journal."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloudtune.errors import NotFound, StoreError
from cloudtune.experiment.events import Event, decode
from cloudtune.paths import ExperimentPaths

_SEGMENT_NAME = re.compile(r"(\d{8})\.jsonl")
_RESTORE = "Restore the journal from its copy in S3 or a backup, or start under another tuner_name."


@dataclass(frozen=True)
class Segment:
    """One file of the journal, as far as it holds whole lines."""

    number: int
    path: Path
    #: Number of its first event within the journal, from 0.
    first_event: int
    num_events: int
    num_bytes: int
    #: It will never change again.
    sealed: bool


@dataclass
class Part:
    """What the index knows of one segment."""

    number: int
    path: Path
    first_event: int
    #: Byte offset of the end of each line.
    ends: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def num_bytes(self) -> int:
        return self.ends[-1] if self.ends else 0

    @property
    def next_event(self) -> int:
        return self.first_event + len(self.ends)

    def add(self, content: bytes) -> None:
        """Notes the whole lines in ``content``, which follows what is known."""
        offset = self.num_bytes
        position = content.find(b"\n")
        while position >= 0:
            self.ends.append(offset + position + 1)
            position = content.find(b"\n", position + 1)

    def read(self, since: int) -> Iterator[Event]:
        """Its events from number ``since`` (of the journal) on."""
        skipped = min(max(0, since - self.first_event), len(self.ends))
        start = self.ends[skipped - 1] if skipped else 0
        content = read_bytes(self.path, start, self.num_bytes - start)
        for line_number, line in enumerate(content.split(b"\n")[:-1], start=skipped + 1):
            yield decode(line, f"{self.path}, line {line_number},")


class JournalIndex:
    """Byte offsets of all events. It only ever reads what it has not seen; old segments are never parsed again."""

    def __init__(self, paths: ExperimentPaths) -> None:
        self._paths = paths
        self.parts: list[Part] = []

    @property
    def num_events(self) -> int:
        return self.parts[-1].next_event if self.parts else 0

    def new_part(self) -> Part:
        """The segment after the last."""
        number = len(self.parts)
        part = Part(number, self._paths.segment(number), self.num_events)
        self.parts.append(part)
        return part

    def refresh(self) -> None:
        """Notes what has been written since; a line without its newline is not there yet."""
        # Listed first: a segment with a successor gets no more lines, hence what is read next is all of it.
        count = count_segments(self._paths)
        if count < len(self.parts):
            raise StoreError(f"{self.parts[count].path} has vanished.", _RESTORE)
        for number in range(max(0, len(self.parts) - 1), count):
            part = self.parts[number] if number < len(self.parts) else self.new_part()
            self._extend(part, is_last=number == count - 1)

    def read(self, since: int) -> list[Event]:
        """Events from number ``since`` on, as of the last :meth:`refresh`."""
        events: list[Event] = []
        for part in self.parts[self._position(since) :]:
            events.extend(part.read(since))
        return events

    def event_number_at(self, segment: int, byte_offset: int) -> int:
        """How many events of the journal lie wholly before ``byte_offset`` of ``segment``.

        Raises:
            NotFound: If there is no such segment.
        """
        if not 0 <= segment < len(self.parts):
            raise NotFound(f"{self._paths.journal} has no segment {segment}.", f"It has {len(self.parts)}.")
        part = self.parts[segment]
        return part.first_event + bisect_right(part.ends, byte_offset)

    def _position(self, event: int) -> int:
        """Of the segment that holds event number ``event``."""
        return max(0, bisect_right([part.first_event for part in self.parts], event) - 1)

    def _extend(self, part: Part, is_last: bool) -> None:
        known = part.num_bytes
        size = part.path.stat().st_size
        if size < known:
            raise StoreError(f"{part.path} has become shorter: {size} bytes, {known} were read before.", _RESTORE)
        content = read_bytes(part.path, known, size - known)
        part.add(content)
        torn = known + len(content) - part.num_bytes
        if torn and not is_last:
            raise StoreError(
                f"{part.path}, line {len(part.ends) + 1}, is cut off after {torn} bytes, though segments follow.",
                _RESTORE,
            )


def count_segments(paths: ExperimentPaths) -> int:
    """How many segments there are; raises StoreError if one is missing in between."""
    try:
        names = [path.name for path in paths.journal.iterdir()]
    except FileNotFoundError:
        return 0
    numbers = sorted(int(match[1]) for match in map(_SEGMENT_NAME.fullmatch, names) if match)
    for expected, number in enumerate(numbers):
        if number != expected:
            raise StoreError(f"{paths.segment(expected)} is missing; {number:08d}.jsonl is there.", _RESTORE)
    return len(numbers)


def read_bytes(path: Path, start: int, count: int) -> bytes:
    """At most ``count`` bytes from offset ``start`` on."""
    if count <= 0:
        return b""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)
