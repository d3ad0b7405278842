"""How far something is, where a person looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtune.experiments.s3_experiments import Progress


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Shows how many of how many are done, from the first one to the end of the block; on standard error, if that
    is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    with Bars(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=True)
