"""What experiments keep in S3, from one listing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudtune.aws.objects import S3Object
from cloudtune.names import is_legal_name
from cloudtune.paths import S3_BASE, S3ExperimentPaths, S3Uri

#: How the folder of an experiment is known: by what its tuner has written.
_MARKS = ("state/metadata.json", "state/journal/")
STATE, CHECKPOINTS, REPORTS = "state", "checkpoints", "reports"


@dataclass
class Stored:
    """One experiment.

    Args:
        paths: Where.
        tag: That it was launched with.
        parts: Objects by the folder they are in: ``state``, ``checkpoints``, ``reports``, ...
    """

    paths: S3ExperimentPaths
    tag: str | None
    parts: dict[str, list[S3Object]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.paths.name

    @property
    def last_written(self) -> S3Object | None:
        """What its tuner has written last."""
        return max(self.parts.get(STATE, ()), key=lambda item: item.last_modified, default=None)

    @property
    def last_segment(self) -> S3Object | None:
        """The end of its journal."""
        prefix = (self.paths.state / "journal").prefix
        segments = [item for item in self.parts.get(STATE, ()) if item.uri.key.startswith(prefix) and item.size]
        return max(segments, key=lambda item: item.uri.key, default=None)

    def objects(self, part: str | None = None) -> list[S3Object]:
        """In one of its folders, or in all."""
        if part is not None:
            return self.parts.get(part, [])
        return [item for items in self.parts.values() for item in items]


def num_bytes(objects: Iterable[S3Object]) -> int:
    return sum(item.size for item in objects)


def stored_experiments(objects: Iterable[S3Object]) -> list[Stored]:
    """The experiments among ``objects`` below ``cloudtune/``, by tag and name. What no tuner has written to, such
    as the code that all jobs share, belongs to none."""
    items = [item for item in objects if item.uri.key.startswith(f"{S3_BASE}/")]
    roots = {root for item in items if (root := _marked_root(item.uri)) is not None}
    found: dict[S3Uri, Stored] = {}
    for item in items:
        root = _root_among(item.uri, roots)
        if root is None:
            continue
        stored = found.get(root)
        if stored is None:
            parts = root.key.split("/")
            stored = found[root] = Stored(S3ExperimentPaths(root), parts[1] if len(parts) == 3 else None)
        part = item.uri.key.removeprefix(root.prefix).partition("/")[0]
        stored.parts.setdefault(part, []).append(item)
    return sorted(found.values(), key=lambda stored: (stored.tag or "", stored.name))


def _marked_root(uri: S3Uri) -> S3Uri | None:
    """The experiment whose metadata or journal the object is."""
    for mark in _MARKS:
        head, found, _ = uri.key.rpartition(f"/{mark}")
        if found and _is_root(head):
            return S3Uri(uri.bucket, head)
    return None


def _is_root(key: str) -> bool:
    """``cloudtune/name`` or ``cloudtune/tag/name``."""
    base, *names = key.split("/")
    return base == S3_BASE and len(names) in (1, 2) and all(is_legal_name(name) for name in names)


def _root_among(uri: S3Uri, roots: set[S3Uri]) -> S3Uri | None:
    """The innermost: an experiment with a tag may be called like a folder of one without."""
    parts = uri.key.split("/")
    for length in (3, 2):
        root = S3Uri(uri.bucket, "/".join(parts[:length]))
        if len(parts) > length and root in roots:
            return root
    return None
