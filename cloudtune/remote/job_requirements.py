"""Installs what a job needs and its image lacks. Standard library alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from cloudtune.remote.process1 import StopSignal

_PIP_TIMEOUT_S = 1800


def install(requirements: Path, stop: StopSignal, dispensable: Collection[str] = ()) -> None:
    """Installs what is missing; a container that has all of it starts at once.

    Args:
        dispensable: Packages without which the job can go on.

    Raises:
        ValueError: pip cannot.
        subprocess.TimeoutExpired: It takes half an hour.
    """
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements.exists() else []
    if all(_is_satisfied(line) for line in lines):
        return
    print(f"Installing {requirements} ...", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with subprocess.Popen([*pip, "-r", str(requirements)], stderr=subprocess.PIPE) as process:
        stop.follow(process)
        try:
            errors = process.communicate(timeout=_PIP_TIMEOUT_S)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    sys.stderr.write(errors)
    if process.returncode == 0 or stop.number is not None:
        return
    if not all(_is_satisfied(line) or _is_option(line) or _package(line) in dispensable for line in lines):
        raise ValueError(f"pip could not install the requirements: {errors.strip()[-600:]}")


def _is_satisfied(line: str) -> bool:
    """Whether a requirement is installed already; in doubt no, and pip decides."""
    text = line.split(" #", 1)[0].strip()
    if not text or text.startswith("#"):
        return True
    try:
        from importlib.metadata import version

        from pip._vendor.packaging.requirements import Requirement

        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            return True
        if requirement.url or requirement.extras:
            return False
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except Exception:  # noqa: BLE001  whatever this pip or that line is like: pip itself will say
        return False


def _is_option(line: str) -> bool:
    return line.lstrip().startswith("--")


def _package(line: str) -> str:
    return re.split(r"[^\w.-]", line.strip(), maxsplit=1)[0].lower()
