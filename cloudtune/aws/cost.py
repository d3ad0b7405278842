"""What a launch can cost at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloudtune.instance_info import price_per_hour
from cloudtune.job_spec import TrainingJobSpec

_CENT = 0.01  # US dollars
#: Part of the on-demand price that a spot job is taken to cost while it runs; what was billed is known when it has
#: ended. Users see between 0.1 and 0.7. What can be spent at most is told at the whole price.
SPOT_SHARE = 0.4
#: A job that is told to stop has this long for its script, and for uploading what it leaves, seconds.
_STOP_S = 120.0 + 60.0
#: By how much a job's cost may have grown before the tuner takes notice.
_UNNOTICED_SHARE = 0.01


@dataclass(frozen=True)
class HighestCost:
    """``usd`` for the jobs whose instance type has a known price, and the types that have none. Infinite: nothing
    limits it. ``why`` says for people how it comes about."""

    usd: float
    unknown_types: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if self.usd < _CENT:
            amount = "less than $0.01"
        else:
            amount = f"at most ${self.usd:,.2f}" if math.isfinite(self.usd) else "without limit"
        if self.unknown_types:
            amount += f", and an unknown amount for {', '.join(self.unknown_types)} (price not known)"
        return f"{amount}: {self.why}" if self.why else amount


def highest_cost(specs: Sequence[TrainingJobSpec], region: str | None = None) -> HighestCost:
    """Every job runs to its last second (and is kept warm to the last), at on-demand prices of ``region``: spot is
    cheaper by an amount that nobody promises. Storage and transfer are not included."""
    usd = 0.0
    unknown: set[str] = set()
    for spec in specs:
        price = price_per_hour(spec.instance_type, region)
        if price is None:
            unknown.add(spec.instance_type)
        else:
            usd += (spec.max_run_s + (spec.keep_alive_s or 0)) / 3600 * price * spec.instance_count
    return HighestCost(usd, tuple(sorted(unknown)))


def highest_cost_of_trials(  # noqa: PLR0913  each is one thing that limits it or adds to it
    spec: TrainingJobSpec,
    n_workers: int,
    max_wallclock_time: float | None = None,
    max_cost: float | None = None,
    tuner_instance: tuple[str, float] | None = None,
    *,
    region: str | None = None,
    other_types: Sequence[str] = (),
    overlap: bool = False,
    drain: bool = False,
) -> HighestCost:
    """Of one experiment with a training job for each trial: all workers are busy, at on-demand prices, until the
    first limit is reached and their jobs have been stopped.

    Args:
        spec: Of each trial's job.
        n_workers: Trials at a time.
        max_wallclock_time: Seconds.
        max_cost: US dollars.
        tuner_instance: Type, and seconds at most, of the instance on which the tuner itself runs.
        region: Whose prices.
        other_types: Instance types that may be used instead of the one in ``spec``: the dearest counts.
        overlap: A trial may begin while the last one is still stopping: there are up to twice as many jobs.
        drain: Jobs that run when the limit is reached are left to finish.
    """
    types = list(dict.fromkeys([spec.instance_type, *other_types]))
    prices = {name: price_per_hour(name, region) for name in types}
    unknown = {name for name, price in prices.items() if price is None}
    dearest = max(types, key=lambda name: prices[name] or 0.0)
    n_jobs = 2 * n_workers if overlap else n_workers
    per_s = n_jobs * spec.instance_count * (prices[dearest] or 0.0) / 3600
    busy = f"{n_workers} {'worker' if n_workers == 1 else 'workers'} with {spec.instance_count} x {dearest}"
    if overlap:
        busy += " (twice, while trials are stopping)"
    ended = "finished" if drain else "stopped"

    stopping = per_s * ((spec.max_run_s if drain else _STOP_S) + (spec.keep_alive_s or 0))
    usd, why = (
        math.inf,
        f"{busy} cost ${per_s * 3600:,.2f} an hour; give max_wallclock_time or max_cost to limit it",
    )
    if max_wallclock_time is not None:
        usd = per_s * max_wallclock_time + stopping
        why = f"{busy} for {max_wallclock_time:,.0f} s, and until they have {ended}"
    if max_cost is not None and not unknown:
        estimated = max_cost / (
            SPOT_SHARE if spec.spot else 1.0
        )  # of a spot job that runs, only that part is seen
        by_cost = estimated * (1 + _UNNOTICED_SHARE) + n_jobs * _CENT + stopping
        if by_cost < usd:
            usd, why = by_cost, f"max_cost=${max_cost:,.2f}, and until {busy} have {ended}"
            if spec.spot:
                why += "; what spot jobs that run have cost is an estimate"
    if unknown == set(types):
        usd, why = 0.0, ""
    if tuner_instance is not None:
        kind, seconds = tuner_instance
        price = price_per_hour(kind, region)
        if price is None:
            unknown.add(kind)
        else:
            usd += price * seconds / 3600
            why = f"{why}; {kind} for the tuner" if why else f"{kind} for the tuner"
    return HighestCost(usd, tuple(sorted(unknown)), why)
