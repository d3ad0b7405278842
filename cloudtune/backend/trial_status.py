"""Where users of Syne Tune look for these."""

from cloudtune.trial import Status, Trial

__all__ = ["Status", "Trial"]
