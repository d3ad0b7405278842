"""Requests that meet faults, as boto3 sees them."""

from __future__ import annotations

import datetime
import email.utils
import io
import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError
from emulator_desk import calls_of
from emulator_rig import BUCKET, Rig, error_of, eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_rig import of, page, struck

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.faults import Faults, Scenario, load_scenario
from cloudtune.emulator.faults.calls import identify
from cloudtune.emulator.faults.request_faults import RequestFaults
from cloudtune.emulator.service_clock import ServiceClock

BODY = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[SageMakerEmulator, Rig]]:
    with SageMakerEmulator(max_parallel_jobs=2) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        rig.put("data/a", BODY)
        yield aws, rig


@pytest.fixture
def aws(site: tuple[SageMakerEmulator, Rig]) -> Iterator[SageMakerEmulator]:
    site[0].apply_scenario("calm")
    yield site[0]
    site[0].apply_scenario("calm")


@pytest.fixture
def rig(site: tuple[SageMakerEmulator, Rig]) -> Rig:
    return site[1]


def fails(*operations: str, error: str = "internal_error", **members: Any) -> Scenario:
    return of({"kind": "request_error", "operations": list(operations), "error": error, **members})


def outcome(rig: Rig, key: str = "data/a") -> str:
    try:
        return "ok" if rig.get(key) == BODY else "other content"
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except BotoCoreError as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        ("internal_error", "InternalError"),
        ("throttled", "SlowDown"),
        ("unavailable", "ServiceUnavailable"),
        ("connection_reset", "ConnectionClosedError"),
        ("truncated_body", "ResponseStreamingError"),
    ],
)
def test_s3_fails_in_each_way(aws: SageMakerEmulator, rig: Rig, error: str, seen: str) -> None:
    aws.apply_scenario(fails("s3:GetObject", error=error, times=2))
    assert [outcome(rig) for _ in range(3)] == [seen, seen, "ok"]
    hits = struck(aws, error)[-2:]
    assert [hit["resource"] for hit in hits] == [f"{BUCKET}/data/a"] * 2


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        ("internal_error", "InternalFailure", 500),
        ("throttled", "ThrottlingException", 400),
        ("unavailable", "ServiceUnavailable", 503),
    ],
)
def test_the_control_plane_fails(aws: SageMakerEmulator, rig: Rig, error: str, code: str, status: int) -> None:
    aws.apply_scenario(fails("sagemaker:List*", error=error))
    with pytest.raises(ClientError) as caught:
        rig.sagemaker.list_training_jobs()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    rig.sagemaker.search(Resource="TrainingJob")


def test_standard_retries_get_through(aws: SageMakerEmulator, rig: Rig) -> None:
    for error in ("internal_error", "connection_reset", "throttled"):
        aws.apply_scenario(fails("*:*", error=error, times=2))
        client = patient(aws, "s3")
        assert client.get_object(Bucket=BUCKET, Key="data/a")["Body"].read() == BODY
        assert len(struck(aws, error)) >= 2


def patient(aws: SageMakerEmulator, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws.endpoint_url,
        region_name=aws.region,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"mode": "standard", "max_attempts": 6}),
    )


def test_a_refused_upload_of_any_size_is_answered_and_has_no_effect(aws: SageMakerEmulator, rig: Rig) -> None:
    big = b"x" * 6_000_000
    for error in ("internal_error", "connection_reset"):
        aws.apply_scenario(fails("s3:PutObject", error=error))
        with pytest.raises((ClientError, ConnectionClosedError)):
            rig.put("refused", big)
        assert rig.get("refused") is None


@pytest.mark.parametrize("error", ["internal_error", "connection_reset"])
def test_an_answer_is_lost_after_the_effect(aws: SageMakerEmulator, rig: Rig, error: str) -> None:
    request = rig.request(f"ambiguous-{error.replace('_', '-')}", "")
    aws.apply_scenario(fails("sagemaker:CreateTrainingJob", error=error, after_effect=True, times=1))
    with pytest.raises((ClientError, ConnectionClosedError)):
        rig.sagemaker.create_training_job(**request)
    assert rig.describe(request["TrainingJobName"])["TrainingJobName"] == request["TrainingJobName"]
    assert error_of(rig.sagemaker.create_training_job, **request)[0] == "ResourceInUse"
    aws.apply_scenario(fails("s3:PutObject", error=error, after_effect=True, times=1))
    with pytest.raises((ClientError, ConnectionClosedError)):
        rig.put(f"ambiguous/{error}", BODY)
    assert rig.get(f"ambiguous/{error}") == BODY


