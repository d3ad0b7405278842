"""What the journal here and the one in S3 have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudtune.aws.objects import S3Object, S3Objects
from cloudtune.errors import StoreError
from cloudtune.paths import S3Uri
from cloudtune.stores.journal_index import Segment


@dataclass(frozen=True)
class Comparison:
    """One of the two journals is a beginning of the other.

    ``same``: segments that are the same in both, with their etags. ``is_behind``: S3 has events that are not here.
    """

    same: Mapping[Path, str]
    is_behind: bool


def compare(segments: Sequence[Segment], objects: S3Objects, journal: S3Uri) -> Comparison:
    """Holds ``segments``, all that are here, against those below ``journal``. Reads the objects that differ.

    Raises:
        StoreError: Two sessions have written different things.
    """
    items = [item for item in objects.list(journal) if item.uri.key.endswith(".jsonl")]
    there = {item.uri.key.rpartition("/")[2]: item for item in items}
    same: dict[Path, str] = {}
    more_here = more_there = False
    for segment in segments:
        here, item = _content(segment), there.pop(segment.path.name, None)
        if item is None:
            more_here = more_here or len(here) > 0
        elif _is_same(here, item) or (copy := objects.get(item.uri)) == here:
            same[segment.path] = item.etag
        elif copy.startswith(here):
            more_there = True
        elif here.startswith(copy):
            more_here = True
        else:
            raise _differ(segment.path, item.uri)
    more_there = more_there or len(there) > 0
    if more_here and more_there:
        raise _differ(segments[-1].path, items[-1].uri)
    return Comparison(same, more_there)


def _content(segment: Segment) -> bytes:
    with segment.path.open("rb") as file:
        return file.read(segment.num_bytes)


def _is_same(content: bytes, item: S3Object) -> bool:
    """Known without reading it, where etags are digests."""
    return len(content) == item.size and hashlib.md5(content, usedforsecurity=False).hexdigest() == item.etag


def _differ(here: Path, there: S3Uri) -> StoreError:
    return StoreError(
        f"{here} and {there} hold different events: two sessions have gone on from the same beginning.",
        f"The one in S3 counts if others have continued it: move {here.parent.parent} away, and run the same "
        "command again. To keep what is here, begin an experiment under another tuner_name.",
    )
