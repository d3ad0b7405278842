"""Prices of instances beside those of the package's table: the user's own, and those that were looked up.

``CLOUDTUNE_PRICES`` names a CSV file (with a header) or a JSON file (a list of objects, or prices by instance
type) with ``instance_type`` and ``price_per_hour``; types that the table lacks can be selected, too, if ``vcpus``,
``memory_gib`` and ``gpus`` are given. What :func:`cloudtune.aws.prices.refresh` has looked up is kept for a month
in ``{experiments_root}/.prices-{region}.json``.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloudtune.clock import WallClock
from cloudtune.constants import ENV_PRICES
from cloudtune.errors import SpecError
from cloudtune.paths import experiments_root, write_atomic

#: Of the package's table.
TABLE_REGION = "us-east-1"
FRESH_S = 30 * 24 * 3600.0
_NUMBERS = ("price_per_hour", "vcpus", "memory_gib", "gpus")

#: What one row of a price file says, by column.
PriceRow = Mapping[str, float]


@dataclass(frozen=True)
class LookedUp:
    """Prices of a region as its price list had them.

    Args:
        date: Of the price list, ``YYYY-MM-DD``.
        at: When it was read, seconds since the epoch.
        usd_per_hour: On demand, by instance type.
    """

    date: str
    at: float
    usd_per_hour: dict[str, float] = field(default_factory=dict)


def default_region() -> str:
    """That of the environment."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or TABLE_REGION


def given_file() -> tuple[Path, int] | None:
    """The file that ``CLOUDTUNE_PRICES`` names, and when it was changed; None if the variable is not set.

    Raises:
        SpecError: There is no such file.
    """
    name = os.environ.get(ENV_PRICES)
    if not name:
        return None
    path = Path(name).expanduser()
    try:
        return path, path.stat().st_mtime_ns
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from error


@lru_cache(maxsize=4)
def given_rows(file: tuple[Path, int] | None) -> dict[str, PriceRow]:
    """Rows by instance type; ``file`` as of :func:`given_file`.

    Raises:
        SpecError: Naming the file and what is wrong with it.
    """
    if file is None:
        return {}
    path = file[0]
    try:
        text = path.read_text(encoding="utf-8")
        raw = _json_rows(json.loads(text)) if path.suffix.lower() == ".json" else _csv_rows(text)
    except (OSError, ValueError) as error:
        raise _bad(path, f"cannot be read: {error}") from error
    return dict(_checked(path, row) for row in raw)


def _csv_rows(text: str) -> list[Mapping[str, Any]]:
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return [{name: value for name, value in row.items() if name and value} for row in rows]


def _json_rows(content: Any) -> Iterable[Any]:
    if isinstance(content, dict):
        return [{"instance_type": name, "price_per_hour": price} for name, price in content.items()]
    if isinstance(content, list):
        return content
    raise ValueError("neither a list nor an object")


def _checked(path: Path, row: Any) -> tuple[str, PriceRow]:
    name = row.get("instance_type") if isinstance(row, dict) else None
    if not isinstance(name, str) or "price_per_hour" not in row:
        raise _bad(path, f"has a row without instance_type or price_per_hour: {row!r}")
    try:
        numbers = {column: float(row[column]) for column in _NUMBERS if column in row}
    except (TypeError, ValueError) as error:
        raise _bad(path, f"has no numbers for {name}: {error}") from error
    if not all(math.isfinite(number) and number >= 0 for number in numbers.values()):
        raise _bad(path, f"has a negative or infinite number for {name}")
    return name, numbers


def _bad(path: Path, what: str) -> SpecError:
    return SpecError(
        f"{ENV_PRICES}: {path} {what}.",
        "It must be a CSV file with the header instance_type,price_per_hour, or a .json file such as "
        '{"ml.m5.large": 0.115}.',
    )


def looked_up(region: str) -> LookedUp | None:
    """The prices of ``region`` that were looked up within a month; None without any, or if the file is damaged."""
    path = _kept(region)
    try:
        found = _read_kept(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if 0 <= WallClock().now() - found.at < FRESH_S else None


def keep(region: str, prices: LookedUp) -> None:
    """Keeps ``prices`` for :func:`looked_up`.

    Raises:
        OSError: The experiments' folder cannot be written.
    """
    content = {"date": prices.date, "at": prices.at, "usd_per_hour": prices.usd_per_hour}
    write_atomic(_kept(region), json.dumps(content, indent=1, sort_keys=True))


def _kept(region: str) -> Path:
    return experiments_root() / f".prices-{region}.json"


@lru_cache(maxsize=16)
def _read_kept(path: Path, _modified: int) -> LookedUp:
    content = json.loads(path.read_bytes())
    prices = {str(name): float(price) for name, price in content["usd_per_hour"].items()}
    return LookedUp(str(content["date"]), float(content["at"]), prices)
