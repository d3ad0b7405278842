"""A trial's checkpoint becomes another's, within S3, while the first trial may go on writing and pruning its own.

As its folder is synced by the platform, what was listed may be replaced or gone when it is copied.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from cloudtune.aws.objects import ObjectChanged, S3Object, S3Objects
from cloudtune.checkpointing.directory import MANIFEST, sizes_in_manifest
from cloudtune.errors import ResourceNotFound
from cloudtune.paths import S3Uri

_log = logging.getLogger(__name__)

# As cloudtune.checkpointing.directory names what is complete.
_MANIFEST_NAME = re.compile(rf"(\d{{8,}})/{re.escape(MANIFEST)}")
_TRIES = 4


def copy_newest(objects: S3Objects, source: S3Uri, target: S3Uri) -> int | None:
    """The newest complete checkpoint below ``source`` becomes all there is below ``target``; nothing, without one.
    Returns its level, as far as there is one.

    Of what :mod:`cloudtune.checkpointing.directory` has written, it is the newest level whose files are all there.
    Of a script that keeps checkpoints in its own way, all objects are copied as they are.

    Raises:
        ObjectChanged, ResourceNotFound: If the source did not hold still, several times over.
    """
    for _ in range(_TRIES - 1):
        try:
            return _copy_once(objects, source, target)
        except (ObjectChanged, ResourceNotFound) as error:
            _log.info("the checkpoint in %s has changed while it was copied; copying it again (%s)", source, error)
    return _copy_once(objects, source, target)


def _copy_once(objects: S3Objects, source: S3Uri, target: S3Uri) -> int | None:
    found = {item.uri.key.removeprefix(source.prefix): item for item in objects.list(source)}
    wanted = _complete(objects, found)
    # What vouches for the others comes last: a copy that breaks off is none.
    for name in sorted(wanted, key=lambda name: (_MANIFEST_NAME.fullmatch(name) is not None, name)):
        objects.copy(wanted[name], target / name)
    kept = {(target / name).key for name in wanted}
    objects.delete(item.uri for item in objects.list(target) if item.uri.key not in kept)
    manifests = filter(None, map(_MANIFEST_NAME.fullmatch, wanted))
    return next((int(manifest[1]) for manifest in manifests), None)


def _complete(objects: S3Objects, found: Mapping[str, S3Object]) -> dict[str, S3Object]:
    """What to copy, by name."""
    manifests = [match for match in map(_MANIFEST_NAME.fullmatch, found) if match]
    if not manifests:
        return dict(found)
    for match in sorted(manifests, key=lambda match: int(match[1]), reverse=True):
        sizes = sizes_in_manifest(objects.get(found[match[0]].uri), int(match[1]))
        if sizes is None:
            continue
        names = {f"{match[1]}/{name}": size for name, size in sizes.items()}
        if all(name in found and found[name].size == size for name, size in names.items()):
            return {name: found[name] for name in (*names, match[0])}
    return {}
