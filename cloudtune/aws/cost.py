"""What a launch can cost at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudtune.instance_info import price_per_hour
from cloudtune.job_spec import TrainingJobSpec

_CENT = 0.01  # US dollars


@dataclass(frozen=True)
class HighestCost:
    """``usd`` for the jobs whose instance type has a known price, and the types that have none."""

    usd: float
    unknown_types: tuple[str, ...] = ()

    def __str__(self) -> str:
        amount = "less than $0.01" if self.usd < _CENT else f"at most ${self.usd:,.2f}"
        if not self.unknown_types:
            return amount
        return f"{amount}, and an unknown amount for {', '.join(self.unknown_types)} (price not known)"


def highest_cost(specs: Sequence[TrainingJobSpec]) -> HighestCost:
    """Every job runs to its last second (and is kept warm to the last), at on-demand prices: spot is cheaper
    by an amount that nobody promises. Storage and transfer are not included."""
    usd = 0.0
    unknown: set[str] = set()
    for spec in specs:
        price = price_per_hour(spec.instance_type)
        if price is None:
            unknown.add(spec.instance_type)
        else:
            usd += (spec.max_run_s + (spec.keep_alive_s or 0)) / 3600 * price * spec.instance_count
    return HighestCost(usd, tuple(sorted(unknown)))
