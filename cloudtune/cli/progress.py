"""What takes longer than a moment says what it does: on standard error, if a person looks at that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtune.experiments.s3_experiments import Progress

#: Until it is said, seconds.
_MOMENT_S = 0.7


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Says ``what``, once, if the block takes longer than a moment."""
    from threading import Timer

    timer = Timer(_MOMENT_S, lambda: print(f"{what} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """Shows how many of how many are done, from the first one to the end of the block."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    where = Console(stderr=True)
    with Bars(console=where, transient=True, disable=not where.is_terminal) as bars:
        task = bars.add_task(what, total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=True)
