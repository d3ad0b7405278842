from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudtune.aws.pacing import TokenBucket
from cloudtune.clock import VirtualClock


def test_places_are_taken_without_waiting() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(clock, rate_per_s=2.0, burst=3)
    start = clock.now()
    assert bucket.ready_at() == start
    assert [bucket.try_take() for _ in range(5)] == [True, True, True, False, False]
    assert bucket.ready_at() == start + 0.5
    clock.advance_to(bucket.ready_at())
    assert [bucket.try_take(), bucket.try_take()] == [True, False]
    clock.sleep(1.0)
    assert not bucket.try_take(3)
    assert bucket.try_take(2)
    clock.sleep(100.0)
    assert not bucket.try_take(4)
    assert bucket.try_take(3)


def test_nothing_is_taken_while_it_is_held() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(clock, rate_per_s=1.0, burst=2)
    bucket.hold(10.0)
    assert bucket.ready_at() == clock.now() + 10.0
    clock.sleep(9.5)
    assert not bucket.try_take()
    clock.sleep(0.5)
    assert bucket.try_take()
    assert not bucket.try_take()


@given(
    rate=st.sampled_from([0.5, 2.0, 10.0]),
    burst=st.integers(1, 5),
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5), st.booleans()), max_size=60),
)
def test_no_window_holds_more_than_rate_and_burst_allow(
    rate: float, burst: int, steps: list[tuple[float, int, bool]]
) -> None:
    clock = VirtualClock(0.0)
    bucket = TokenBucket(clock, rate, burst)
    taken: list[float] = []
    for pause_s, count, waits in steps:
        clock.sleep(pause_s)
        if waits:
            clock.advance_to(bucket.ready_at())
            assert bucket.try_take()
            taken.append(clock.now())
        elif bucket.try_take(count):
            taken += [clock.now()] * count
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-6
