"""Tables and texts for terminals of any width, and for pipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Where nobody looks, lines are whole.
_WIDE = 240


def console() -> Console:
    """Wide where nobody looks: pipes and files get whole lines."""
    from rich.console import Console

    made = Console()
    return made if made.is_terminal else Console(width=_WIDE)


def table(lines: Sequence[Sequence[str]], columns: Sequence[int] | None = None) -> Table:
    """Some columns of ``lines``, the first of which holds the headings; one with ``>`` stands to the right."""
    from rich.table import Table
    from rich.text import Text

    headings, *rows = lines
    chosen = [number for number in range(len(headings)) if columns is None or number in columns]
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number in chosen:
        right = headings[number].startswith(">")
        made.add_column(headings[number].removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(row[number]) for number in chosen))
    return made


def fitting(target: Console, *tables: Table) -> Table:
    """The first that is not wider than the console; else the last."""
    unlimited = target.options.update(width=10_000)
    found = (t for t in tables if target.measure(t, options=unlimited).maximum <= target.width)
    return next(found, tables[-1])


def print_facts(say: Callable[[str], None], facts: Sequence[tuple[str, str]]) -> None:
    """One line each: ``label:  value``."""
    for label, value in facts:
        say(f"{label + ':':<14}{value}")


def sayer(target: Console) -> Callable[[str], None]:
    """Prints a line as it is: no markup, no colours, not cut at the console's width."""
    return lambda text: target.print(text, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float | None) -> str:
    """``90 s``, ``3 min``, ``5 h``, ``2 d``; empty if it is not known."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    for unit, length, least in (("d", 86400.0, 172800.0), ("h", 3600.0, 7200.0), ("min", 60.0, 120.0)):
        if seconds >= least:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(num_bytes: float) -> str:
    """``17 B``, ``4.2 MB``; decimal units, as S3 is paid for."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= length:
            return f"{num_bytes / length:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def dollars(usd: float | None) -> str:
    """``$1.23``; with four decimals below ten cents; empty if it is not known."""
    if usd is None:
        return ""
    if 0 < usd < 0.00005:
        return "<$0.0001"
    return f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.4f}"


def plural(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
