"""Hostile requests to the smaller services, under a scenario, and very many of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_emulator_fuzz import CODES, HEADERS, MODEL, OPERATIONS, anything, assert_clean, like, strange
from test_emulator_fuzz_wire import GARBAGE, assert_served, exchange, keys
from victim import JSON_TYPE, ROLE, Victim

from cloudtune.emulator.control.validation import load_model

# Every kind of fault that looks at requests; none of them strikes.
SCENARIO = {
    "schema": 1,
    "faults": [
        {"kind": "throttle", "operations": ["*:Describe*", "s3:*"], "per_s": 1e6, "burst": 1e6},
        {"kind": "request_error", "operations": ["*:*"], "error": "connection_reset", "probability": 0.0},
        {"kind": "request_error", "operations": ["s3:*"], "error": "connection_reset", "key": "nobody*"},
        {"kind": "slow_response", "operations": ["logs:*"], "latency_s": 0.0},
        {"kind": "log_lag", "lag_s": 0.0},
    ],
}
SERVICES = {
    "AWSPriceListService": ("pricing", ["GetProducts", "DescribeServices", "GetAttributeValues"]),
    "ServiceQuotasV20190624": ("service-quotas", ["GetServiceQuota", "ListServiceQuotas"]),
    "Logs_20140328": ("logs", ["FilterLogEvents", "GetLogEvents", "DescribeLogStreams"]),
}


def many(count: int) -> Any:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=checks)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(SCENARIO), encoding="utf-8")
    with Victim(folder, "--max_parallel_jobs", "1", "--scenario", str(scenario)) as started:
        started.rig()  # makes the bucket
        yield started
        started.check()
        started.shut_down()


@pytest.mark.parametrize("target", SERVICES)
def test_the_smaller_services(victim: Victim, target: str) -> None:
    """Answers of moto's own may be failures, if clean ones."""
    service, operations = SERVICES[target]
    model = load_model(service)
    shapes = {name: model.operation_model(name).input_shape for name in operations}
    choices = [st.tuples(st.just(name), like(shape) | anything) for name, shape in shapes.items() if shape]

    scope = f"20200101/us-east-1/{model.signing_name}/aws4_request"
    signed = f"AWS4-HMAC-SHA256 Credential=a/{scope}, Signature=0"

    @many(150)
    @given(asked=st.one_of(choices))
    def run(asked: tuple[str, object]) -> None:
        headers = {"X-Amz-Target": f"{target}.{asked[0]}", "Content-Type": JSON_TYPE, "Authorization": signed}
        answer = victim.send("/", json.dumps(asked[1]).encode(), headers)
        assert answer.kind.startswith("application/"), answer
        document = json.loads(answer.body)
        assert answer.status < 500 or document["__type"] == "InternalFailure", (answer, asked)

    run()
    victim.check()


ACTIONS = ["GetRole", "SimulatePrincipalPolicy", "ListAttachedRolePolicies", "CreateRole", "AttachRolePolicy", "x"]


def test_forms_of_iam_and_sts(victim: Victim) -> None:
    texts = [value for value in strange(victim.token) if isinstance(value, str) and "\ud800" not in value]
    for service in ("iam", "sts"):
        signed = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/{service}/aws4_request",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        for action in ACTIONS:
            for text in texts:
                form = {
                    "Action": action,
                    "RoleName": text,
                    "PolicySourceArn": text,
                    "ActionNames.member.1": text[:999],
                }
                form |= {"AssumeRolePolicyDocument": text, "PolicyArn": f"arn:aws:iam::aws:policy/{text[:99]}"}
                assert_served(victim.send("/", urlencode(form).encode(), signed), (action, text[:99]))
        for body in (b"&&&===", b"Action=%ff%00", b"\xff\xfe", b"Action=GetRole&" * 5_000, b""):
            assert_served(victim.send("/", body, signed), body[:50])
        victim.check()


def test_policies_that_are_none(victim: Victim) -> None:
    """They are read when a role is asked for what it may do."""
    iam = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/iam/aws4_request",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    documents = ["", "{", "[]", "null", '"x"', '{"Statement": 5}', '{"Statement": [null, 5, {}]}', "[" * 90_000]
    documents += ['{"Statement": {"Effect": "Allow", "Action": {"a": 1}, "Resource": [null], "Principal": 3}}']
    for number, document in enumerate(documents):
        name = f"role-{number}"
        for form in (
            {"Action": "CreateRole", "RoleName": name, "AssumeRolePolicyDocument": document},
            {"Action": "PutRolePolicy", "RoleName": name, "PolicyName": "p", "PolicyDocument": document},
            {
                "Action": "SimulatePrincipalPolicy",
                "PolicySourceArn": f"arn:aws:iam::123456789012:role/{name}",
                "ActionNames.member.1": "s3:GetObject",
            },
        ):
            assert_served(victim.send("/", urlencode(form).encode(), iam), form)
        request = {"TrainingJobName": "x", "RoleArn": f"arn:aws:iam::123456789012:role/{name}"}
        assert_clean(victim.ask("CreateTrainingJob", request))
    victim.check()


def test_under_a_scenario_requests_are_told_apart_without_trust(victim: Victim) -> None:
    for value in strange(victim.token):
        for document in (value, {"TrainingJobName": value}, {"logGroupName": value}, {"ResourceArn": value}):
            assert_clean(victim.ask("DescribeTrainingJob", document), document)
    for headers in HEADERS:
        body = b"0\r\n\r\n" if "Transfer-Encoding" in headers else b"{}"
        answer = victim.send("/", b"" if "Content-Length" in headers else body, headers)
        assert answer.status < 500, (answer, headers)
        assert answer.kind in (JSON_TYPE, "application/xml"), (answer, headers)
    for content in GARBAGE:
        received = exchange(victim, content)
        assert b"<html" not in received.lower(), (content[:99], received)
        assert not received.startswith((b"HTTP/1.1 500", b"HTTP/1.0 500")), (content[:99], received)
    for key in keys(victim.token):
        for method in ("PUT", "GET", "POST", "DELETE"):
            assert_served(victim.send(f"/{quote(key, safe='')}", b"x", {}, method), (method, key))
    victim.check()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_very_many_documents(victim: Victim, operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    assert shape is not None
    defaults: dict[str, Any] = {"RoleArn": ROLE}

    @many(4_000)
    @given(request=like(shape), more=st.dictionaries(st.sampled_from(list(shape.members)), anything, max_size=2))
    def run(request: object, more: dict[str, Any]) -> None:
        document = {**defaults, **request, **more} if isinstance(request, dict) else request
        answer = victim.ask(operation, document)
        assert_clean(answer, document)
        assert answer.status == 200 or answer.error in CODES

    run()
    victim.check()
