"""The rules for tags, at CreateTrainingJob and at AddTags."""

from __future__ import annotations

from collections.abc import Sequence

from cloudtune.emulator.service_error import JsonObject, invalid


def check_tags(tags: Sequence[JsonObject]) -> None:
    """Raises ServiceError for reserved keys, and for keys that come twice."""
    keys = [tag["Key"] for tag in tags]
    for key in keys:
        if key.lower().startswith("aws:"):
            raise invalid(
                f"Tag key {key!r} is reserved: keys that begin with aws: are for internal use only.",
                rule="tags.reserved",
            )
    if len(set(keys)) != len(keys):
        raise invalid("Tag keys must be unique per resource.", rule="tags.unique")