def test_keys_and_prefixes_restrict_a_fault(aws: SageMakerEmulator, rig: Rig) -> None:
    rig.put("data/journal.jsonl", BODY)
    aws.apply_scenario(fails("s3:*", key="*.jsonl"))
    assert (outcome(rig), outcome(rig, "data/journal.jsonl")) == ("ok", "InternalError")
    rig.s3.list_objects_v2(Bucket=BUCKET)  # names no object
    aws.apply_scenario(fails("sagemaker:*", name_prefix="trial-"))
    assert error_of(rig.describe, name="trial-1")[0] == "InternalFailure"
    assert error_of(rig.describe, name="other-1")[0] != "InternalFailure"
    rig.sagemaker.list_training_jobs()  # names no job
    assert outcome(rig) == "ok"


def sequence(aws: SageMakerEmulator, rig: Rig, seed: int, keys: list[str]) -> list[str]:
    aws.apply_scenario(fails("s3:GetObject", probability=0.4), seed)
    return [outcome(rig, key) for key in keys]


def test_the_same_seed_gives_the_same_faults(aws: SageMakerEmulator, rig: Rig) -> None:
    keys = [f"data/{name}" for name in "bcde"]
    for key in keys:
        rig.put(key, BODY)
    first = sequence(aws, rig, 1, keys * 8)
    assert first == sequence(aws, rig, 1, keys * 8)
    assert first != sequence(aws, rig, 2, keys * 8)
    assert 4 < first.count("InternalError") < 24
    # Whoever asks first: each object's n-th request has its own fate.
    backwards = sequence(aws, rig, 1, keys[::-1] * 8)
    for index, key in enumerate(keys):
        assert first[index::4] == backwards[3 - index :: 4], key


def test_slow_answers(aws: SageMakerEmulator, rig: Rig) -> None:
    aws.apply_scenario(of({"kind": "slow_response", "operations": ["s3:GetObject"], "latency_s": 0.5}))
    began = time.monotonic()
    assert outcome(rig) == "ok"
    assert time.monotonic() - began >= 0.5
    rate = len(BODY) / 0.4
    aws.apply_scenario(of({"kind": "slow_response", "operations": ["s3:*Object"], "bytes_per_s": rate}))
    for call in (lambda: outcome(rig), lambda: rig.put("slow", BODY)):
        began = time.monotonic()
        call()
        assert time.monotonic() - began >= 0.4
    assert rig.get("slow") == BODY


def test_the_emulators_own_pages_are_never_disturbed(aws: SageMakerEmulator, rig: Rig) -> None:
    everything = {"kind": "request_error", "operations": ["*:*"], "error": "connection_reset"}
    aws.apply_scenario(of(everything, {"kind": "clock_skew", "skew_s": 5000}))
    assert page(rig.endpoint_url, "GET", "health")["endpoint_url"] == rig.endpoint_url


def test_the_scenario_is_replaced_over_http(aws: SageMakerEmulator, rig: Rig) -> None:
    assert page(rig.endpoint_url, "PUT", "scenario", "bad_day")["name"] == "bad_day"
    document = fails("s3:GetObject").to_json() | {"seed": 5}
    assert page(rig.endpoint_url, "PUT", "scenario", document) == document
    assert outcome(rig) == "InternalError"
    found = page(rig.endpoint_url, "GET", "scenario")
    assert found == document
    with pytest.raises(urllib.error.HTTPError) as refused:
        page(rig.endpoint_url, "PUT", "scenario", {"schema": 1, "faults": [{"kind": "earthquake"}]})
    assert b"interruption_trace" in refused.value.read()
    for bad in (
        {"schema": 1, "seed": "x"},
        "worse_day",
        {"schema": 1, "faults": [{"kind": "interruption_trace"}]},
    ):
        with pytest.raises(urllib.error.HTTPError):
            page(rig.endpoint_url, "PUT", "scenario", bad)
    assert page(rig.endpoint_url, "GET", "scenario") == document  # a refused one changes nothing


def test_quotas_of_a_scenario_go_with_it(aws: SageMakerEmulator, rig: Rig) -> None:
    aws.apply_scenario(of(quotas={"ml.m5.large": {"on_demand": 0}}))
    code, message = error_of(rig.sagemaker.create_training_job, **rig.request("too-many", ""))
    assert code == "ResourceLimitExceeded" and "'ml.m5.large for training job usage' is 0 Instances" in message
    aws.apply_scenario("calm")
    rig.submit("enough", "")


