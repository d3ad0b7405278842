"""Where users of Syne Tune look for this."""

from cloudtune.backend.local import LocalBackend

__all__ = ["LocalBackend"]
