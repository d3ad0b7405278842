"""Reports on their way from a trial's job to the tuner, through S3: their form, and what counts as a repetition.

One job writes the objects ``{reports}/{label}/{run:04d}-{segment:06d}.jsonl``, ``label`` being its trial, attempt
and try (:func:`cloudtune.names.trial_label`). A *run* is one start of the job's container: the service starts it
again after a spot interruption, the job's name staying the same. A run writes segments of its own, one after the
other, each of them anew as it grows; objects of earlier runs are never touched. Each line vouches for itself, so
that half an object is read as far as it goes.

A report that an earlier run has made, but whose object is lost or torn, does not count as delivered: later runs
make it again, under the same number. A reader takes each number once, in order, wherever it finds it first.

Read by the standard library alone: the writing end runs in any image.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib

from cloudtune import constants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: A segment that has reached this size is followed by the next: uploads stay small however much is reported.
SEGMENT_BYTES = 64 * 1024

#: Kinds of lines. ``hello``: a run has begun (``run``, ``time``, ``host``). ``report``: the report number ``seq``
#: of the job, over all its runs (``metrics``). ``end``: the script has ended (``exit_code``, ``count`` of reports
#: of all runs, ``tail``: the end of its error output, ``stopped``: whether SIGTERM had come).
HELLO, REPORT, END = "hello", "report", "end"

#: So many pieces that a run may be repeating are kept in view.
_MAX_PLACES = 100
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
    """Records at the beginning of ``content`` up to the first line that is not whole, and how many bytes these
    are."""
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
    attribute, what is at or below the highest level reported by an earlier run is a repetition. Without one, a run
    repeats as long as its reports equal, in their order, a piece of what was reported before; a script whose
    values stand still should therefore have a resource attribute.

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
        #: Reports without a level, and how many of them are of earlier runs.
        self._contents: list[bytes] = []
        self._num_earlier = 0
        #: Which of them the next report may repeat; None: any.
        self._places: list[int] | None = None

    def next_run(self) -> None:
        """The container was started again."""
        self._before = self._highest
        self._num_earlier = len(self._contents)
        self._places = None

    def restore(self, reports: Iterable[dict[str, Any]]) -> None:
        """``reports`` are those that earlier runs have delivered, in order; a new run begins."""
        for metrics in reports:
            self._count(metrics)
        self.next_run()

    def number(self, metrics: dict[str, Any]) -> int | None:
        """The number of a report that was just made; None if it is a repetition."""
        level = level_of(metrics, self._resource_attr)
        if 0 < level <= self._before:
            return None
        if level == 0 and self._repeats(_content(metrics)):
            return None
        self._count(metrics)
        return self.count - 1

    def _repeats(self, content: bytes) -> bool:
        places = range(self._num_earlier) if self._places is None else self._places
        found = [place for place in places if place < self._num_earlier and self._contents[place] == content]
        self._places = [place + 1 for place in found[:_MAX_PLACES]]
        return bool(found)

    def _count(self, metrics: dict[str, Any]) -> None:
        level = level_of(metrics, self._resource_attr)
        if level == 0:
            self._contents.append(_content(metrics))
        self._highest = max(self._highest, level)
        self.level = max(self.level, level)
        self.count += 1


def level_of(metrics: dict[str, Any], resource_attr: str | None) -> int:
    """The resource level that a report is of; 0 if it is of none."""
    value = metrics.get(resource_attr) if resource_attr else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return 0
    return max(0, int(value)) if abs(value) != float("inf") else 0


def _content(metrics: dict[str, Any]) -> bytes:
    """Stands for what the script itself has put into a report; short, since one is kept for each."""
    own = {key: value for key, value in metrics.items() if not key.startswith(constants.RESERVED_PREFIX)}
    return hashlib.blake2b(json.dumps(own, sort_keys=True).encode(), digest_size=16).digest()


def reports_in(streams: Iterable[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Metrics of the reports among the records of a job's objects, by number, up to the first that is missing:
    what a reader of the whole stream would deliver."""
    found: dict[int, dict[str, Any]] = {}
    for records in streams:
        for record in records:
            if record.get("kind") == REPORT:
                found.setdefault(record["seq"], record["metrics"])
    reports: list[dict[str, Any]] = []
    while (metrics := found.get(len(reports))) is not None:
        reports.append(metrics)
    return reports
