"""What clients call on the way to a job: the neighbours of SageMaker; and requests of every odd form."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from emulator_rig import BUCKET, LOG_GROUP, Rig, error_of

from cloudtune.emulator import SageMakerEmulator
from cloudtune.emulator.control.iam import decide
from cloudtune.emulator.faults import Scenario
from cloudtune.instance_info import instance_infos


def exchange(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends the bytes as they are; status, headers and body of the answer."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode())
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


def post(target: str, *lines: str, method: str = "POST") -> bytes:
    """The head of a request of the JSON protocol."""
    return "\r\n".join([f"{method} / HTTP/1.1", "Host: x", f"X-Amz-Target: {target}", *lines, "", ""]).encode()


LIST = "SageMaker.ListTrainingJobs"


def test_a_body_in_chunks(rig: Rig) -> None:
    body = b'13\r\n{"NameContains": "n\r\n8\r\nobody"} \r\n0\r\n\r\n'
    head = post(LIST, "Transfer-Encoding: chunked")
    status, headers, answer = exchange(rig.endpoint_url, head + body)
    assert (status, json.loads(answer)) == (200, {"TrainingJobSummaries": []})
    assert headers["content-type"] == "application/x-amz-json-1.1" and headers["x-amzn-requestid"]
    broken = post(LIST, "Transfer-Encoding: chunked") + b"10\r\n{ nothing more \r\n0\r\n\r\n"
    assert exchange(rig.endpoint_url, broken)[0] == 400
    piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    status, headers, answer = exchange(rig.endpoint_url, head + piece * 9 + b"0\r\n\r\n")
    assert (status, headers["x-emulator-rule"]) == (413, "operation.size")


def test_where_there_are_chunks_a_length_says_nothing(rig: Rig) -> None:
    head = post(LIST, "Transfer-Encoding: chunked", "Content-Length: 10")
    assert exchange(rig.endpoint_url, head + b"2\r\n{}\r\n0\r\n\r\n")[0] == 200
    status, headers, answer = exchange(rig.endpoint_url, head + b"no chunk\r\n")
    assert (status, headers["content-type"]) == (400, "application/x-amz-json-1.1"), answer


def test_no_body_no_length_and_a_wrong_length(rig: Rig) -> None:
    assert exchange(rig.endpoint_url, post(LIST))[0] == 200
    assert exchange(rig.endpoint_url, post(LIST, "Content-Length: many"))[0] == 400
    assert exchange(rig.endpoint_url, post(LIST, "Content-Length: -1"))[0] == 200
    status, headers, _ = exchange(rig.endpoint_url, post(LIST, "Content-Length: 9999999999"))
    assert (status, headers["x-emulator-rule"]) == (413, "operation.size")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_sagemaker_is_asked_by_post(rig: Rig, method: str) -> None:
    status, headers, body = exchange(rig.endpoint_url, post(LIST, method=method))
    assert (status, headers["x-emulator-rule"]) == (405, "operation.method")
    assert bool(body) is (method != "HEAD")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/nothing-here", "/nothing/here?list-type=2", "//", "/%2e%2e/etc/passwd"])
def test_whatever_is_asked_the_answer_is_no_page(rig: Rig, method: str, path: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    _, _, body = exchange(rig.endpoint_url, request)
    assert not body[:9].lower().startswith((b"<!doctype", b"<html")), body


def test_own_pages_answer_in_json(rig: Rig) -> None:
    for method, path, status in (("GET", "health", 200), ("GET", "nothing", 404), ("PUT", "health", 404)):
        request = f"{method} /_emulator/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        found, headers, body = exchange(rig.endpoint_url, request)
        assert found == status and "json" in headers["content-type"] and isinstance(json.loads(body), dict)


UNKNOWN = [
    ("sagemaker", "list_hubs", {}),
    ("sagemaker", "create_algorithm", {"AlgorithmName": "a"}),
    ("iam", "get_context_keys_for_principal_policy", {"PolicySourceArn": "arn:aws:iam::123456789012:role/r"}),
    ("sts", "get_delegated_access_token", {"TradeInToken": "x"}),
    ("rds", "describe_source_regions", {}),
    ("ec2", "describe_mac_hosts", {}),
    ("cloudfront", "list_streaming_distributions", {}),
    ("lambda", "list_code_signing_configs", {}),
    ("textract", "list_adapters", {}),
    ("service-quotas", "list_services", {}),
    ("pricing", "list_price_lists", {}),
]


@pytest.mark.parametrize(("service", "operation", "arguments"), UNKNOWN)
def test_an_operation_that_nobody_answers_is_a_clean_error(
    rig: Rig, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    client = boto3.client(
        service,
        endpoint_url=rig.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"max_attempts": 0}, parameter_validation=False, inject_host_prefix=False),
    )
    code, message = error_of(getattr(client, operation), **arguments)
    assert code in ("UnknownOperationException", "NotImplemented", "InternalFailure"), (code, message)


def test_presigned_urls(rig: Rig) -> None:
    rig.put("presigned/key with space", "content")
    arguments = {"Bucket": BUCKET, "Key": "presigned/key with space"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(rig.s3.generate_presigned_url("get_object", Params=arguments), timeout=60) as answer:
        assert answer.read() == b"content"
    put = urllib.request.Request(
        rig.s3.generate_presigned_url("put_object", Params=arguments), b"new", method="PUT"
    )
    put.add_header("Content-Type", "")
    with opener.open(put, timeout=60) as answer:
        assert answer.status == 200
    assert rig.get("presigned/key with space") == b"new"
    iam = rig.client("iam").generate_presigned_url("get_role", Params={"RoleName": "presigned"}, HttpMethod="GET")
    with opener.open(iam, timeout=60) as answer:
        assert b"<RoleName>presigned</RoleName>" in answer.read()


@pytest.mark.parametrize(
    "host", ["{bucket}.s3.amazonaws.com", "{bucket}.s3.us-east-1.amazonaws.com", "{bucket}.localhost"]
)
def test_buckets_in_the_name_of_the_host(rig: Rig, host: str) -> None:
    rig.put("virtual/host", "content")
    name = host.format(bucket=BUCKET)
    signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    request = f"GET /virtual/host HTTP/1.1\r\nHost: {name}\r\nAuthorization: {signed}\r\n\r\n".encode()
    assert exchange(rig.endpoint_url, request)[2] == b"content"


def test_connections_end_and_leave_nothing_behind(rig: Rig) -> None:
    """Unread bodies are not taken for the next request."""
    refused = post(LIST, "Origin: https://example.com", "Content-Length: 20") + b"POST / HTTP/1.1\r\n\r\n "
    status, headers, _ = exchange(rig.endpoint_url, refused)
    assert (status, headers["connection"], headers["x-emulator-rule"]) == (403, "close", "operation.origin")


def test_roles_come_into_being(rig: Rig, emulator: SageMakerEmulator) -> None:
    """service.iam.get-role"""
    iam = rig.client("iam")
    role = iam.get_role(RoleName="out-of-nothing")["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    emulator.roles.strict = True
    try:
        assert error_of(iam.get_role, RoleName="still-nothing")[0] == "NoSuchEntity"
        assert iam.get_role(RoleName="out-of-nothing")["Role"]["Arn"] == role["Arn"]
    finally:
        emulator.roles.strict = False


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_policies_are_simulated(rig: Rig, emulator: SageMakerEmulator) -> None:
    """service.iam.simulate"""
    iam = rig.client("iam")
    trust = document(
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    )
    arn = iam.create_role(RoleName="limited", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    inline = document(
        {"Effect": "Allow", "Action": ["s3:Get*", "S3:PutObject"], "Resource": "arn:aws:s3:::mine/*"},
        {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::mine/locked/*"},
        {
            "Effect": "Allow",
            "Action": "logs:*",
            "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}},
        },
    )
    iam.put_role_policy(RoleName="limited", PolicyName="inline", PolicyDocument=inline)
    iam.attach_role_policy(
        RoleName="limited", PolicyArn="arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
    )

    def decision(action: str, resource: str = "*", source: str = arn) -> str:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=source, ActionNames=[action], ResourceArns=[resource]
        )
        (result,) = answer["EvaluationResults"]
        assert (result["EvalActionName"], result["EvalResourceName"]) == (action, resource)
        return str(result["EvalDecision"])

    assert decision("s3:GetObject", "arn:aws:s3:::mine/x") == "allowed"
    assert decision("s3:GetObject", "arn:aws:s3:::other/x") == "implicitDeny"
    assert decision("s3:PutObject", "arn:aws:s3:::mine/x") == "allowed"
    assert decision("s3:PutObject", "arn:aws:s3:::mine/locked/x") == "explicitDeny"
    assert decision("logs:PutLogEvents") == "implicitDeny"
    assert decision("ecr:BatchGetImage") == "allowed"
    assert decision("ecr:PutImage") == "implicitDeny"
    assert decision("sagemaker:CreateTrainingJob", source=emulator.role_arn) == "allowed"
    code, _ = error_of(
        iam.simulate_principal_policy,
        PolicySourceArn="arn:aws:iam::123456789012:user/nobody",
        ActionNames=["s3:GetObject"],
    )
    assert code == "NoSuchEntity"


@pytest.mark.parametrize(
    ("statement", "decision"),
    [
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "allowed"),
        ({"Effect": "Allow", "NotAction": ["s3:Get*", "iam:*"], "Resource": "*"}, "implicitDeny"),
        ({"Effect": "Allow", "Action": "s3:GetObjec?", "NotResource": "arn:aws:s3:::other/*"}, "allowed"),
        ({"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::mine/*"}, "implicitDeny"),
        ({"Effect": "Allow", "Action": "s3.GetObject", "Resource": "*"}, "implicitDeny"),
    ],
)
def test_statements(statement: dict[str, Any], decision: str) -> None:
    assert decide([statement], "s3:GetObject", "arn:aws:s3:::mine/x") == decision


def test_quotas_are_those_that_jobs_are_held_to(rig: Rig, emulator: SageMakerEmulator) -> None:
    """service.quotas.get, service.quotas.list"""
    quotas = rig.client("service-quotas")
    emulator.quotas.set_limit("ml.g5.2xlarge", "spot", 3)
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    found = {quota["QuotaName"]: quota for page in pages for quota in page["Quotas"]}
    spot = found["ml.g5.2xlarge for spot training job usage"]
    assert spot["Value"] == 3
    assert found["ml.g5.2xlarge for training warm pool usage"]["Value"] == 0
    assert found["ml.g5.2xlarge for training job usage"]["Value"] == emulator.quotas.limit(
        "ml.g5.2xlarge", "on_demand"
    )
    emulator.quotas.set_limit("ml.g5.2xlarge", "spot", 5)
    again = quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode=spot["QuotaCode"])["Quota"]
    assert again == {**spot, "Value": 5}
    code, _ = error_of(quotas.get_service_quota, ServiceCode="sagemaker", QuotaCode="L-00000000")
    assert code == "NoSuchResourceException"
    assert len({quota["QuotaCode"] for quota in found.values()}) == len(found)
    assert error_of(quotas.list_service_quotas, ServiceCode="sagemaker", NextToken="zzz")[0] == (
        "InvalidPaginationTokenException"
    )


def test_prices_are_those_of_the_package(rig: Rig) -> None:
    """service.pricing"""
    pricing = rig.client("pricing")

    def products(**fields: str) -> list[dict[str, Any]]:
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
        pages = pricing.get_paginator("get_products").paginate(
            ServiceCode="AmazonSageMaker", Filters=filters, PaginationConfig={"PageSize": 40}
        )
        return [json.loads(text) for page in pages for text in page["PriceList"]]

    assert len(products(component="Training", regionCode="us-east-1")) == len(instance_infos())
    (found,) = products(instanceName="ml.g4dn.12xlarge", productFamily="ML Instance")
    (term,) = found["terms"]["OnDemand"].values()
    (rate,) = term["priceDimensions"].values()
    assert float(rate["pricePerUnit"]["USD"]) == instance_infos()("ml.g4dn.12xlarge").price_per_hour
    assert (rate["unit"], found["product"]["attributes"]["gpu"]) == ("Hrs", "4")
    assert products(instanceName="ml.m5.large", regionCode="eu-west-1") == []
    assert pricing.get_products(ServiceCode="AmazonEC2")["PriceList"] == []
    assert error_of(pricing.get_products, ServiceCode="AmazonSageMaker", NextToken="x")[0] == (
        "InvalidNextTokenException"
    )
    values = pricing.get_attribute_values(ServiceCode="AmazonSageMaker", AttributeName="component")
    assert values["AttributeValues"] == [{"Value": "Training"}]
    assert (
        "instanceName" in pricing.describe_services(ServiceCode="AmazonSageMaker")["Services"][0]["AttributeNames"]
    )


def test_moto_answers_for_images_and_networks(rig: Rig) -> None:
    """service.ecr, service.ec2"""
    ecr, ec2 = rig.client("ecr"), rig.client("ec2")
    ecr.create_repository(repositoryName="images")
    ecr.put_image(
        repositoryName="images",
        imageManifest=json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {"digest": "sha256:0"},
                "layers": [],
            }
        ),
        imageTag="one",
    )
    assert ecr.describe_images(repositoryName="images")["imageDetails"][0]["imageTags"] == ["one"]
    assert error_of(ecr.describe_repositories, repositoryNames=["none"])[0] == "RepositoryNotFoundException"
    subnets = ec2.describe_subnets()["Subnets"]
    assert subnets and ec2.describe_vpcs(VpcIds=[subnets[0]["VpcId"]])["Vpcs"]
    assert ec2.describe_security_groups()["SecurityGroups"]


def test_the_default_bucket_as_the_sdks_make_it(rig: Rig) -> None:
    """service.s3.default-bucket"""
    account = rig.client("sts").get_caller_identity()["Account"]
    name = f"sagemaker-us-east-1-{account}"
    with pytest.raises(ClientError) as missing:
        rig.s3.head_bucket(Bucket=name)
    assert missing.value.response["Error"]["Code"] == "404"
    rig.s3.create_bucket(Bucket=name)
    rig.s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    assert name in [bucket["Name"] for bucket in rig.s3.list_buckets()["Buckets"]]


def test_log_events_are_filtered_by_stream(rig: Rig) -> None:
    """service.logs.filter: what `aws logs tail --log-stream-name-prefix` shows."""
    now = int(time.time() * 1000)
    with contextlib.suppress(rig.logs.exceptions.ResourceAlreadyExistsException):
        rig.logs.create_log_group(logGroupName=LOG_GROUP)
    for job, offset in (("tail-a", 0), ("tail-ab", 1), ("tail-c", 2)):
        rig.logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=f"{job}/algo-1-1")
        events = [{"timestamp": now + offset + 10 * number, "message": f"{job} {number}"} for number in range(3)]
        rig.logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=f"{job}/algo-1-1", logEvents=events)

    def tail(**arguments: Any) -> list[str]:
        arguments.setdefault("logGroupName", LOG_GROUP)
        pages = rig.logs.get_paginator("filter_log_events").paginate(**arguments)
        return [event["message"] for page in pages for event in page["events"]]

    assert tail(logStreamNamePrefix="tail-a/") == ["tail-a 0", "tail-a 1", "tail-a 2"]
    assert tail(logStreamNamePrefix="tail-a", limit=2) == [
        f"{job} {number}" for number in range(3) for job in ("tail-a", "tail-ab")
    ]
    assert tail(logStreamNamePrefix="nobody/") == []
    assert tail(logStreamNamePrefix="tail-", filterPattern='"tail-c 1"') == ["tail-c 1"]
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{LOG_GROUP}"
    by_arn = rig.logs.filter_log_events(logGroupIdentifier=arn, logStreamNames=["tail-c/algo-1-1"])
    assert [event["message"] for event in by_arn["events"]] == ["tail-c 0", "tail-c 1", "tail-c 2"]
    code, _ = error_of(
        rig.logs.filter_log_events, logGroupName=LOG_GROUP, logStreamNames=["x"], logStreamNamePrefix="x"
    )
    assert code == "InvalidParameterException"
    code, _ = error_of(rig.logs.filter_log_events, logGroupName="/no/group", logStreamNamePrefix="x")
    assert code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://example.com", False),
        ("null", False),
        ("http://localhost.example.com", False),
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
    ],
)
def test_pages_of_other_sites_reach_nothing(rig: Rig, origin: str, allowed: bool) -> None:
    """Neither S3, where a page could replace what a job runs, nor moto's reset."""
    rig.put("pages/code.py", "mine")
    for path in (f"/{BUCKET}/pages/code.py", "/moto-api/nothing"):
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: 6\r\n"
        signed = (
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        )
        request = f"{head}Authorization: {signed}\r\n\r\ntheirs".encode()
        status, headers, _ = exchange(rig.endpoint_url, request)
        assert (status == 403 and headers.get("x-emulator-rule") == "operation.origin") is not allowed
    assert rig.get("pages/code.py") == (b"theirs" if allowed else b"mine")


