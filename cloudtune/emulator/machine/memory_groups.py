"""The memory of instances, limited by control groups (cgroup v2) where this process may make some.

Without the right to, which is usual outside of delegated groups, memory is not limited. Controllers are used where
they are enabled; none is enabled here.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_log = logging.getLogger(__name__)
_PREFIX = "cloudtune-emulator-"
_TIMEOUT_S = 10.0
_REMOVE_TIMEOUT_S = 2.0
# The process moves itself before it becomes the program: nothing it starts is outside. Where the group has just
# gone, it runs without a limit.
_ENTER = '{ echo $$ > "$1"; } 2> /dev/null || :; shift; exec "$@"'


class MemoryGroups:
    """Control groups of jobs below one group.

    Args:
        parent: The group; its memory controller is enabled for those below. None: memory is not limited.
    """

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent

    @classmethod
    def here(
        cls, membership: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/proc/mounts")
    ) -> MemoryGroups:
        """Below the nearest of this process's groups that allows it."""
        for group in _own_groups(membership, mounts):
            if _is_usable(group):
                for left in group.glob(f"{_PREFIX}*"):  # by an emulator that was killed
                    with contextlib.suppress(OSError):  # in use
                        left.rmdir()
                return cls(group)
        return cls(None)

    def create(self, name: str, limit_bytes: int) -> Path | None:
        """A group with that limit; None where there can be none.

        Args:
            name: Unique, and a file name.
            limit_bytes: Beyond which the kernel kills processes of the group.
        """
        if self._parent is None:
            return None
        group = self._parent / f"{_PREFIX}{name}"
        try:
            group.mkdir()
            (group / "memory.max").write_text(str(limit_bytes), encoding="ascii")
        except OSError as error:
            _log.warning("the memory of %s is not limited: %s", name, error)
            self.remove(group)
            return None
        with contextlib.suppress(OSError):  # kernels without swap have no such file
            (group / "memory.swap.max").write_text("0", encoding="ascii")
        return group

    def remove(self, group: Path) -> None:
        """Ends what runs in the group, and removes it."""
        give_up = time.monotonic() + _REMOVE_TIMEOUT_S
        with contextlib.suppress(OSError):  # since Linux 5.14
            (group / "cgroup.kill").write_text("1", encoding="ascii")
        while True:
            try:
                group.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if time.monotonic() > give_up:
                    _log.warning("control group %s is left: %s", group, error)
                    return
                time.sleep(0.01)
            else:
                return


def entering(group: Path | None, command: Sequence[str]) -> list[str]:
    """``command``, run in ``group``."""
    if group is None:
        return list(command)
    return ["/bin/sh", "-c", _ENTER, "sh", str(group / "cgroup.procs"), *command]


def _own_groups(membership: Path, mounts: Path) -> list[Path]:
    """The group of this process, and those above it; empty without cgroup v2."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
        points = [
            line.split()[1] for line in mounts.read_text(encoding="utf-8").splitlines() if " cgroup2 " in line
        ]
    except OSError:
        return []
    own = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    if not own or not points:
        return []
    root = Path(points[0])
    group = root / own[0]
    return [group, *[parent for parent in group.parents if parent == root or root in parent.parents]]


def _is_usable(group: Path) -> bool:
    """Whether a limited group can be made below, and a process moved there."""
    try:
        enabled = (group / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return False
    if "memory" not in enabled:
        return False
    groups = MemoryGroups(group)
    probe = groups.create("probe", 1 << 30)
    if probe is None:
        return False
    try:
        move = ["/bin/sh", "-c", 'echo $$ > "$1"', "sh", str(probe / "cgroup.procs")]
        done = subprocess.run(move, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        groups.remove(probe)
    return done.returncode == 0
