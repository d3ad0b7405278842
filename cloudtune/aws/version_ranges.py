"""Whether a pinned version lies in a range; as much of PEP 440 as can be told for certain."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"v?(\d+(?:\.\d+)*)(?:\+[a-z0-9.]+)?")


def allows(version: str, clause: tuple[str, str]) -> bool | None:
    """Whether ``version`` satisfies ``clause`` (``(">=", "2.0")``); None if that takes more than numbers:
    pre-releases, epochs, and the like."""
    operator, bound = clause
    if operator == "===":
        return version == bound
    if operator in ("==", "!="):
        equal = _equal(version, bound)
        return equal if equal is None or operator == "==" else not equal
    ours, theirs = _release(version), _release(bound)
    if ours is None or theirs is None:
        return None
    fixed = len(theirs) - 1
    if operator == "~=" and not fixed:
        return None
    ours, theirs = _padded(ours, theirs)
    if operator == "~=":
        return ours >= theirs and ours[:fixed] == theirs[:fixed]
    return {"<": ours < theirs, "<=": ours <= theirs, ">": ours > theirs, ">=": ours >= theirs}[operator]


def _equal(version: str, bound: str) -> bool | None:
    if bound.endswith(".*"):
        ours, theirs = _release(version), _release(bound[:-2])
        if ours is None or theirs is None:
            return None
        return (*ours, *(0,) * len(theirs))[: len(theirs)] == theirs
    if version == bound:
        return True
    ours, theirs = _release(version), _release(bound)
    if ours is None or theirs is None:
        return None
    ours, theirs = _padded(ours, theirs)
    if ours != theirs:
        return False
    # 2.1+cu121 is a 2.1, but not the other way round, and not a 2.1+cpu.
    return version.partition("+")[2] == bound.partition("+")[2] or "+" not in bound


def _release(version: str) -> tuple[int, ...] | None:
    match = _PLAIN.fullmatch(version.lower())
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _padded(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    length = max(len(one), len(other))
    return one + (0,) * (length - len(one)), other + (0,) * (length - len(other))
