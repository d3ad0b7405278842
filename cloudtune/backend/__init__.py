"""Where trials run on machines at hand."""

from cloudtune.backend.local import LocalBackend

__all__ = ["LocalBackend"]
