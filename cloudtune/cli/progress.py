"""What takes longer than a moment says what it does: on standard error, if a person looks at that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
