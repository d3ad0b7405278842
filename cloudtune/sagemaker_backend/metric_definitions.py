"""What the console plots of each trial's job."""

from __future__ import annotations

from collections.abc import Sequence

from cloudtune.errors import SpecError
from cloudtune.remote.console_metrics import MAX_DEFINITIONS, console_metrics


def metric_definitions(names: Sequence[str]) -> dict[str, str]:
    """Name of each metric to the regular expression that finds it in what a Reporter prints.

    Raises:
        SpecError: These are no names of metrics, or the service cannot have them.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SpecError(f"metrics_names={names!r} must be a list of names.", 'Write ["loss"].')
    found = console_metrics(names)
    missing = [name for name in dict.fromkeys(names) if name not in found]
    if missing:
        raise SpecError(
            f"metrics_names: the console cannot plot {', '.join(f'{name:.50}' for name in missing)}: it takes "
            f"{MAX_DEFINITIONS} metrics, whose names are not too long.",
            "Name those that you want to look at there; the tuner sees all that are reported.",
        )
    return found
