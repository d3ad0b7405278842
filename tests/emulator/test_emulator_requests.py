"""What the control plane refuses and finds, through real clients and as raw requests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulator_rig import BUCKET, Rig, channel, error_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudtune.emulator import SageMakerEmulator

NOTHING = {"InputDataConfig": None, "CheckpointConfig": None}


def raw(url: str, body: bytes = b"{}", **headers: str) -> tuple[int, str, bytes]:
    """Status, content type and body of a POST."""
    request = urllib.request.Request(url, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, response.headers["Content-Type"] or "", response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"] or "", error.read()


def change(request: dict[str, Any], path: str, value: object) -> None:
    """Sets (or, for None, removes) the member at a dotted path."""
    *parents, last = path.split(".")
    for name in parents:
        request = request.setdefault(name, {})
    if value is None:
        request.pop(last, None)
    else:
        request[last] = value


BAD_MEMBERS: list[tuple[str, object, str]] = [
    (
        "TrainingJobName",
        "bad_name!",
        "1 validation error detected: Value 'bad_name!' at 'trainingJobName' failed to ",
    ),
    (
        "TrainingJobName",
        "bad_name!",
        "failed to satisfy constraint: Member must satisfy regular expression pattern",
    ),
    ("TrainingJobName", "x" * 64, "length less than or equal to 63"),
    ("TrainingJobName", "ends-", "regular expression"),
    ("RoleArn", "arn:aws:iam::1:role/x", "'roleArn'"),
    ("ResourceConfig.InstanceType", "ml.foo", "enum value set"),
    ("ResourceConfig.KeepAlivePeriodInSeconds", 21_601, "less than or equal to 21600"),
    ("HyperParameters", {str(i): "x" for i in range(101)}, "length less than or equal to 100"),
    (
        "HyperParameters",
        {"a": "x" * 2501},
        "Map value must satisfy constraint: [Member must have length less than",
    ),
    ("Environment", {"1x": "v"}, "Map key must satisfy"),
    ("Environment", {"x": "a\0b"}, "NUL"),
    ("Tags", [{"Key": str(i), "Value": ""} for i in range(51)], "less than or equal to 50"),
    ("Tags", [{"Key": "a#b", "Value": "x"}], "'tags.1.member.key'"),
    ("AlgorithmSpecification.ContainerArguments", ["x" * 257], "less than or equal to 256"),
    ("AlgorithmSpecification.MetricDefinitions", [{"Name": "m", "Regex": "("}], "'('"),
    ("AlgorithmSpecification.TrainingImage", None, "either an algorithm name or a training image"),
    ("OutputDataConfig.S3OutputPath", "s3://no-such-bucket/x", "does not exist"),
    ("CheckpointConfig", {"S3Uri": "s3://no-such-bucket/x"}, "CheckpointConfig.S3Uri"),
    ("CheckpointConfig", {"S3Uri": f"s3://{BUCKET}/x", "LocalPath": "/etc"}, "/opt/ml/"),
    ("CheckpointConfig", {"S3Uri": f"s3://{BUCKET}/x", "LocalPath": "/opt/ml/../../etc"}, "/opt/ml/"),
    ("InputDataConfig", [channel("a", f"s3://{BUCKET}/nothing-here")], "No S3 objects found under S3 URL"),
    ("InputDataConfig", [channel("../up", f"s3://{BUCKET}/code")], "'inputDataConfig.1.member.channelName'"),
    ("StoppingCondition", {"MaxRuntimeInSeconds": 28 * 86_400 + 1}, "above the limit"),
    ("StoppingCondition", {"MaxRuntimeInSeconds": 9, "MaxWaitTimeInSeconds": 10}, "managed spot"),
    ("EnableManagedSpotTraining", True, "MaxWaitTimeInSeconds must be specified"),
    ("RetryStrategy", {"MaximumRetryAttempts": 31}, "value less than or equal to 30"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_MEMBERS)
def test_create_refuses(rig: Rig, path: str, value: object, message: str) -> None:
    request = rig.request("refused", **NOTHING)
    change(request, path, value)
    found = error_of(rig.sagemaker.create_training_job, **request)
    assert found[0] == "ValidationException"
    assert message in found[1]


def test_spot_rules(rig: Rig) -> None:
    request = rig.request("spot-rules", spot=True, **NOTHING)
    request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 599
    assert (
        "greater than or equal to MaxRuntimeInSeconds" in error_of(rig.sagemaker.create_training_job, **request)[1]
    )
    request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 600
    request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = 60
    assert "not supported for managed spot" in error_of(rig.sagemaker.create_training_job, **request)[1]


def test_names_are_unique_and_freed_by_deletion(rig: Rig) -> None:
    rig.run("unique", "", Tags=[{"Key": "a", "Value": "1"}])
    code, message = error_of(rig.sagemaker.create_training_job, **rig.request("unique"))
    assert code == "ResourceInUse"
    assert "already exists" in message
    rig.sagemaker.delete_training_job(TrainingJobName="unique")
    assert error_of(rig.sagemaker.describe_training_job, TrainingJobName="unique")[0] == "ValidationException"
    assert rig.run("unique", "")["TrainingJobStatus"] == "Completed"


def test_a_client_learns_which_rule_it_broke(rig: Rig) -> None:
    """As docs/emulator.md says."""
    request = rig.request("which-rule", **NOTHING)
    request["OutputDataConfig"] = {"S3OutputPath": "s3://no-such-bucket/x"}
    with pytest.raises(ClientError) as refused:
        rig.sagemaker.create_training_job(**request)
    headers = refused.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-emulator-rule"] == "create.bucket.exists"
    assert refused.value.response["ResponseMetadata"]["RequestId"]


def test_missing_members_are_named_all_at_once(rig: Rig) -> None:
    headers = {"X_Amz_Target": "SageMaker.CreateTrainingJob", "Content_Type": "application/x-amz-json-1.1"}
    status, _, body = raw(rig.endpoint_url, b'{"OutputDataConfig": {}}', **headers)
    answer = json.loads(body)
    assert status == 400
    assert answer["message"].startswith("3 validation errors detected: Value null at 'trainingJobName'")
    assert "'outputDataConfig.s3OutputPath'" in answer["message"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xff", b"1", b"[" * 100_000, b'{"TrainingJobName": 5}']
)
@pytest.mark.parametrize("operation", ["CreateTrainingJob", "Search", "AddTags", "NoSuchOperation"])
def test_malformed_bodies_get_clean_errors(rig: Rig, operation: str, body: bytes) -> None:
    status, kind, answer = raw(rig.endpoint_url, body, X_Amz_Target=f"SageMaker.{operation}")
    assert (status, kind) == (400, "application/x-amz-json-1.1")
    assert json.loads(answer)["__type"] in (
        "SerializationException",
        "ValidationException",
        "UnknownOperationException",
    )


def test_an_unknown_operation_is_no_html(rig: Rig) -> None:
    code, _ = error_of(rig.sagemaker.describe_hub, HubName="x")
    assert code in ("UnknownOperationException", "ValidationException")
    status, kind, body = raw(rig.endpoint_url, X_Amz_Target="SageMaker.StopAutoMLJob")
    assert (status, kind) == (400, "application/x-amz-json-1.1")
    assert json.loads(body)["__type"] == "UnknownOperationException"


def test_a_web_page_cannot_run_jobs(rig: Rig) -> None:
    headers = {"Origin": "https://example.com", "X_Amz_Target": "SageMaker.CreateTrainingJob"}
    assert raw(rig.endpoint_url, **headers)[0] == 403
    assert raw(f"{rig.endpoint_url}/_emulator/shutdown", Origin="https://example.com")[0] == 403


def test_an_enormous_request_is_refused(rig: Rig) -> None:
    body = b'{"TrainingJobName": "' + b"x" * (9 << 20) + b'"}'
    status, _, answer = raw(rig.endpoint_url, body, X_Amz_Target="SageMaker.DescribeTrainingJob")
    assert status == 413
    assert json.loads(answer)["__type"] == "RequestEntityTooLarge"


def test_neighbours_work(rig: Rig, emulator: SageMakerEmulator) -> None:
    identity = rig.client("sts").get_caller_identity()
    assert identity["Account"] == emulator.account_id
    iam = rig.client("iam")
    name = emulator.role_arn.rpartition("/")[2]
    assert iam.get_role(RoleName=name)["Role"]["Arn"] == emulator.role_arn
    assert iam.get_role(RoleName="any-other")["Role"]["RoleName"] == "any-other"
    results = iam.simulate_principal_policy(
        PolicySourceArn=emulator.role_arn, ActionNames=["s3:GetObject", "s3:*"]
    )
    assert [item["EvalDecision"] for item in results["EvaluationResults"]] == ["allowed", "allowed"]
    with pytest.raises(rig.s3.exceptions.NoSuchBucket):
        rig.s3.list_objects_v2(Bucket="nowhere")


def test_tags(rig: Rig) -> None:
    rig.run("tagged", "", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    arn = rig.describe("tagged")["TrainingJobArn"]
    rig.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    rig.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["b"])
    assert rig.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    many = [{"Key": str(number), "Value": ""} for number in range(50)]
    assert error_of(rig.sagemaker.add_tags, ResourceArn=arn, Tags=many)[0] == "ResourceLimitExceeded"


@pytest.fixture(scope="module")
def listed(rig: Rig) -> list[str]:
    names = [f"listed-{number:02d}" for number in range(12)]
    for number, name in enumerate(names):
        tags = [{"Key": "parity", "Value": str(number % 2)}]
        algorithm = {**rig.request(name)["AlgorithmSpecification"]}
        algorithm["MetricDefinitions"] = [{"Name": "score", "Regex": "score=([0-9]+)"}]
        code = f"print('score={number}')\nsys.exit({int(number == 3)})"
        parameters = {"lr": str(number / 10)}
        rig.submit(name, code, Tags=tags, HyperParameters=parameters, AlgorithmSpecification=algorithm)
    for name in names:
        rig.ended(name)
    return names


def test_list_pages_filters_and_sorts(rig: Rig, listed: list[str]) -> None:
    first = rig.sagemaker.list_training_jobs(NameContains="listed", SortBy="Name")
    names = [item["TrainingJobName"] for item in first["TrainingJobSummaries"]]
    assert names == listed[:10]  # the service's page
    rest = rig.sagemaker.list_training_jobs(NameContains="listed", SortBy="Name", NextToken=first["NextToken"])
    assert [item["TrainingJobName"] for item in rest["TrainingJobSummaries"]] == listed[10:]
    assert "NextToken" not in rest
    pages = rig.sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="listed", SortOrder="Descending", PaginationConfig={"PageSize": 5}
    )
    assert [item["TrainingJobName"] for page in pages for item in page["TrainingJobSummaries"]] == listed[::-1]
    failed = rig.sagemaker.list_training_jobs(NameContains="listed", StatusEquals="Failed")["TrainingJobSummaries"]
    assert [(item["TrainingJobName"], item["SecondaryStatus"]) for item in failed] == [("listed-03", "Failed")]
    after = rig.describe(listed[5])["CreationTime"]
    later = rig.sagemaker.list_training_jobs(NameContains="listed", CreationTimeAfter=after)[
        "TrainingJobSummaries"
    ]
    assert listed[-1] in [item["TrainingJobName"] for item in later]
    assert error_of(rig.sagemaker.list_training_jobs, NextToken="nonsense")[0] == "ValidationException"


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ([("Tags.parity", "Equals", "1"), ("TrainingJobStatus", "Equals", "Failed")], [3]),
        ([("Tags.parity", "Equals", "0"), ("TrainingJobStatus", "Equals", "Failed")], []),
        ([("HyperParameters.lr", "GreaterThan", "0.9")], [10, 11]),
        ([("Metrics.score", "LessThanOrEqualTo", "1")], [0, 1]),
        ([("TrainingJobName", "In", "listed-01, listed-07")], [1, 7]),
        ([("TrainingJobName", "Contains", "-1")], [10, 11]),
        ([("FailureReason", "Exists", None)], [3]),
        ([("Tags.parity", "NotEquals", "0")], [1, 3, 5, 7, 9, 11]),
        ([("CreationTime", "LessThan", "2001-01-01T00:00:00")], []),
        ([("ResourceConfig.InstanceType", "Equals", "ml.m5.large")], list(range(12))),
    ],
)
def test_search(
    rig: Rig, listed: list[str], filters: list[tuple[str, str, str | None]], numbers: list[int]
) -> None:
    wanted = [
        {"Name": name, "Operator": operator, **({"Value": value} if value is not None else {})}
        for name, operator, value in filters
    ]
    if not any(operator == "Contains" for _, operator, _ in filters):
        wanted.append({"Name": "TrainingJobName", "Operator": "Contains", "Value": "listed-"})
    answer = rig.sagemaker.search(
        Resource="TrainingJob",
        SearchExpression={"Filters": wanted},
        SortBy="TrainingJobName",
        SortOrder="Ascending",
        MaxResults=100,
    )
    found = [item["TrainingJob"]["TrainingJobName"] for item in answer["Results"]]
    assert [name for name in found if name in listed] == [listed[number] for number in numbers]


def test_search_pages_and_nests(rig: Rig, listed: list[str]) -> None:
    either = {
        "Operator": "Or",
        "SubExpressions": [
            {"Filters": [{"Name": "TrainingJobName", "Value": "listed-02"}]},
            {
                "Filters": [{"Name": "TrainingJobName", "Value": "listed-04"}],
                "NestedFilters": [
                    {
                        "NestedPropertyName": "InputDataConfig",
                        "Filters": [
                            {"Name": "InputDataConfig.ChannelName", "Operator": "Equals", "Value": "code"}
                        ],
                    }
                ],
            },
        ],
    }
    pages = rig.sagemaker.get_paginator("search").paginate(
        Resource="TrainingJob", SearchExpression=either, SortBy="CreationTime", PaginationConfig={"PageSize": 1}
    )
    found = [item["TrainingJob"] for page in pages for item in page["Results"]]
    assert [item["TrainingJobName"] for item in found] == ["listed-04", "listed-02"]
    assert found[0]["Tags"] == [{"Key": "parity", "Value": "0"}]


def test_waiters_work(rig: Rig) -> None:
    rig.submit("waited-for", "")
    waiter = rig.sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="waited-for", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert rig.describe("waited-for")["TrainingJobStatus"] == "Completed"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    "TrainingJobName", "RoleArn", "AlgorithmSpecification", "AlgorithmSpecification.ContainerEntrypoint",
    "AlgorithmSpecification.MetricDefinitions", "InputDataConfig", "OutputDataConfig.S3OutputPath",
    "ResourceConfig", "ResourceConfig.InstanceCount", "StoppingCondition.MaxRuntimeInSeconds", "Tags",
    "HyperParameters", "Environment",
    "CheckpointConfig", "CheckpointConfig.LocalPath", "EnableManagedSpotTraining", "Unknown",
]  # fmt: skip


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=st.sampled_from(PATHS), value=anything)
def test_any_member_of_any_type_gets_a_clean_answer(rig: Rig, path: str, value: object) -> None:
    request = rig.request("fuzz", **NOTHING)
    request["RoleArn"] = "refused in any case"
    change(request, path, value)
    body = json.dumps(request).encode()
    status, kind, answer = raw(rig.endpoint_url, body, X_Amz_Target="SageMaker.CreateTrainingJob")
    assert (status, kind) == (400, "application/x-amz-json-1.1")
    assert json.loads(answer)["__type"] in ("ValidationException", "SerializationException")


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 10**400])
def test_numbers_beyond_the_services_range(rig: Rig, number: int) -> None:
    request = rig.request("numbers", spot=True, **NOTHING)
    request["StoppingCondition"]["MaxWaitTimeInSeconds"] = number
    body = json.dumps(request).encode()
    status, _, answer = raw(rig.endpoint_url, body, X_Amz_Target="SageMaker.CreateTrainingJob")
    assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")


def test_rules_over_http(rig: Rig) -> None:
    url = f"{rig.endpoint_url}/_emulator"
    status, _, answer = raw(f"{url}/interrupt_rules", b'{"name_prefix": "nobody", "after_s": 3, "notice": true}')
    assert status == 200
    rule = {"name_prefix": "nobody", "after_s": 3, "times": 1, "notice": True, "name_contains": ""}
    assert json.loads(answer) == rule
    for bad in (
        b"[]",
        b'{"after": 3}',
        b'{"after_s": "3"}',
        b'{"after_s": -1}',
        b'{"times": 0}',
        b'{"times": true}',
        b"{",
    ):
        assert raw(f"{url}/interrupt_rules", bad)[0] == 400
    assert raw(f"{url}/nothing")[0] == 404
    assert raw(f"{url}/interrupt", b'{"job_name": "nobody"}')[0] == 400
