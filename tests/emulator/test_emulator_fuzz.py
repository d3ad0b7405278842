"""Malformed and hostile requests to SageMaker's counter and the emulator's own pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from victim import JSON_TYPE, ROLE, Answer, Victim

from cloudtune.emulator.control.validation import load_model

MODEL = load_model("sagemaker")
OPERATIONS = [
    "CreateTrainingJob",
    "DescribeTrainingJob",
    "StopTrainingJob",
    "UpdateTrainingJob",
    "DeleteTrainingJob",
    "ListTrainingJobs",
    "Search",
    "AddTags",
    "ListTags",
    "DeleteTags",
]
CODES = {
    "ValidationException",
    "SerializationException",
    "UnknownOperationException",
    "ResourceInUse",
    "ResourceNotFound",
    "ResourceLimitExceeded",
    "RequestEntityTooLarge",
    "AccessDeniedException",
}
BUCKET = "rehearsals"
JOB: dict[str, Any] = {
    "TrainingJobName": "fuzzed",
    "RoleArn": ROLE,
    "AlgorithmSpecification": {
        "TrainingImage": "image",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["true"],
    },
    "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}
QUICK = settings(
    max_examples=120,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def nested(depth: int) -> Any:
    found: Any = "deep"
    for _ in range(depth):
        found = [{"a": found}]
    return found


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with Victim(tmp_path_factory.mktemp("fuzz"), "--max_parallel_jobs", "2") as started:
        started.rig()  # makes the bucket
        yield started
        started.check()
        started.shut_down()


def strange(token: str) -> list[Any]:
    """What clients do not send."""
    texts = ["", " ", "\0", "a\0b", "\ud800", "\u202e", "é" * 300, "x" * 100_000, "%s%n{0}{x}", "*", "(a+)+$"]
    ways_out = [f"../../../../{token}", f"/tmp/{token}", f"..\\..\\{token}", f"s3://{BUCKET}/../{token}"]
    commands = [
        f"$(touch /tmp/{token})",
        f"`touch /tmp/{token}`",
        f"'; touch /tmp/{token};",
        f"\n touch /tmp/{token}",
    ]
    numbers = [0, -1, 2**31, 2**63, -(2**70), 10**400, 1.5, 1e308, float("nan"), float("-inf")]
    others = [None, True, False, [], [[]], [None], {}, {"": ""}, {"a": {"b": None}}, nested(60), list(range(3000))]
    return [*texts, *ways_out, *commands, *numbers, *others]


def assert_clean(answer: Answer, sent: object = None) -> None:
    """JSON, and for a refusal one of the service's codes."""
    assert answer.kind == JSON_TYPE, (answer, sent)
    document = json.loads(answer.body)
    assert isinstance(document, dict)
    if answer.status != 200:
        assert answer.status in (400, 413), (answer, sent)
        assert document["__type"] in CODES, (answer, sent)
        assert document.get("message") or document["Message"]  # the latter is moto's
        assert len(answer.body) < 200_000


def members(shape: Shape | None, depth: int = 0) -> Iterator[list[str]]:
    """The path of every member: names; ``[]`` is an item of a list, ``{}`` the value of a key."""
    if depth > 9:  # SearchExpression holds itself
        return
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            yield [name]
            yield from ([name, *rest] for rest in members(member, depth + 1))
    elif isinstance(shape, ListShape):
        yield ["[]"]
        yield from (["[]", *rest] for rest in members(shape.member, depth + 1))
    elif isinstance(shape, MapShape):
        yield ["{}"]
        yield from (["{}", *rest] for rest in members(shape.value, depth + 1))


def placed(path: list[str], value: Any) -> Any:
    """A document that holds ``value`` at ``path``."""
    for name in reversed(path):
        value = [value] if name == "[]" else {"key" if name == "{}" else name: value}
    return value


def merged(base: Any, change: Any) -> Any:
    """``base`` with ``change`` in it, structure by structure."""
    if isinstance(base, dict) and isinstance(change, dict):
        return {name: merged(base.get(name), change[name]) if name in change else base[name] for name in base} | {
            name: change[name] for name in change if name not in base
        }
    return change


