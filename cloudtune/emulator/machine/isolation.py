"""How a job gets an ``/opt/ml`` of its own: namespaces as root, namespaces without root, or relocation.

The two kinds of namespaces give a private ``/opt/ml``, ``/etc/hosts``, host name and process table, and on request
no network; nothing of the host's ``/opt`` is touched, and ``/opt/ml`` need not exist there.

Relocation works everywhere: the text ``/opt/ml`` in command, environment, hyperparameters and the SageMaker SDK's
drivers is replaced by the job's folder, which ``CLOUDTUNE_ML_ROOT`` and ``SAGEMAKER_BASE_DIR`` (the training
toolkit's) name as well; a program with ``/opt/ml`` built in does not find it. The names ``algo-1``, ... do not
resolve there, and jobs that ask for network isolation are refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cloudtune.emulator.control.rules import ML_ROOT
from cloudtune.emulator.machine import private_network
from cloudtune.emulator.machine.ml_folder import JobFolder
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
# Without root only the program may set the name; without it the machine's name stays.
read -r _ct_entry < "$_ct_job/hostname"
{ printf %s "$_ct_entry" > /proc/sys/kernel/hostname || hostname "$_ct_entry"; } 2> /dev/null || :
while read -r _ct_entry; do
  mount --bind "$_ct_entry" "$_ct_entry"
  mount -o remount,bind,ro "$_ct_entry" 2> /dev/null || :  # some user namespaces may not
done < "$_ct_job/readonly"
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

    def command(self, folder: JobFolder, program: Sequence[str], network: int | None = None) -> list[str]:
        """What to execute so that ``program`` runs in its container; see :meth:`Container.start`.

        Args:
            folder: The container's.
            program: And its arguments.
            network: Process that runs :meth:`network_command` and whose network is used; None: this machine's.
        """
        ...

    def network_command(self) -> list[str] | None:
        """What to execute, as a container, to have a network without a way out; None where that is impossible."""
        ...

    def ml_root(self, folder: JobFolder) -> str:
        """Where ``/opt/ml`` is for the program."""
        ...

    def first_process(self, leader: int) -> int | None:
        """The program's process, given the one that was started; None when it has ended."""
        ...


class Namespaces:
    """Mount, process and host name namespaces, and one of a network where wanted.

    Args:
        as_root: Whether this process may create them directly; else within a user namespace.
    """

    def __init__(self, as_root: bool) -> None:
        self._as_root = as_root
        self._user = [] if as_root else ["--user", "--map-root-user"]
        self._unshare = shutil.which("unshare") or "unshare"
        self._nsenter = shutil.which("nsenter")

    @property
    def name(self) -> str:
        return "root" if self._as_root else "user"

    def command(self, folder: JobFolder, program: Sequence[str], network: int | None = None) -> list[str]:
        own = ["--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
        enter = [*own, "/bin/sh", "-c", _ENTER, "sh", str(folder.root), *program]
        if network is None:
            return [self._unshare, *self._user, *enter]
        join = ["--user", "--preserve-credentials"] if self._user else []
        return [self._nsenter or "nsenter", f"--target={network}", "--net", *join, self._unshare, *enter]

    def network_command(self) -> list[str] | None:
        if self._nsenter is None:
            return None
        return [self._unshare, *self._user, "--net", sys.executable, "-I", private_network.__file__]

    def ml_root(self, folder: JobFolder) -> str:
        del folder
        return ML_ROOT

    def first_process(self, leader: int) -> int | None:
        try:
            children = Path(f"/proc/{leader}/task/{leader}/children").read_text(encoding="ascii").split()
            return int(children[0]) if children else None
        except OSError:  # it has ended, or this kernel has no such file
            return self._first_child(leader)

    def _first_child(self, leader: int) -> int | None:
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

    def command(self, folder: JobFolder, program: Sequence[str], network: int | None = None) -> list[str]:
        del network  # there is none
        return ["/bin/sh", "-c", _RELOCATE, "sh", str(folder.root), *program]

    def network_command(self) -> list[str] | None:
        return None

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
