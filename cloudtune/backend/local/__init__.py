"""Trials as processes on this machine."""

from cloudtune.backend.local.backend import LocalBackend

__all__ = ["LocalBackend"]
