"""Each rule of the table: a request that breaks just that one, and one on the right side of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from emulator_desk import REQUEST, ROLE, Desk, changed
from moto.iam.models import iam_backends

from cloudtune.emulator.fleet.job_states import Phase
from cloudtune.emulator.service_error import ServiceError
from cloudtune.emulator.settings import ACCOUNT_ID

Changes = tuple[tuple[str, Any], ...]
SPOT: Changes = (("EnableManagedSpotTraining", True), ("StoppingCondition.MaxWaitTimeInSeconds", 600))
NO_INSTANCES: Changes = (("ResourceConfig.InstanceType", None), ("ResourceConfig.InstanceCount", None))
CHANNEL = REQUEST["InputDataConfig"][0]


def groups(*names: str, count: int = 1) -> Changes:
    found = [{"InstanceType": "ml.m5.large", "InstanceCount": count, "InstanceGroupName": name} for name in names]
    return (*NO_INSTANCES, ("ResourceConfig.InstanceGroups", found))


def preferences(*items: dict[str, Any]) -> Changes:
    return (*NO_INSTANCES, ("ResourceConfig.InstancePreferences", list(items)))


def channel(uri: str, **more: Any) -> dict[str, Any]:
    source = {**CHANNEL["DataSource"]["S3DataSource"], "S3Uri": uri, **more}
    return {**CHANNEL, "DataSource": {"S3DataSource": source}}


def rules(*names: str) -> list[dict[str, Any]]:
    return [{"RuleConfigurationName": name, "RuleEvaluatorImage": "image"} for name in names]


LARGE, XLARGE = {"InstanceType": "ml.m5.large"}, {"InstanceType": "ml.m5.xlarge"}
BASE_MODEL = "arn:aws:sagemaker:us-east-1:aws:hub-content/Hub/Model/base"
PLAN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT_ID}:training-plan/mine"

#: Row of the table: what breaks the rule; the text that the message must hold; what keeps it.
CREATE: dict[str, tuple[Changes, str, Changes]] = {
    "create.serverless": (
        (("ServerlessJobConfig", {"JobType": "FineTuning", "BaseModelArn": BASE_MODEL}),),
        "serverless",
        (),
    ),
    "create.algorithm.required": ((("AlgorithmSpecification", None),), "AlgorithmSpecification", ()),
    "create.algorithm.one-source": (
        (("AlgorithmSpecification.TrainingImage", None),),
        "either an algorithm name or a training image",
        (),
    ),
    "create.algorithm.exists": (
        (("AlgorithmSpecification", {"AlgorithmName": "mine", "TrainingInputMode": "File"}),),
        "'mine'",
        (),
    ),
    "create.algorithm.vpc-image": (
        (("AlgorithmSpecification.TrainingImageConfig", {"TrainingRepositoryAccessMode": "Vpc"}),),
        "VpcConfig",
        (
            ("AlgorithmSpecification.TrainingImageConfig", {"TrainingRepositoryAccessMode": "Vpc"}),
            ("VpcConfig", {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}),
        ),
    ),
    "create.resources.required": ((("ResourceConfig", None),), "ResourceConfig", ()),
    "create.resources.selected": ((("ResourceConfig.SelectedInstanceType", "ml.m5.large"),), "read-only", ()),
    "create.resources.training-plan": ((("ResourceConfig.TrainingPlanArn", PLAN),), PLAN, ()),
    "create.resources.instances": ((("ResourceConfig.InstanceType", None),), "InstanceType", groups("a")),
    "create.resources.count": ((("ResourceConfig.InstanceCount", 0),), "at least 1", ()),
    "create.resources.groups-exclude": (
        (("ResourceConfig.InstanceGroups", groups("a")[-1][1]),),
        "excludes",
        groups("a"),
    ),
    "create.resources.groups-unique": (groups("a", "a"), "unique", groups("a", "b")),
    "create.preferences.exclusive": (
        (("ResourceConfig.InstancePreferences", [LARGE]),),
        "mutually exclusive with InstanceType",
        (("ResourceConfig.InstanceType", None), ("ResourceConfig.InstancePreferences", [LARGE])),
    ),
    "create.preferences.unique": (
        (*preferences(LARGE, LARGE), ("ResourceConfig.InstanceCount", 1)),
        "only once",
        (*preferences(LARGE, XLARGE), ("ResourceConfig.InstanceCount", 1)),
    ),
    "create.preferences.count": (
        preferences({**LARGE, "InstanceCount": 1}, XLARGE),
        "each of the InstancePreferences",
        preferences({**LARGE, "InstanceCount": 2}, {**XLARGE, "InstanceCount": 1}),
    ),
    "create.warm-pool.spot": (
        (*SPOT, ("ResourceConfig.KeepAlivePeriodInSeconds", 1)),
        "managed spot",
        (*SPOT, ("ResourceConfig.KeepAlivePeriodInSeconds", 0)),
    ),
    "create.warm-pool.groups": (
        (*groups("a"), ("ResourceConfig.KeepAlivePeriodInSeconds", 1)),
        "heterogeneous",
        (("ResourceConfig.KeepAlivePeriodInSeconds", 21_600),),
    ),
    "create.limits.runtime": (
        (("StoppingCondition.MaxRuntimeInSeconds", 28 * 86_400 + 1),),
        "above the limit",
        (("StoppingCondition.MaxRuntimeInSeconds", 28 * 86_400),),
    ),
    "create.spot.wait-alone": (
        (("StoppingCondition.MaxWaitTimeInSeconds", 600),),
        "may only be specified for managed spot",
        SPOT,
    ),
    "create.spot.wait-missing": (
        (("EnableManagedSpotTraining", True),),
        "must be specified for managed spot training",
        SPOT,
    ),
    "create.spot.wait-short": (
        (*SPOT, ("StoppingCondition.MaxWaitTimeInSeconds", 599)),
        "greater than or equal to MaxRuntimeInSeconds",
        (
            *SPOT,
            ("StoppingCondition.MaxRuntimeInSeconds", None),
            ("StoppingCondition.MaxWaitTimeInSeconds", 86_400),
        ),
    ),
    "create.vpc.ids": (
        (("VpcConfig", {"SecurityGroupIds": ["sg-1"], "Subnets": ["vpc-1"]}),),
        "subnet-xxxxxxxx",
        (("VpcConfig", {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}),),
    ),
    "create.texts.nul": ((("Environment", {"A": "a\0b"}),), "NUL", (("Environment", {"A": "a\nb"}),)),
    "create.metrics.regex": (
        (("AlgorithmSpecification.MetricDefinitions", [{"Name": "m", "Regex": "(a"}]),),
        "'(a'",
        (("AlgorithmSpecification.MetricDefinitions", [{"Name": "m", "Regex": "(a)"}]),),
    ),
    "create.channels.unique": (
        (("InputDataConfig", [CHANNEL, CHANNEL]),),
        "unique",
        (("InputDataConfig", [CHANNEL, {**CHANNEL, "ChannelName": "other"}]),),
    ),
    "create.channels.one-source": (
        (("InputDataConfig", [{**CHANNEL, "DataSource": {}}]),),
        "exactly one data source",
        (),
    ),
    "create.channels.groups": (
        (*groups("a"), ("InputDataConfig", [channel("s3://here/code/", InstanceGroupNames=["b"])])),
        "instance groups",
        (*groups("a"), ("InputDataConfig", [channel("s3://here/code/", InstanceGroupNames=["a"])])),
    ),
    "create.checkpoint.path": (
        (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/opt/ml/../ml/checkpoints"}),),
        "/opt/ml/",
        (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/opt/ml/checkpoints/deep"}),),
    ),
    "create.checkpoint.reserved": (
        (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/opt/ml//input/data"}),),
        "reserved",
        (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/opt/ml/inputs"}),),
    ),
    "create.profiler.interval": (
        (("ProfilerConfig", {"ProfilingIntervalInMilliseconds": 300}),),
        "must be one of 100, 200",
        (("ProfilerConfig", {"ProfilingIntervalInMilliseconds": 60_000}),),
    ),
    "create.debugger.unique": (
        (("DebugRuleConfigurations", rules("a", "b")), ("ProfilerRuleConfigurations", rules("a"))),
        "must be unique",
        (("DebugRuleConfigurations", rules("a", "b")), ("ProfilerRuleConfigurations", rules("c"))),
    ),
    "tags.reserved": (
        (("Tags", [{"Key": "AWS:mine", "Value": ""}]),),
        "reserved",
        (("Tags", [{"Key": "aws-mine", "Value": ""}]),),
    ),
    "tags.unique": (
        (("Tags", [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "1"}]),),
        "unique",
        (("Tags", [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "1"}]),),
    ),
    "create.bucket.exists": (
        (("OutputDataConfig.S3OutputPath", "s3://nowhere/x"),),
        "OutputDataConfig.S3OutputPath",
        (("CheckpointConfig", {"S3Uri": "s3://here/c"}),),
    ),
    "create.bucket.region": (
        (("CheckpointConfig", {"S3Uri": "s3://elsewhere/x"}),),
        "eu-west-1",
        (("TensorBoardOutputConfig", {"S3OutputPath": "s3://here/t"}),),
    ),
    "create.input.region": ((("InputDataConfig", [channel("s3://elsewhere/code/")]),), "eu-west-1", ()),
    "create.input.objects": (
        (("InputDataConfig", [channel("s3://here/nothing")]),),
        "No S3 objects found under S3 URL",
        (("InputDataConfig", [channel("s3://here/code/train.p")]),),
    ),
}


COUNT: Changes = (("ResourceConfig.InstanceCount", 1),)
#: Other ways to break a rule.
MORE: list[tuple[str, Changes]] = [
    ("create.preferences.count", (*preferences({**LARGE, "InstanceCount": 1}, XLARGE), *COUNT)),
    ("create.preferences.count", (*preferences({**LARGE, "InstanceCount": 1}), *COUNT)),
    ("create.preferences.count", preferences(LARGE, XLARGE)),
    ("create.preferences.exclusive", (*preferences(LARGE), *COUNT, *SPOT)),
    ("create.resources.count", groups("a", count=0)),
    ("create.resources.count", preferences({**LARGE, "InstanceCount": 0})),
    ("create.resources.training-plan", (*preferences({**LARGE, "TrainingPlanArns": [PLAN]}), *COUNT)),
    ("create.resources.instances", (("ResourceConfig.InstanceCount", None),)),
    ("create.algorithm.one-source", (("AlgorithmSpecification.AlgorithmName", "mine"),)),
    ("create.vpc.ids", (("VpcConfig", {"SecurityGroupIds": ["subnet-1"], "Subnets": ["subnet-1"]}),)),
    ("create.texts.nul", (("AlgorithmSpecification.ContainerArguments", ["a\0"]),)),
    ("create.checkpoint.path", (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/tmp"}),)),
    ("create.checkpoint.reserved", (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/opt/ml/"}),)),
    (
        "create.checkpoint.reserved",
        (("CheckpointConfig", {"S3Uri": "s3://here/c", "LocalPath": "/opt/ml/./model"}),),
    ),
    ("create.debugger.unique", (("ProfilerRuleConfigurations", rules("a", "a")),)),
    ("create.bucket.exists", (("ProfilerConfig", {"S3OutputPath": "s3://nowhere/p"}),)),
    ("create.bucket.exists", (("DebugHookConfig", {"S3OutputPath": "s3://nowhere/d"}),)),
    ("create.input.objects", (("InputDataConfig", [channel("s3://nowhere/code/")]),)),
]


@pytest.mark.parametrize(("row", "broken"), MORE)
def test_create_breaks_a_rule_otherwise(desk: Desk, row: str, broken: Changes) -> None:
    assert desk.refusal("CreateTrainingJob", changed(REQUEST, *broken)).rule == row


LUSTRE = {
    "FileSystemId": "fs-0123456789abcdef0",
    "FileSystemAccessMode": "ro",
    "FileSystemType": "FSxLustre",
    "DirectoryPath": "/data",
}
#: What the service would take.
EMULATOR_ONLY: dict[str, tuple[Changes, str]] = {
    "emulator.hosts": ((("ResourceConfig.InstanceCount", 65),), "1 to 64"),
    "emulator.file-systems": (
        (("InputDataConfig", [{**CHANNEL, "DataSource": {"FileSystemDataSource": LUSTRE}}]),),
        "file systems",
    ),
    "emulator.data-types": (
        (("InputDataConfig", [channel("s3://here/code/", S3DataType="AugmentedManifestFile")]),),
        "S3Prefix and ManifestFile",
    ),
    "emulator.compression": (
        (("InputDataConfig", [{**CHANNEL, "CompressionType": "Gzip"}]),),
        "CompressionType",
    ),
    "emulator.records": ((("InputDataConfig", [{**CHANNEL, "RecordWrapperType": "RecordIO"}]),), "wrap records"),
}


@pytest.mark.parametrize("row", EMULATOR_ONLY)
def test_what_the_emulator_cannot_do(desk: Desk, row: str) -> None:
    broken, text = EMULATOR_ONLY[row]
    error = desk.refusal("CreateTrainingJob", changed(REQUEST, *broken))
    assert (error.rule, error.code) == (row, "ValidationException")
    assert text in error.message


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("row", CREATE)
def test_create_breaks_a_rule(desk: Desk, row: str) -> None:
    broken, text, _ = CREATE[row]
    error = desk.refusal("CreateTrainingJob", changed(REQUEST, *broken))
    assert (error.rule, error.code, error.status) == (row, "ValidationException", 400)
    assert text in error.message


@pytest.mark.parametrize("row", CREATE)
def test_create_keeps_a_rule(desk: Desk, row: str) -> None:
    kept = changed(REQUEST, *CREATE[row][2])
    assert desk.ask("CreateTrainingJob", kept)["TrainingJobArn"].endswith(":training-job/job")
    described = desk.ask("DescribeTrainingJob", {"TrainingJobName": "job"})
    for name, value in kept.items():
        if name not in ("Tags", "StoppingCondition"):
            defaults = {"KmsKeyId": ""} if name == "OutputDataConfig" else {}
            assert described[name] == (value if not defaults else {**defaults, **value})
    assert described["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400, **kept["StoppingCondition"]}


def test_pending_time_is_no_error_on_any_instance(desk: Desk) -> None:
    """limits.pending"""
    desk.ask("CreateTrainingJob", changed(REQUEST, ("StoppingCondition.MaxPendingTimeInSeconds", 1800)))


def test_a_name_is_taken_until_its_job_is_deleted(desk: Desk) -> None:
    desk.ask("CreateTrainingJob", REQUEST)
    error = desk.refusal("CreateTrainingJob", REQUEST)
    assert (error.code, error.rule) == ("ResourceInUse", "create.name.unique")
    desk.ask(
        "CreateTrainingJob",
        changed(REQUEST, ("OutputDataConfig.S3OutputPath", "s3://elsewhere/o"), ("InputDataConfig", None)),
        region="eu-west-1",
    )
    desk.table.get("us-east-1", "job").fail("AlgorithmError: x")
    desk.ask("DeleteTrainingJob", {"TrainingJobName": "job"})
    desk.ask("CreateTrainingJob", REQUEST)


def create_role(name: str, principal: dict[str, Any] | str, effect: str = "Allow") -> str:
    statement = {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"}
    role = iam_backends[ACCOUNT_ID]["aws"].create_role(
        name,
        json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        "/",
        None,
        "",
        [],
        "3600",
    )
    return str(role.arn)


@pytest.mark.parametrize(
    ("principal", "effect", "assumable"),
    [
        ({"Service": "sagemaker.amazonaws.com"}, "Allow", True),
        ({"Service": ["lambda.amazonaws.com", "sagemaker.amazonaws.com"]}, "Allow", True),
        ({"Service": "lambda.amazonaws.com"}, "Allow", False),
        ({"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}, "Allow", False),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_sagemaker_must_be_able_to_assume_the_role(
    desk: Desk, principal: Any, effect: str, assumable: bool, strict: bool
) -> None:
    desk.roles.strict = strict
    request = changed(REQUEST, ("RoleArn", create_role("made", principal, effect)))
    if assumable:
        desk.ask("CreateTrainingJob", request)
    else:
        error = desk.refusal("CreateTrainingJob", request)
        assert (error.code, error.rule) == ("ValidationException", "create.role.assumable")
        assert error.message.startswith(f"Could not assume role {request['RoleArn']}. Please ensure that the role")


def test_a_strict_account_knows_only_the_roles_that_were_created(desk: Desk) -> None:
    desk.ask("CreateTrainingJob", REQUEST)
    desk.roles.strict = True
    assert desk.refusal("CreateTrainingJob", REQUEST).rule == "create.role.assumable"
    foreign = changed(REQUEST, ("RoleArn", ROLE.replace(ACCOUNT_ID, "999999999999")))
    assert desk.refusal("CreateTrainingJob", foreign).rule == "create.role.account"


MISSING = {"TrainingJobName": "nobody"}


@pytest.mark.parametrize(
    "operation", ["DescribeTrainingJob", "StopTrainingJob", "UpdateTrainingJob", "DeleteTrainingJob"]
)
def test_a_job_that_does_not_exist(desk: Desk, operation: str) -> None:
    error = desk.refusal(operation, MISSING)
    assert (error.code, error.message, error.rule) == (
        "ValidationException",
        "Requested resource not found.",
        "job.not-found",
    )


def test_what_has_ended_cannot_be_stopped_or_updated(desk: Desk) -> None:
    desk.ask("CreateTrainingJob", REQUEST)
    assert desk.ask("StopTrainingJob", {"TrainingJobName": "job"}) == {}
    assert desk.ask("StopTrainingJob", {"TrainingJobName": "job"}) == {}
    desk.table.get("us-east-1", "job").fail("AlgorithmError: x")
    error = desk.refusal("StopTrainingJob", {"TrainingJobName": "job"})
    assert (error.rule, error.message) == (
        "stop.ended",
        "The request was rejected because the training job is in status Failed.",
    )
    changes = {"TrainingJobName": "job", "ProfilerConfig": {"DisableProfiler": True}}
    assert desk.refusal("UpdateTrainingJob", changes).rule == "update.ended"


def test_updates(desk: Desk) -> None:
    desk.ask("CreateTrainingJob", changed(REQUEST, ("ProfilerConfig", {"S3OutputPath": "s3://here/p"})))

    def update(**changes: Any) -> str:
        request = {"TrainingJobName": "job", **changes}
        try:
            desk.ask("UpdateTrainingJob", request)
        except ServiceError as error:
            return error.rule
        return ""

    assert update() == "update.nothing"
    assert update(ProfilerConfig={"ProfilingIntervalInMilliseconds": 1}) == "create.profiler.interval"
    assert update(RemoteDebugConfig={"EnableRemoteDebug": True}) == "update.remote-debug"
    assert update(ProfilerConfig={"ProfilingIntervalInMilliseconds": 1000}) == ""
    described = desk.ask("DescribeTrainingJob", {"TrainingJobName": "job"})
    assert described["ProfilerConfig"] == {"S3OutputPath": "s3://here/p", "ProfilingIntervalInMilliseconds": 1000}
    job = desk.table.get("us-east-1", "job")
    job.enter(Phase.downloading)
    assert update(RemoteDebugConfig={"EnableRemoteDebug": True}) == ""
    assert update(ResourceConfig={"KeepAlivePeriodInSeconds": 60}) == ""
    described = desk.ask("DescribeTrainingJob", {"TrainingJobName": "job"})
    assert described["ResourceConfig"] == {**REQUEST["ResourceConfig"], "KeepAlivePeriodInSeconds": 60}


@pytest.mark.parametrize("how", [SPOT, groups("a")])
def test_jobs_without_warm_pools_cannot_be_given_one(desk: Desk, how: Changes) -> None:
    desk.ask("CreateTrainingJob", changed(REQUEST, *how))
    changes = {"TrainingJobName": "job", "ResourceConfig": {"KeepAlivePeriodInSeconds": 60}}
    assert desk.refusal("UpdateTrainingJob", changes).rule == "update.warm-pool"


def test_only_ended_jobs_without_instances_can_be_deleted(desk: Desk) -> None:
    desk.ask("CreateTrainingJob", REQUEST)
    error = desk.refusal("DeleteTrainingJob", {"TrainingJobName": "job"})
    assert (error.code, error.rule) == ("ResourceInUse", "delete.running")
    job = desk.table.get("us-east-1", "job")
    job.enter(Phase.stopping)
    assert desk.refusal("DeleteTrainingJob", {"TrainingJobName": "job"}).rule == "delete.running"
    job.enter(Phase.stopped)
    job.set_warm_pool("Available")
    assert desk.refusal("DeleteTrainingJob", {"TrainingJobName": "job"}).rule == "delete.warm-pool"
    end = {"TrainingJobName": "job", "ResourceConfig": {"KeepAlivePeriodInSeconds": 0}}
    desk.ask("UpdateTrainingJob", end)  # the one change that an ended job with a pool may get
    job.set_warm_pool("Terminated", retained_s=3)
    assert desk.refusal("UpdateTrainingJob", end).rule == "update.ended"
    assert desk.ask("DeleteTrainingJob", {"TrainingJobName": "job"}) == {}
    assert desk.refusal("DescribeTrainingJob", {"TrainingJobName": "job"}).rule == "job.not-found"