def base_of(operation: str) -> dict[str, Any]:
    if operation == "CreateTrainingJob":
        return JOB
    if operation == "Search":
        return {"Resource": "TrainingJob"}
    if operation.endswith("Tags"):
        return {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/fuzzed"}
    return {} if operation == "ListTrainingJobs" else {"TrainingJobName": "fuzzed"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_member_takes_each_strange_value(victim: Victim, operation: str) -> None:
    """Several thousand requests, one after another. Numbers that JSON lacks are sent as Python writes them."""
    values = strange(victim.token)
    for number, path in enumerate(members(MODEL.operation_model(operation).input_shape)):
        # Deep members, most of which are checked by the same lines, get every fourth value.
        for value in values if len(path) < 3 else values[number % 4 :: 4]:
            request = merged(base_of(operation), placed(path, value))
            assert_clean(victim.ask(operation, request), (path, value))
    victim.check()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def like(shape: Shape, depth: int = 0) -> st.SearchStrategy[Any]:
    """Documents that resemble ``shape``."""
    if isinstance(shape, StructureShape):
        if depth > 6:
            return anything
        required = {name: like(shape.members[name], depth + 1) for name in shape.required_members}
        optional = {
            name: like(member, depth + 1) for name, member in shape.members.items() if name not in required
        }
        return st.fixed_dictionaries(required, optional=optional) | anything
    if isinstance(shape, ListShape):
        return st.lists(like(shape.member, depth + 1), max_size=3)
    if isinstance(shape, MapShape):
        return st.dictionaries(st.text(max_size=6), like(shape.value, depth + 1), max_size=3)
    choices = getattr(shape, "enum", None)
    usual = {"integer": st.integers(), "long": st.integers(), "boolean": st.booleans(), "string": st.text()}
    return st.sampled_from(choices) if choices else usual.get(shape.type_name, anything)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_documents_that_resemble_requests(victim: Victim, operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    assert shape is not None

    @QUICK
    @given(request=st.one_of(like(shape), anything))
    def run(request: object) -> None:
        assert_clean(victim.ask(operation, request), request)

    run()
    victim.check()


@QUICK
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_bodies_that_are_no_json(victim: Victim, body: bytes) -> None:
    for operation in ("CreateTrainingJob", "Search"):
        assert_clean(victim.ask(operation, body), body)


@pytest.mark.parametrize("operation", ["CreateTrainingJob", "AddTags", "Search", "StopAutoMLJob", "Nothing", ""])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 300_000,
        b'{"TrainingJobName":"' + b"\\u0000" * 1_000_000 + b'"}',
        b'{"TrainingJobName":' + b"9" * 5_000 + b"}",
        b'{"MaxResults":1' + b"0" * 1_000_000 + b"}",
        b"{" + b",".join(b'"k%d":0' % number for number in range(200_000)) + b"}",
        b'{"Tags":[' + b"{}," * 500_000 + b"{}]}",
        b'{"TrainingJobName":"\xff\xfe"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"a":1}{"a":2}',
        b'{"TrainingJobName":"x"' + b" " * (8 << 20) + b"}",
    ],
    ids=range(12),
)
def test_large_deep_and_misencoded_bodies(victim: Victim, operation: str, body: bytes) -> None:
    assert_clean(victim.ask(operation, body))


def test_memory_is_bounded_under_large_bodies(victim: Victim) -> None:
    before = victim.memory_mib()
    body = b'{"TrainingJobName":"' + b"x" * (7 << 20) + b'"}'
    for _ in range(30):
        assert_clean(victim.ask("DescribeTrainingJob", body))
    victim.check()
    assert victim.memory_mib() - before < 150


HEADERS: list[dict[str, str]] = [
    {"X-Amz-Target": "SageMaker.__class__"},
    {"X-Amz-Target": "SageMaker."},
    {"X-Amz-Target": "SageMaker.Search.Search"},
    {"X-Amz-Target": ".Search"},
    {"X-Amz-Target": "sagemaker.Search"},
    {"X-Amz-Target": "SageMaker." + "x" * 20_000},
    {"X-Amz-Target": "SageMaker.\u00e9<b>"},
    {"X-Amz-Target": "AWSPriceListService.../../x"},
    {"X-Amz-Target": "ServiceQuotasV20190624.GetServiceQuota"},
    {
        "X-Amz-Target": "NoSuchService_1.Do",
        "Authorization": "Credential=a/20200101/us-east-1/nothing/aws4_request",
    },
    {"X-Amz-Target": "SageMaker.ListTrainingJobs", "Authorization": "x" * 30_000},
    {"X-Amz-Target": "SageMaker.ListTrainingJobs", "Authorization": "Credential=a/20200101/../../x/aws4_request"},
    {
        "X-Amz-Target": "SageMaker.CreateTrainingJob",
        "Authorization": f"Credential=a/20200101/{'z' * 300}/sagemaker/aws4_request",
    },
    {"X-Amz-Target": "SageMaker.Search", "Content-Type": "text/html", "Accept": "text/html"},
    {"X-Amz-Target": "SageMaker.Search", "Content-Type": "multipart/form-data"},
    {"X-Amz-Target": "SageMaker.Search", "Host": "../../etc"},
    {"X-Amz-Target": "SageMaker.Search", "Host": ""},
    {"X-Amz-Target": "SageMaker.Search", "Content-Length": "abc"},
    {"X-Amz-Target": "SageMaker.Search", "Content-Length": "-5"},
    {"X-Amz-Target": "SageMaker.Search", "Content-Length": "9" * 100},
    {"X-Amz-Target": "SageMaker.Search", "Content-Encoding": "gzip"},
    {"X-Amz-Target": "SageMaker.Search", "Transfer-Encoding": "chunked"},
    {"X-Amz-Target": "SageMaker.Search", "Cookie": "a=b; " * 2_000},
]


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_strange_headers(victim: Victim, number: int) -> None:
    body = b"0\r\n\r\n" if "Transfer-Encoding" in HEADERS[number] else b"{}"
    answer = victim.send("/", body if "Content-Length" not in HEADERS[number] else b"", HEADERS[number])
    assert answer.status in (200, 400, 403, 404, 413)
    if answer.kind != "application/xml":  # no target that anybody knows: S3, as moto has it
        assert answer.kind.startswith(JSON_TYPE)
        assert isinstance(json.loads(answer.body), dict)
    victim.check()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get"])
def test_strange_methods(victim: Victim, method: str) -> None:
    answer = victim.send("/", b"{}", {"X-Amz-Target": "SageMaker.Search"}, method)
    assert (answer.status, answer.kind) == (405, JSON_TYPE)


PAGES = [
    ("GET", "health"), ("GET", "jobs"), ("GET", "interrupt_rules"), ("POST", "interrupt_rules"),
    ("POST", "interrupt"), ("GET", "scenario"), ("PUT", "scenario"), ("GET", "../etc/passwd"),
    ("POST", "health"), ("PUT", "shutdown"), ("GET", "shutdown"), ("DELETE", "jobs"), ("GET", ""),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name"), PAGES)
def test_own_pages(victim: Victim, method: str, name: str) -> None:
    values = strange(victim.token)
    shapes = [{}, {"job_name": "x"}, {"name_prefix": "x", "after_s": 1}, {"schema": 1, "faults": []}]
    for value in values:
        documents = [value, *({**shape, key: value} for shape in shapes for key in (*shape, "x"))]
        if method != "POST" and method != "PUT":
            documents = documents[:2]
        for document in documents:
            answer = victim.page(method, name, json.dumps(document).encode())
            assert answer.status in (200, 400, 404), (answer, document)
            assert "json" in answer.kind
            json.loads(answer.body)
    for body in (b"\xff", b"[" * 100_000, b"{", b'"' * 99):
        assert victim.page(method, name, body).status in (200, 400, 404)
    victim.page("PUT", "scenario", b'"calm"')
    victim.check()


FAULTS = [
    "interruption", "interruption_trace", "capacity_error", "internal_error", "lost_checkpoint_upload", "throttle",
    "request_error", "slow_response", "stale_read", "log_lag", "empty_log_page", "clock_skew", "emulator_killed",
]  # fmt: skip
MEMBERS = ["after_s", "until_s", "times", "probability", "operations", "rate_per_s", "lag_s", "seconds", "at_s"]


def test_scenarios(victim: Victim) -> None:
    kept = victim.page("GET", "scenario").body

    @QUICK
    @given(
        kind=st.sampled_from(FAULTS) | st.text(),
        rest=st.dictionaries(st.sampled_from(MEMBERS), anything),
        more=anything,
    )
    def run(kind: str, rest: dict[str, Any], more: object) -> None:
        document = {"schema": 1, "faults": [{**rest, "kind": kind}, more]}
        answer = victim.page("PUT", "scenario", json.dumps(document).encode())
        assert answer.status == 400
        assert json.loads(answer.body)["message"]

    run()
    assert victim.page("GET", "scenario").body == kept
    victim.check()
