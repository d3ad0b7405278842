from __future__ import annotations

import random
import threading

import pytest
import urllib3.exceptions
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from cloudtune.aws.errors import aws_call, translate
from cloudtune.aws.pacing import TokenBucket
from cloudtune.aws.retry import Interrupted, Retry, Wait
from cloudtune.clock import VirtualClock
from cloudtune.errors import (
    AccessDenied,
    AlreadyExists,
    AwsError,
    CapacityUnavailable,
    InvalidRequest,
    QuotaExceeded,
    ResourceNotFound,
    ServiceFailed,
    Throttled,
    Unreachable,
)


def client_error(code: str, message: str = "text", status: int = 400) -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "Operation",
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ThrottlingException", Throttled),
        ("SlowDown", Throttled),
        ("ResourceLimitExceeded", QuotaExceeded),
        ("InsufficientInstanceCapacity", CapacityUnavailable),
        ("InternalFailure", ServiceFailed),
        ("AccessDeniedException", AccessDenied),
        ("ExpiredToken", AccessDenied),
        ("ResourceInUse", AlreadyExists),
        ("PreconditionFailed", AlreadyExists),
        ("NoSuchKey", ResourceNotFound),
        ("ValidationException", InvalidRequest),
        ("SomethingNew", AwsError),
    ],
)
def test_codes(code: str, expected: type[AwsError]) -> None:
    error = translate(client_error(code), "do it")
    assert type(error) is expected
    assert error.code == code
    assert "Cannot do it" in error.message
    assert "text" in error.message


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("RequestTimeTooSkewed", "clock"),
        ("InvalidSignatureException", "clock"),
        ("PermanentRedirect", "AWS_REGION"),
    ],
)
def test_some_codes_say_more_than_their_class(code: str, hint: str) -> None:
    assert hint in translate(client_error(code), "do it").hint


def test_what_has_no_code_of_its_own() -> None:
    assert type(translate(client_error("Weird", status=503), "x")) is ServiceFailed
    assert type(translate(client_error("Weird", status=429), "x")) is Throttled
    missing = client_error("ValidationException", "Requested resource not found.")
    assert type(translate(missing, "x")) is ResourceNotFound
    for error in (
        boto.EndpointConnectionError(endpoint_url="http://x"),
        boto.ReadTimeoutError(endpoint_url="http://x"),
        ResponseParserError("no xml"),
        urllib3.exceptions.ProtocolError("cut"),
        ConnectionResetError(104, "reset"),
    ):
        assert type(translate(error, "x")) is Unreachable
    assert type(translate(boto.NoCredentialsError(), "x")) is AccessDenied
    if hasattr(boto, "LoginRefreshRequired"):
        assert type(translate(boto.LoginRefreshRequired(), "x")) is AccessDenied  # a session that has expired
    assert type(translate(boto.ParamValidationError(report="r"), "x")) is InvalidRequest


def test_aws_call_lets_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), aws_call("x"):
        raise ZeroDivisionError
    with pytest.raises(Throttled) as caught, aws_call("x"):
        raise client_error("Throttling")
    assert isinstance(caught.value.__cause__, boto.ClientError)
    with pytest.raises(QuotaExceeded) as again, aws_call("outer"):
        raise QuotaExceeded("inner")
    assert again.value.message == "inner"


class Flaky:
    def __init__(self, *errors: AwsError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def test_retry_by_class() -> None:
    clock = VirtualClock()
    waits: list[float] = []
    retry = Retry(clock, rng=random.Random(0), on_wait=lambda error, pause: waits.append(pause))
    assert retry.call(Flaky(*[Throttled("t")] * 5)) == 6
    assert len(waits) == 5
    for failures, pause in enumerate(waits):
        assert 2**failures / 2 <= pause <= 2**failures
    with pytest.raises(AccessDenied):
        retry.call(Flaky(AccessDenied("no")))
    assert len(waits) == 5
    started = clock.now()
    flaky = Flaky(*[Unreachable("gone")] * 1000)
    with pytest.raises(Unreachable):
        retry.call(flaky)
    assert 30 <= clock.now() - started < 41
    assert flaky.calls < 40


def test_each_class_of_error_is_counted_by_itself() -> None:
    retry = Retry(VirtualClock(), {Throttled: Wait(10, 10, 30), Unreachable: Wait(10, 10, 30)})
    assert retry.call(Flaky(*[Throttled("t"), Unreachable("u")] * 3)) == 7
    with pytest.raises(Throttled):
        retry.call(Flaky(*[Throttled("t")] * 7))


def test_retry_is_interrupted_while_it_waits() -> None:
    clock = VirtualClock()
    interrupt = threading.Event()
    retry = Retry(clock, interrupt=interrupt, on_wait=lambda *_: interrupt.set())
    started = clock.now()
    with pytest.raises(Interrupted):
        retry.call(Flaky(*[Throttled("t")] * 3))
    assert clock.now() - started < 1


@given(st.integers(0, 10_000), st.floats(0.01, 10), st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_pauses_stay_in_bounds(failures: int, base: float, cap: float, rng: random.Random) -> None:
    pause = Wait(base, cap, 60).pause_s(failures, rng)
    assert 0 < pause <= cap


@given(st.floats(0.5, 100), st.integers(1, 10), st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_bucket_never_exceeds_its_rate(rate: float, burst: int, gaps: list[float]) -> None:
    clock = VirtualClock(0.0)
    bucket = TokenBucket(clock, rate, burst)
    moments = []
    for gap in gaps:
        clock.sleep(gap)
        moments.append(clock.now() + bucket.reserve())
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            calls = last - first + 1
            assert calls <= burst + (moments[last] - moments[first]) * rate + 1 + 1e-6


def test_bucket_holds() -> None:
    clock = VirtualClock(0.0)
    bucket = TokenBucket(clock, rate_per_s=1.0, burst=3)
    assert [bucket.reserve() for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 2.0]
    bucket.hold(100)
    assert bucket.reserve() == 100
