"""Admission against an account with quotas, a lag of its books, others' jobs, warm pools: many of them, drawn."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.sagemaker_backend.admission import Admission, Grant, Wait
from cloudtune.sagemaker_backend.ports import Usage

TYPES = ("ml.a.large", "ml.b.large", "ml.c.large")


@dataclass
class Account:
    """The service: counts for ``lag_s`` what has ended, keeps warm pools, runs others' jobs until ``leave_at``."""

    limits: dict[str, int]
    others: dict[str, int]
    leave_at: float
    lag_s: float
    keep_alive_s: float
    no_capacity: dict[str, int]
    live: dict[str, tuple[str, int, float]] = field(default_factory=dict)  # type, count, end
    ended: list[tuple[str, int, float]] = field(default_factory=list)  # type, count, counts until
    warm: dict[str, tuple[str, int, float]] = field(default_factory=dict)

    def used(self, instance_type: str, now: float) -> int:
        others = self.others[instance_type] if now < self.leave_at else 0
        live = sum(count for name, count, _ in self.live.values() if name == instance_type)
        until = [*self.ended, *self.warm.values()]
        return others + live + sum(n for name, n, when in until if name == instance_type and when > now)

    def create(self, job: str, instance_type: str, count: int, now: float, end: float) -> str | None:
        """The message of a refusal."""
        for pool, (name, size, until) in list(self.warm.items()):
            if (name, size) == (instance_type, count) and until > now:
                del self.warm[pool]
                self.live[job] = (instance_type, count, end)
                return None
        used, limit = self.used(instance_type, now), self.limits[instance_type]
        if used + count > limit:
            return (
                f"The account-level service limit '{instance_type} for training job usage' is {limit} Instances, "
                f"with current utilization of {used} Instances and a request delta of {count} Instances."
            )
        self.live[job] = (instance_type, count, end)
        return None

    def end(self, job: str, now: float) -> float | None:
        """Until when its instances are warm."""
        name, count, _ = self.live.pop(job)
        if self.keep_alive_s:
            self.warm[job] = (name, count, now + self.keep_alive_s)
            return now + self.keep_alive_s
        self.ended.append((name, count, now + self.lag_s))
        return None


ACCOUNTS = st.builds(
    Account,
    limits=st.fixed_dictionaries({name: st.integers(0, 4) for name in TYPES}),
    others=st.fixed_dictionaries({name: st.integers(0, 4) for name in TYPES}),
    leave_at=st.sampled_from([0.0, 500.0, 3000.0]),
    lag_s=st.sampled_from([0.0, 20.0, 300.0]),
    keep_alive_s=st.sampled_from([0.0, 0.0, 100.0]),
    no_capacity=st.fixed_dictionaries({name: st.integers(0, 2) for name in TYPES}),
)


@settings(max_examples=150, deadline=None)
@given(
    account=ACCOUNTS,
    known=st.booleans(),
    seed=st.integers(0, 99),
    jobs=st.lists(
        st.tuples(st.floats(1.0, 400.0), st.sampled_from([None, None, *TYPES]), st.sampled_from([1, 1, 2])),
        min_size=1,
        max_size=15,
    ),
)
def test_every_job_that_can_run_does_and_no_known_limit_is_exceeded(
    account: Account, known: bool, seed: int, jobs: list[tuple[float, str | None, int]]
) -> None:
    found = Admission(TYPES, 1, Usage.on_demand, account.keep_alive_s > 0, random.Random(seed))
    told = dict(account.limits) if known else {}
    heard = dict.fromkeys(told, 0.0)
    for name, limit in told.items():
        found.know_quota(name, Usage.on_demand, limit)
    now, number, refusals = 0.0, 0, 0
    for length_s, wanted, count in jobs:
        job = f"job-{number}"
        number += 1
        for _ in range(500):
            for name in [name for name, (_, _, end) in account.live.items() if end <= now]:
                found.released(name, now, account.end(name, now))
            if found.is_hopeless(wanted, count):
                assert all(told[name] < count for name in ([wanted] if wanted else TYPES))
                break
            choice = found.choose(now, wanted, count)
            if isinstance(choice, Wait):
                assert choice.until > now
                assert choice.reason
                ends = [end for _, _, end in account.live.values()]
                now = min([choice.until, *ends])
                continue
            assert wanted in (None, choice.instance_type)
            if (
                not choice.warm and now < heard.get(choice.instance_type, -900.0) + 900.0
            ):  # later, it is asked again
                mine = sum(n for name, n, _ in account.live.values() if name == choice.instance_type)
                warm = sum(
                    n for name, n, until in account.warm.values() if name == choice.instance_type and until > now
                )
                assert mine + warm + count <= told[choice.instance_type]
            message = account.create(job, choice.instance_type, count, now, now + length_s)
            if message is not None:
                refusals += 1
                assert not choice.warm
                told[choice.instance_type] = account.limits[choice.instance_type]
                heard[choice.instance_type] = now
                found.refused(choice.instance_type, message, now)
                continue
            found.occupied(job, choice.instance_type, count)
            if not choice.warm and account.no_capacity[choice.instance_type]:
                account.no_capacity[choice.instance_type] -= 1
                del account.live[job]
                found.released(job, now)
                found.capacity_failed(choice.instance_type, now)
                continue
            break
        else:
            raise AssertionError(f"{job} waits for ever")
    # Asking is not free: some tries for each job, however long the books lag; one a minute while others are there.
    assert refusals <= 60 + 40 * len(jobs) + len(TYPES) * account.leave_at / 60


@given(
    refused=st.sets(st.sampled_from(TYPES)),
    empty=st.sets(st.sampled_from(TYPES)),
    full=st.sets(st.sampled_from(TYPES)),
    order=st.permutations(TYPES),
)
def test_the_first_type_without_an_obstacle_is_taken(
    refused: set[str], empty: set[str], full: set[str], order: list[str]
) -> None:
    found = Admission(order, 1, Usage.spot, False, random.Random(0))
    for name in order:
        if name in full:
            found.know_quota(name, Usage.spot, 1)
            found.occupied(name, name, 1)
        if name in refused:
            found.refused(name, "no", 0.0)
        if name in empty:
            found.capacity_failed(name, 0.0)
    free = [name for name in order if name not in refused | empty | full]
    choice = found.choose(0.0)
    if free:
        assert choice == Grant(free[0])
    else:
        assert isinstance(choice, Wait)
        assert all(name in choice.reason for name in order)
