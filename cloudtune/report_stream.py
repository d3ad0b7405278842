"""Reports on their way from a trial's job to the tuner, through S3: their form, and what counts as a repetition.

One job writes the objects ``{reports}/{label}/{run:04d}-{segment:06d}.jsonl``, ``label`` being its trial, attempt and
try (:func:`cloudtune.names.trial_label`). A *run* is one start of the job's container: the service starts it again
after a spot interruption, the job's name staying the same. A run writes segments of its own, one after the other, each
of them anew as it grows; objects of earlier runs are never touched. Each line vouches for itself, so that half an
object is read as far as it goes.

Read by the standard library alone: the writing end runs in any image.
"""

from __future__ import annotations

import json
import re
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import Counter
    from typing import Any

from cloudtune import constants

#: A segment that has reached this size is followed by the next: uploads stay small however much is reported.
SEGMENT_BYTES = 64 * 1024

#: Kinds of lines. ``hello``: a run has begun (``run``, ``time``, ``host``). ``report``: the report number ``seq`` of
#: the job, over all its runs (``metrics``). ``end``: the script has ended (``exit_code``, ``count`` of reports of all
#: runs, ``tail``: the end of its error output, ``stopped``: whether SIGTERM had come).
HELLO, REPORT, END = "hello", "report", "end"

_NAME = re.compile(r"(\d{4,})-(\d{6,})\.jsonl")


def object_name(run: int, segment: int) -> str:
    """Name of an object below the job's prefix; they sort in the order in which they were begun."""
    return f"{run:04d}-{segment:06d}.jsonl"


def parse_object_name(name: str) -> tuple[int, int] | None:
    """Run and segment; None if it is no object of a stream."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]))


def encode_line(record: dict[str, Any]) -> bytes:
    """One line, with its newline: a checksum and JSON."""
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The record; None if the line is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if len(checksum) != 8 or int(checksum, 16) != zlib.crc32(text):
            return None
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def decode_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """Records at the beginning of ``content`` up to the first line that is not whole, and how many bytes they are."""
    records: list[dict[str, Any]] = []
    position = 0
    while (end := content.find(b"\n", position)) >= 0:
        record = decode_line(content[position : end + 1])
        if record is None:
            break
        records.append(record)
        position = end + 1
    return records, position


class RepetitionFilter:
    """Numbers the reports of one job, and drops what a later run repeats.

    A run that begins from a checkpoint makes reports again that an earlier run has made already. With a resource
    attribute, what is at or below the highest level reported by an earlier run is a repetition; without one, a report
    whose own metrics equal one of an earlier run's (each counts once).

    Both ends use it: the job for what it writes, the tuner where it has to read a job's log instead.

    Args:
        resource_attr: Key of the resource level in reports, if there is one.
        level: Highest level that is recorded of earlier attempts; those at or below are still delivered (the tuner
            drops them), so this is only what :attr:`level` begins with.
    """

    def __init__(self, resource_attr: str | None, level: int = 0) -> None:
        self.count = 0
        #: Highest level reported so far.
        self.level = level
        self._resource_attr = resource_attr
        #: Highest level of the runs before this one.
        self._before = 0
        self._highest = 0
        self._earlier: Counter[str] | dict[str, int] = {}
        self._current: list[str] = []

    def next_run(self) -> None:
        """The container was started again."""
        self._before = self._highest
        for content in self._current:
            self._earlier[content] = self._earlier.get(content, 0) + 1
        self._current = []

    def number(self, metrics: dict[str, Any]) -> int | None:
        """The number of a report that was just made; None if it is a repetition."""
        level = self._level_of(metrics)
        if level > 0:
            if level <= self._before:
                return None
            self._highest = max(self._highest, level)
            self.level = max(self.level, level)
        else:
            content = _content(metrics)
            if self._earlier.get(content, 0) > 0:
                self._earlier[content] -= 1
                self._current.append(content)  # a third run may repeat it as well
                return None
            self._current.append(content)
        self.count += 1
        return self.count - 1

    def _level_of(self, metrics: dict[str, Any]) -> int:
        value = metrics.get(self._resource_attr) if self._resource_attr else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            return 0
        return int(value) if abs(value) != float("inf") else 0


def _content(metrics: dict[str, Any]) -> str:
    """What the script itself has put into a report."""
    own = {key: value for key, value in metrics.items() if not key.startswith(constants.RESERVED_PREFIX)}
    return json.dumps(own, sort_keys=True)