def test_a_clock_that_is_off(aws: SageMakerEmulator, rig: Rig) -> None:
    aws.apply_scenario(of({"kind": "clock_skew", "skew_s": 600}))
    answer = rig.s3.head_object(Bucket=BUCKET, Key="data/a")
    date = email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    ahead = date - datetime.datetime.now(datetime.timezone.utc)
    assert 500 < ahead.total_seconds() < 610
    aws.apply_scenario(of({"kind": "clock_skew", "skew_s": -1000}))
    assert outcome(rig) == "RequestTimeTooSkewed"
    assert error_of(rig.sagemaker.list_training_jobs)[0] == "InvalidSignatureException"
    aws.apply_scenario("calm")
    assert outcome(rig) == "ok"


def test_a_search_is_late_and_a_description_stale() -> None:
    lag = {"appears_s": 1000, "lag_s": 1000}
    with SageMakerEmulator(max_parallel_jobs=1, time_scale=1) as aws:
        rig = Rig(aws.endpoint_url, aws.role_arn)
        aws.apply_scenario(of({"kind": "stale_read", "operations": ["Search", "DescribeTrainingJob"], **lag}))
        rig.submit("late", "open(f'{ROOT}/output/failure', 'w').write('bad luck')\nsys.exit(3)")
        eventually(lambda: rig.sagemaker.list_training_jobs(StatusEquals="Failed")["TrainingJobSummaries"])
        stale = rig.describe("late")
        assert (stale["TrainingJobStatus"], stale["SecondaryStatus"]) == ("InProgress", "Starting")
        assert not {"FailureReason", "TrainingEndTime", "TrainingStartTime"} & set(stale)
        assert [item["Status"] for item in stale["SecondaryStatusTransitions"]] == ["Starting"]
        assert "EndTime" not in stale["SecondaryStatusTransitions"][0]
        assert rig.sagemaker.search(Resource="TrainingJob")["Results"] == []
        aws.apply_scenario(of({"kind": "stale_read", "operations": ["Search"], "lag_s": 1000}))
        status = {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"}
        found = rig.sagemaker.search(Resource="TrainingJob", SearchExpression={"Filters": [status]})
        assert [item["TrainingJob"]["SecondaryStatus"] for item in found["Results"]] == ["Starting"]
        assert rig.describe("late")["FailureReason"] == "AlgorithmError: bad luck, exit code: 3"


def test_logs_lag_and_have_empty_pages(aws: SageMakerEmulator, rig: Rig) -> None:
    name = "printing"
    rig.run(name, "for line in range(25):\n    print('line', line)")
    expected = [f"line {line}" for line in range(25)]
    (stream,) = rig.streams(name)
    aws.apply_scenario(of({"kind": "empty_log_page"}))
    assert rig.log(stream) == expected
    assert len(struck(aws, "empty_log_page")) == 1  # the page that it stands for follows
    aws.apply_scenario(of({"kind": "empty_log_page", "probability": 0.5}), seed=2)
    pages = []
    token: dict[str, str] = {}
    while not pages or token["nextToken"] != pages[-1].get("passed"):
        answer = rig.logs.get_log_events(
            logGroupName="/aws/sagemaker/TrainingJobs",
            logStreamName=stream,
            startFromHead=True,
            limit=4,
            **token,
        )
        pages.append({"passed": token.get("nextToken"), "lines": [e["message"] for e in answer["events"]]})
        token = {"nextToken": answer["nextForwardToken"]}
    assert [line for found in pages for line in found["lines"]] == expected
    assert [] in [found["lines"] for found in pages[:-1]]
    aws.apply_scenario(of({"kind": "log_lag", "lag_s": 1000}))
    assert rig.streams(name) == [] and rig.log(stream) == []
    aws.apply_scenario("calm")
    assert rig.log(stream) == expected


SCOPE = "AWS4-HMAC-SHA256 Credential=me/20260101/us-east-1/{}/aws4_request, SignedHeaders=host"


@pytest.mark.parametrize(
    ("request_line", "headers", "body", "name", "resource"),
    [
        ("GET /", {}, b"", "s3:ListBuckets", ""),
        ("PUT /b", {}, b"", "s3:CreateBucket", "b/"),
        ("GET /b?list-type=2&prefix=x", {}, b"", "s3:ListObjectsV2", "b/"),
        ("GET /b?location", {}, b"", "s3:Other", "b/"),
        ("POST /b?delete", {}, b"<Delete/>", "s3:DeleteObjects", "b/"),
        ("HEAD /b/k/l", {}, b"", "s3:HeadObject", "b/k/l"),
        ("GET /k/l", {"HTTP_HOST": "my.bucket.s3.us-east-1.amazonaws.com"}, b"", "s3:GetObject", "my.bucket/k/l"),
        ("PUT /b/k", {"HTTP_X_AMZ_COPY_SOURCE": "b/j"}, b"", "s3:CopyObject", "b/k"),
        ("PUT /b/k?partNumber=1&uploadId=u", {}, b"part", "s3:UploadPart", "b/k"),
        ("POST /b/k?uploads", {}, b"", "s3:CreateMultipartUpload", "b/k"),
        ("POST /b/k?uploadId=u", {}, b"", "s3:CompleteMultipartUpload", "b/k"),
        ("DELETE /b/k?uploadId=u", {}, b"", "s3:AbortMultipartUpload", "b/k"),
        ("PUT /b/k?tagging", {}, b"", "s3:Other", "b/k"),
        (
            "POST /",
            {"HTTP_AUTHORIZATION": SCOPE.format("sts")},
            b"Action=GetCallerIdentity",
            "sts:GetCallerIdentity",
            "",
        ),
        (
            "POST /",
            {"HTTP_X_AMZ_TARGET": "SageMaker.StopTrainingJob"},
            b'{"TrainingJobName": "j"}',
            "sagemaker:StopTrainingJob",
            "j",
        ),
        (
            "POST /",
            {"HTTP_X_AMZ_TARGET": "Logs_20140328.GetLogEvents", "HTTP_AUTHORIZATION": SCOPE.format("logs")},
            b'{"logStreamName": "j/algo-1-17"}',
            "logs:GetLogEvents",
            "j",
        ),
    ],
)
def test_requests_are_told_apart(
    request_line: str, headers: dict[str, str], body: bytes, name: str, resource: str
) -> None:
    method, _, target = request_line.partition(" ")
    path, _, query = target.partition("?")
    environ = environment(REQUEST_METHOD=method, PATH_INFO=path, QUERY_STRING=query, body=body, **headers)
    call = identify(environ)
    assert (call.name, call.resource, call.size) == (name, resource, len(body))
    assert environ["wsgi.input"].read() == body  # for whoever answers


def environment(body: bytes = b"", **members: str) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), **members}


