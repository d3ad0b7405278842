"""The name under which scripts import :func:`streamline_config_space`."""

from cloudtune.config_space.streamline import streamline_config_space

__all__ = ["streamline_config_space"]