@pytest.mark.parametrize("token", ["-1", "\u00b2", "0" * 5_000, "999999999"])
def test_pages_of_prices_that_are_none(rig: Rig, token: str) -> None:
    asked = {"ServiceCode": "AmazonSageMaker", "NextToken": token}
    assert error_of(rig.client("pricing").get_products, **asked)[0] == "InvalidNextTokenException"


@pytest.mark.parametrize("policy", ["{", "[" * 100_000, '{"Statement":' * 9_000])
def test_policies_that_are_no_documents(rig: Rig, policy: str) -> None:
    asked = {"PolicySourceArn": rig.role_arn, "ActionNames": ["s3:GetObject"], "PolicyInputList": [policy]}
    assert error_of(rig.client("iam").simulate_principal_policy, **asked)[0] == "InvalidInput"


def test_an_empty_page_leads_on_when_its_scenario_has_gone(rig: Rig, emulator: SageMakerEmulator) -> None:
    where = {"logGroupName": "/pages", "logStreamName": "job/algo-1"}
    rig.logs.create_log_group(logGroupName="/pages")
    rig.logs.create_log_stream(**where)
    now_ms = int(time.time() * 1000)
    lines = [f"line {number}" for number in range(9)]
    rig.logs.put_log_events(**where, logEvents=[{"timestamp": now_ms, "message": line} for line in lines])
    empty = Scenario.from_json({"schema": 1, "faults": [{"kind": "empty_log_page"}]})
    seen: list[str] = []
    token: dict[str, str] = {}
    for scenario in (empty, "calm", empty, "calm"):
        emulator.apply_scenario(scenario)
        page = rig.logs.get_log_events(**where, startFromHead=True, limit=4, **token)
        assert bool(page["events"]) is (scenario == "calm")
        seen += [event["message"] for event in page["events"]]
        token = {"nextToken": page["nextForwardToken"]}
    assert seen == lines[:8]
    emulator.apply_scenario(empty)
    tail = rig.logs.get_log_events(**where, limit=2)
    assert [event["message"] for event in tail["events"]] == lines[7:]
    emulator.apply_scenario("calm")
