"""How a job gets an ``/opt/ml`` of its own: namespaces as root, namespaces without root, or relocation.

The two kinds of namespaces give a private ``/opt/ml``, ``/etc/hosts`` and process table; nothing of the host's
``/opt`` is touched, and ``/opt/ml`` need not exist there. Relocation works everywhere: the text ``/opt/ml`` in
command, environment and hyperparameters is replaced by the job's folder, which ``CLOUDTUNE_ML_ROOT`` and
``SAGEMAKER_BASE_DIR`` (the training toolkit's) name as well; a program with ``/opt/ml`` built in does not find it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cloudtune.emulator.ml_folder import JobFolder
from cloudtune.emulator.rules import ML_ROOT
from cloudtune.errors import SpecError

CHOICES = ("auto", "root", "user", "none")
_PROBE_TIMEOUT_S = 20.0

# Runs as root of the new namespaces; $1 is the job's folder. Standard input is the pipe that says "ready".
# A variable that the job's environment has as well would reach the job with the value given here: hence the names.
_ENTER = """
set -e
_ct_job=$1
shift
_ct_path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs -o mode=755,size=4m tmpfs "$_ct_job/opt"
for _ct_entry in /opt/* /opt/.[!.]*; do
  _ct_copy=$_ct_job/opt/${_ct_entry##*/}
  if [ "$_ct_entry" = /opt/ml ]; then continue
  elif [ -L "$_ct_entry" ]; then cp -P "$_ct_entry" "$_ct_copy"
  elif [ -d "$_ct_entry" ]; then mkdir "$_ct_copy"; mount --rbind "$_ct_entry" "$_ct_copy"
  elif [ -e "$_ct_entry" ]; then : > "$_ct_copy"; mount --bind "$_ct_entry" "$_ct_copy"
  fi
done
mkdir "$_ct_job/opt/ml"
mount --bind "$_ct_job/ml" "$_ct_job/opt/ml"
mount --rbind "$_ct_job/opt" /opt
if [ -f /etc/hosts ]; then mount --bind "$_ct_job/hosts" /etc/hosts; fi
cd "$_ct_job/work"
PATH=$_ct_path
printf . >&0
exec "$@" < /dev/null
"""
_RELOCATE = 'cd "$1/work" && shift && printf . >&0 && exec "$@" < /dev/null'


class Isolation(Protocol):
    """One way to run a job beside others."""

    @property
    def name(self) -> str:
        """As in ``CHOICES``."""
        ...

    def command(self, folder: JobFolder, program: Sequence[str]) -> list[str]:
        """What to execute so that ``program`` runs in its container; see :meth:`Container.start`."""
        ...

    def ml_root(self, folder: JobFolder) -> str:
        """Where ``/opt/ml`` is for the program."""
        ...

    def first_process(self, leader: int) -> int | None:
        """The program's process, given the one that was started; None when it has ended."""
        ...


class Namespaces:
    """Mount and process namespaces.

    Args:
        as_root: Whether this process may create them directly; else within a user namespace.
    """

    def __init__(self, as_root: bool) -> None:
        self._as_root = as_root
        self._unshare = shutil.which("unshare") or "unshare"

    @property
    def name(self) -> str:
        return "root" if self._as_root else "user"

    def command(self, folder: JobFolder, program: Sequence[str]) -> list[str]:
        user = [] if self._as_root else ["--user", "--map-root-user"]
        unshare = [self._unshare, *user, "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        return [*unshare, "/bin/sh", "-c", _ENTER, "sh", str(folder.root), *program]

    def ml_root(self, folder: JobFolder) -> str:
        del folder
        return ML_ROOT

    def first_process(self, leader: int) -> int | None:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = (entry / "stat").read_bytes().rpartition(b") ")[2].split()[1]
            except OSError:
                continue  # ended meanwhile
            if int(parent) == leader:
                return int(entry.name)
        return None


class Relocation:
    """No namespaces: the job knows where its folder is."""

    name = "none"

    def command(self, folder: JobFolder, program: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", _RELOCATE, "sh", str(folder.root), *program]

    def ml_root(self, folder: JobFolder) -> str:
        return str(folder.ml)

    def first_process(self, leader: int) -> int | None:
        return leader


def check_choice(wanted: str) -> None:
    """Raises SpecError for what is not one of ``CHOICES``."""
    if wanted not in CHOICES:
        raise SpecError(f"isolation {wanted!r} is unknown.", f"Choose one of: {', '.join(CHOICES)}.")


def choose(wanted: str, scratch: Path) -> Isolation:
    """The isolation named ``wanted``; for ``auto`` the strongest that works here.

    Args:
        wanted: One of ``CHOICES``.
        scratch: Folder to try in.

    Raises:
        SpecError: It does not work here.
    """
    ladder: list[Isolation] = [Namespaces(as_root=True), Namespaces(as_root=False), Relocation()]
    reasons = []
    for isolation in ladder:
        if wanted not in ("auto", isolation.name):
            continue
        reason = _why_not(isolation, scratch / f"probe-{isolation.name}")
        if reason is None:
            return isolation
        reasons.append(reason)
    raise SpecError(
        f"isolation {wanted!r} does not work here: {'; '.join(reasons)}",
        "Use isolation='auto', which takes the strongest that works, or 'none', which works everywhere.",
    )


def _why_not(isolation: Isolation, scratch: Path) -> str | None:
    """None if a small job runs in ``isolation``."""
    if isinstance(isolation, Namespaces) and (not sys.platform.startswith("linux") or not shutil.which("unshare")):
        return "it needs Linux and the program 'unshare' (package util-linux)"
    folder = JobFolder(scratch)
    folder.create()
    (folder.ml / "probe").touch()
    test = ["/bin/sh", "-c", f'test -e "{isolation.ml_root(folder)}/probe"']
    try:
        with Path(os.devnull).open("wb") as ready:
            done = subprocess.run(
                isolation.command(folder, test),
                stdin=ready,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_PROBE_TIMEOUT_S,
                check=False,
                start_new_session=True,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        folder.remove()
    if done.returncode == 0:
        return None
    return done.stdout.decode(errors="replace").strip()[:300] or "the probe failed"
