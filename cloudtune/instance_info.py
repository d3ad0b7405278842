"""What SageMaker instance types have and cost: a dated table in the package, for estimates, not for bills.

Prices of the user's own, and those that were looked up, go before it: see :mod:`cloudtune.instance_prices`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from cloudtune import instance_prices
from cloudtune.errors import NotFound, SpecError
from cloudtune.instance_prices import PriceRow

_TABLE = Path(__file__).parent / "instance_prices.csv"


@dataclass(frozen=True)
class InstanceInfo:
    """One instance type. ``price_per_hour`` in US dollars, on demand; ``memory_gib`` without that of GPUs."""

    name: str
    price_per_hour: float
    vcpus: int
    memory_gib: float
    gpus: int


class InstanceInfos:
    """The instance types in the package's table; others exist.

    Args:
        given: Rows that go before those of the table, by instance type.
    """

    def __init__(self, given: Mapping[str, PriceRow] | None = None) -> None:
        with _TABLE.open(encoding="ascii", newline="") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            infos = [
                InstanceInfo(
                    name=row["instance_type"],
                    price_per_hour=float(row["price_per_hour"]),
                    vcpus=int(row["vcpus"]),
                    memory_gib=float(row["memory_gib"]),
                    gpus=int(row["gpus"]),
                )
                for row in rows
            ]
        self._infos = {info.name: info for info in infos}
        for name, row in (given or {}).items():
            if name in self._infos:
                self._infos[name] = replace(self._infos[name], price_per_hour=row["price_per_hour"])
            elif row.keys() >= {"vcpus", "memory_gib", "gpus"}:
                sizes = int(row["vcpus"]), row["memory_gib"], int(row["gpus"])
                self._infos[name] = InstanceInfo(name, row["price_per_hour"], *sizes)

    def __iter__(self) -> Iterator[InstanceInfo]:
        return iter(self._infos.values())

    def __contains__(self, instance_type: object) -> bool:
        return instance_type in self._infos

    def __len__(self) -> int:
        return len(self._infos)

    def __call__(self, instance_type: str) -> InstanceInfo:
        """What is known of ``instance_type``.

        Raises:
            NotFound: It is not in the table.
        """
        try:
            return self._infos[instance_type]
        except KeyError:
            family = instance_type.rsplit(".", 1)[0]
            near = [name for name in self._infos if name.startswith(f"{family}.")] or sorted(
                {name.rsplit(".", 1)[0] + ".*" for name in self._infos}
            )
            raise NotFound(
                f"Instance type {instance_type!r} is not in cloudtune's table.", f"It knows: {', '.join(near)}"
            ) from None

    def select(
        self,
        min_gpu: int = 0,
        max_gpu: int = 16,
        min_cost_per_hour: float | None = None,
        max_cost_per_hour: float | None = None,
    ) -> list[str]:
        """Names of the types within the bounds (inclusive), cheapest first.

        Raises:
            SpecError: A lower bound is above its upper bound.
        """
        low = 0.0 if min_cost_per_hour is None else min_cost_per_hour
        high = float("inf") if max_cost_per_hour is None else max_cost_per_hour
        if min_gpu > max_gpu or low > high:
            raise SpecError(
                f"select_instance_type: no instance can have {min_gpu} to {max_gpu} GPUs and cost {low} to {high} "
                "dollars per hour.",
                "Each lower bound must be at most its upper bound.",
            )
        fitting = [i for i in self if min_gpu <= i.gpus <= max_gpu and low <= i.price_per_hour <= high]
        return [info.name for info in sorted(fitting, key=lambda info: (info.price_per_hour, info.name))]


def instance_infos() -> InstanceInfos:
    """The table, with the prices of ``CLOUDTUNE_PRICES``; read when it has changed.

    Raises:
        SpecError: That file is damaged.
    """
    return _infos(instance_prices.given_file())


@lru_cache(maxsize=1)
def _infos(given: tuple[Path, int] | None) -> InstanceInfos:
    return InstanceInfos(instance_prices.given_rows(given))


def price_per_hour(instance_type: str, region: str | None = None) -> float | None:
    """US dollars per hour on demand; None if nobody knows the type. In this order: ``CLOUDTUNE_PRICES``, what was
    looked up for ``region`` (default: the environment's) within a month, the table (of us-east-1).

    Raises:
        SpecError: The file that ``CLOUDTUNE_PRICES`` names is damaged.
    """
    given = instance_prices.given_rows(instance_prices.given_file()).get(instance_type)
    if given is not None:
        return given["price_per_hour"]
    found = instance_prices.looked_up(region or instance_prices.default_region())
    if found is not None and instance_type in found.usd_per_hour:
        return found.usd_per_hour[instance_type]
    infos = instance_infos()
    return infos(instance_type).price_per_hour if instance_type in infos else None


def prices_date(region: str | None = None) -> str:
    """From when the prices are, for people: ``2025-07``, or the day of the price list that was looked up; with the
    user's own file, if there is one."""
    found = instance_prices.looked_up(region or instance_prices.default_region())
    date = _table_date() if found is None else found.date
    given = instance_prices.given_file()
    return date if given is None else f"{date}, except for those in {given[0]}"


@lru_cache(maxsize=1)
def _table_date() -> str:
    with _TABLE.open(encoding="ascii") as file:
        return file.readline().removeprefix("#").partition(":")[0].strip()


def select_instance_type(
    min_gpu: int = 0,
    max_gpu: int = 16,
    min_cost_per_hour: float | None = None,
    max_cost_per_hour: float | None = None,
) -> list[str]:
    """See :meth:`InstanceInfos.select`."""
    return instance_infos().select(min_gpu, max_gpu, min_cost_per_hour, max_cost_per_hour)