BAD_DAY = load_scenario("bad_day")
TEXT = st.text(st.characters(max_codepoint=255), max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    members=st.fixed_dictionaries(
        {},
        optional={
            "REQUEST_METHOD": st.sampled_from(["GET", "PUT", "POST", "BREW"]),
            "PATH_INFO": TEXT.map("/".__add__),
            "QUERY_STRING": TEXT,
            "HTTP_HOST": TEXT,
            "HTTP_X_AMZ_TARGET": TEXT | st.just("SageMaker.CreateTrainingJob"),
            "HTTP_X_AMZ_DATE": TEXT | st.just("00010101T000000Z"),
            "HTTP_AUTHORIZATION": TEXT | st.sampled_from([SCOPE.format(name) for name in ("sts", "logs", "s3")]),
            "CONTENT_LENGTH": TEXT,
        },
    ),
    body=st.binary(max_size=40)
    | st.sampled_from([b"[" * 50_000, b'{"TrainingJobName": ["\\ud800"]}', b"[]", b"\xff"]),
)
def test_odd_requests_meet_faults_like_others(members: dict[str, str], body: bytes) -> None:
    seen: list[str] = []

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"{}"]

    layer = RequestFaults(answer, Faults(ServiceClock(1e9), scenario=BAD_DAY))
    try:
        b"".join(layer(environment(body, **members), lambda status, headers: seen.append(status)))
    except ConnectionResetError:
        return
    assert len(seen) == 1


def test_a_calm_day_costs_nothing() -> None:
    """The layer in front of S3 costs nothing that could be measured beside a request."""

    def nothing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return []

    layer = RequestFaults(nothing, Faults())
    environ = {"PATH_INFO": "/bucket/key", "REQUEST_METHOD": "GET"}
    assert calls_of(lambda: layer(environ, print)) < 20
