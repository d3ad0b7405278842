"""The image of a job that unpickles what this Python has pickled."""

from __future__ import annotations

import logging
import platform
import re
import sys

from cloudtune.aws.images import image_uri
from cloudtune.errors import SpecError

logger = logging.getLogger(__name__)

_PYTHON_IN_URI = re.compile(r"[-:.]py3(\d+)\b")
#: Releases of the PyTorch images, the newest first.
_RELEASES = ("2.8", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1")


def choose_image(
    region: str,
    instance_type: str,
    given: str | None,
    framework_version: str | None,
    py_version: str | None,
    any_python: bool,
) -> str:
    """The image given, or the newest PyTorch image with this Python.

    Args:
        any_python: Jobs run with this very Python whatever the image says (the emulator).

    Raises:
        SpecError: There is no image with this Python: the job could not read the tuner.
    """
    if given is not None:
        uri = given
    elif framework_version is not None or py_version is not None:
        uri = image_uri(
            region=region, instance_type=instance_type, version=framework_version, py_version=py_version
        )
    else:
        found = _newest(region, instance_type)
        if found is None and not any_python:
            raise SpecError(
                f"No PyTorch image with Python {sys.version_info.major}.{sys.version_info.minor} is known, and "
                "the job could not unpickle the tuner with another one.",
                "Pass image_uri=... of an image that has it, or launch from a Python that PyTorch images have.",
            )
        uri = found or image_uri(region=region, instance_type=instance_type)
    python = python_of(uri)
    if not any_python and python is not None and python != sys.version_info[:2]:
        logger.warning(
            "The image %s has Python %d.%d, this is %s: the job will not be able to unpickle the tuner.",
            uri,
            *python,
            platform.python_version(),
        )
    return uri


def python_of(uri: str) -> tuple[int, int] | None:
    """The Python that an image's tag names (``...-py311``), if any."""
    match = _PYTHON_IN_URI.search(uri)
    return None if match is None else (3, int(match[1]))


def _newest(region: str, instance_type: str) -> str | None:
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    for release in _RELEASES:
        try:
            uri = image_uri(region=region, instance_type=instance_type, version=release, py_version=python)
        except SpecError:
            continue
        if python_of(uri) == sys.version_info[:2]:
            return uri
    return None
