from __future__ import annotations

import json
import math
from typing import Any

import botocore.session
import numpy as np
import pytest
import regex
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cloudtune.aws.cost import highest_cost
from cloudtune.aws.model_rules import compiled_pattern
from cloudtune.aws.training_request import create_training_job_request, legal_tag, validate_request
from cloudtune.errors import SpecError
from cloudtune.instance_info import price_per_hour
from cloudtune.job_spec import TrainingJobSpec, decode_hyperparameters, encode_hyperparameters
from cloudtune.names import legal_name

ROLE = "arn:aws:iam::123456789012:role/service-role/x"
FULL: dict[str, Any] = {
    "name": "tag-mlp-asha-0",
    "image": "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.6.0-gpu-py312",
    "role_arn": ROLE,
    "output_s3_uri": "s3://bucket/cloudtune/tag/out",
    "entrypoint": ("bash", "-c"),
    "arguments": ("exec python boot.py",),
    "hyperparameters": {"lr": 1e-3, "name": 'it\'s "q" ü', "n": 3, "flag": True, "none": None, "list": [1, "a"]},
    "environment": {"CLOUDTUNE_FOLDER": "/opt/ml/x", "EMPTY": ""},
    "instance_type": "ml.g5.2xlarge",
    "instance_count": 2,
    "volume_size_gb": 100,
    "max_run_s": 3600,
    "max_wait_s": 7200,
    "spot": True,
    "checkpoint_s3_uri": "s3://bucket/cloudtune/tag/checkpoints",
    "channels": {"code": "s3://bucket/cloudtune/_code/abc", "data": "s3://bucket/data"},
    "tags": {"cloudtune": "tag", "owner": "Jürgen 東京"},
    "metric_definitions": {"loss": "loss=([0-9.]+)"},
    "subnets": ("subnet-1",),
    "security_group_ids": ("sg-1", "sg-2"),
    "volume_kms_key": "alias/key",
    "output_kms_key": "alias/key",
    "network_isolation": True,
    "retry_attempts": 3,
    "max_pending_s": 3600,
}


def spec(**changes: Any) -> TrainingJobSpec:
    base = {key: FULL[key] for key in ("name", "image", "role_arn", "output_s3_uri")}
    return TrainingJobSpec(**{**base, **changes})


def refusal(**changes: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        validate_request(create_training_job_request(spec(**changes)))
    return caught.value


def test_full_request() -> None:
    request = create_training_job_request(TrainingJobSpec(**FULL))
    validate_request(request)
    assert request == {
        "TrainingJobName": "tag-mlp-asha-0",
        "AlgorithmSpecification": {
            "TrainingImage": FULL["image"],
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["bash", "-c"],
            "ContainerArguments": ["exec python boot.py"],
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/cloudtune/tag/out", "KmsKeyId": "alias/key"},
        "ResourceConfig": {
            "InstanceType": "ml.g5.2xlarge",
            "InstanceCount": 2,
            "VolumeSizeInGB": 100,
            "VolumeKmsKeyId": "alias/key",
        },
        "StoppingCondition": {
            "MaxRuntimeInSeconds": 3600,
            "MaxWaitTimeInSeconds": 7200,
            "MaxPendingTimeInSeconds": 3600,
        },
        "HyperParameters": {
            "lr": "0.001",
            "name": '"it\'s \\"q\\" \\u00fc"',
            "n": "3",
            "flag": "true",
            "none": "null",
            "list": '[1, "a"]',
        },
        "Environment": {"CLOUDTUNE_FOLDER": "/opt/ml/x", "EMPTY": ""},
        "InputDataConfig": [
            {
                "ChannelName": name,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": uri,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
                "InputMode": "File",
            }
            for name, uri in FULL["channels"].items()
        ],
        "CheckpointConfig": {"S3Uri": FULL["checkpoint_s3_uri"], "LocalPath": "/opt/ml/checkpoints"},
        "VpcConfig": {"SecurityGroupIds": ["sg-1", "sg-2"], "Subnets": ["subnet-1"]},
        "EnableManagedSpotTraining": True,
        "EnableNetworkIsolation": True,
        "RetryStrategy": {"MaximumRetryAttempts": 3},
        "Tags": [{"Key": "cloudtune", "Value": "tag"}, {"Key": "owner", "Value": "Jürgen 東京"}],
    }


def test_a_small_request_holds_nothing_that_was_not_asked_for() -> None:
    request = create_training_job_request(spec())
    validate_request(request)
    assert set(request) == {
        "TrainingJobName",
        "AlgorithmSpecification",
        "RoleArn",
        "OutputDataConfig",
        "ResourceConfig",
        "StoppingCondition",
    }
    assert "MaxWaitTimeInSeconds" not in request["StoppingCondition"]
    spot = create_training_job_request(spec(spot=True, max_run_s=100))
    validate_request(spot)
    assert spot["StoppingCondition"] == {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 100 + 86400}


@pytest.mark.parametrize(
    ("changes", "field", "limit"),
    [
        ({"name": "bad_name!"}, "TrainingJobName", "legal name would be: bad-name"),
        ({"name": "x" * 64}, "TrainingJobName", "at most 63"),
        ({"role_arn": "arn:aws:iam::12:role/abc"}, "RoleArn", "does not match"),
        ({"image": "x" * 256}, "TrainingImage", "at most 255"),
        ({"instance_type": "ml.g5.3xlarge"}, "InstanceType", "ml.g5.xlarge"),
        ({"instance_type": "gpu"}, "InstanceType", "Known are"),
        ({"instance_count": 0}, "InstanceCount", "at least 1"),
        ({"volume_size_gb": 0}, "VolumeSizeInGB", "at least 1"),
        ({"hyperparameters": {f"h{n}": n for n in range(101)}}, "HyperParameters", "at most 100"),
        ({"hyperparameters": {"long": "x" * 2499}}, "HyperParameters['long']", "at most 2500"),
        ({"hyperparameters": {"k" * 257: 1}}, "HyperParameters key", "at most 256"),
        ({"environment": {"1X": "y"}}, "Environment key '1X'", "does not match"),
        ({"environment": {"X": "y" * 513}}, "Environment['X']", "at most 512"),
        ({"tags": {f"t{n}": "" for n in range(51)}}, "Tags", "at most 50"),
        ({"tags": {"a#b": "v"}}, "Tags[0].Key", "a-b"),
        ({"tags": {"k": "x\u2603"}}, "Tags[0].Value", "x-"),
        ({"tags": {"aws:mine": "v"}}, "Tags", "reserved"),
        ({"metric_definitions": {"m": "x" * 501}}, "Regex", "at most 500"),
        ({"metric_definitions": {f"m{n}": "x" for n in range(41)}}, "MetricDefinitions", "at most 40"),
        ({"entrypoint": ("x" * 257,)}, "ContainerEntrypoint[0]", "at most 256"),
        ({"channels": {"a b": "s3://bucket/x"}}, "ChannelName", "does not match"),
        ({"channels": {f"c{n}": "s3://bucket/x" for n in range(21)}}, "InputDataConfig", "at most 20"),
        ({"channels": {"c": "bucket/x"}}, "S3Uri", "does not match"),
        ({"output_s3_uri": "https://bucket/x"}, "S3OutputPath", "no S3 URI"),
        ({"checkpoint_s3_uri": "s3://B_ucket/x"}, "CheckpointConfig.S3Uri", "no S3 URI"),
        ({"spot": True, "max_run_s": 100, "max_wait_s": 99}, "MaxWaitTimeInSeconds", "at least MaxRuntime"),
        ({"max_wait_s": 10**6}, "MaxWaitTimeInSeconds", "spot training alone"),
        ({"spot": True, "keep_alive_s": 60}, "KeepAlivePeriodInSeconds", "cannot be combined"),
        ({"keep_alive_s": 21601}, "KeepAlivePeriodInSeconds", "at most 21600"),
        ({"max_run_s": 0}, "MaxRuntimeInSeconds", "at least 1"),
        ({"max_run_s": 29 * 86400}, "MaxRuntimeInSeconds", "28 days"),
        ({"max_pending_s": 1800}, "MaxPendingTimeInSeconds", "accelerated"),
        ({"max_pending_s": 60, "instance_type": "ml.p3.2xlarge"}, "MaxPendingTimeInSeconds", "at least 1800"),
        ({"retry_attempts": 31}, "MaximumRetryAttempts", "at most 30"),
        ({"retry_attempts": 0}, "MaximumRetryAttempts", "at least 1"),
        ({"subnets": ("subnet-1",)}, "SecurityGroupIds", "at least 1"),
        ({"subnets": ("s_1",), "security_group_ids": ("sg",)}, "VpcConfig.Subnets[0]", "does not match"),
        ({"image": ""}, "AlgorithmSpecification", "image URI"),
        ({"instance_count": "two"}, "InstanceCount", "type"),
    ],
)
def test_what_the_service_would_refuse(changes: dict[str, Any], field: str, limit: str) -> None:
    error = refusal(**changes)
    assert field in error.message
    assert limit in str(error)


def test_all_problems_are_told_at_once() -> None:
    text = str(refusal(name="bad_name!", tags={"a#": "ok"}, retry_attempts=99))
    assert all(part in text for part in ("TrainingJobName", "Tags[0].Key", "MaximumRetryAttempts"))


@given(st.text(max_size=200))
@settings(max_examples=60)
@example("ª²\u0300😀aws:")
@example("aws:x")
def test_proposals_for_tags_are_legal(text: str) -> None:
    validate_request(create_training_job_request(spec(tags={legal_tag(text, 128): legal_tag(text)})))


@given(st.text(max_size=200))
@settings(max_examples=60)
def test_proposals_for_names_are_legal(text: str) -> None:
    validate_request(create_training_job_request(spec(name=legal_name(text))))


def all_patterns() -> list[str]:
    shape = (
        botocore.session.Session().get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape
    )
    found: set[str] = set()

    def collect(node: Any, above: frozenset[str]) -> None:
        if node.name in above:
            return
        above |= {node.name}
        if node.metadata.get("pattern"):
            found.add(node.metadata["pattern"])
        if node.type_name == "structure":
            children = list(node.members.values())
        elif node.type_name == "list":
            children = [node.member]
        else:
            children = [node.key, node.value] if node.type_name == "map" else []
        for child in children:
            collect(child, above)

    collect(shape, frozenset())
    return sorted(found)


@given(
    st.sampled_from(all_patterns()),
    # Characters that only one of the two knows are of Unicode versions that differ.
    st.one_of(
        st.text(st.characters(exclude_categories=["Cn", "Cs"]), max_size=12),
        st.text("aAzZ09-_.:/=+@ #ü²\u0300", max_size=12),
    ),
)
@settings(max_examples=400, deadline=None)
def test_patterns_mean_what_a_full_regex_engine_says(pattern: str, text: str) -> None:
    """`regex` knows \\p{L} by itself."""
    for_regex = pattern.replace("\\p{Alnum}", "a-zA-Z0-9").replace("\\d", "[0-9]").replace("\\w", "[a-zA-Z0-9_]")
    assume(not any(char in "\n\r\x85\u2028\u2029" for char in text))
    expected = regex.fullmatch(for_regex, text)
    assert bool(compiled_pattern(pattern, text.isascii()).fullmatch(text)) == bool(expected)


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\u2029"])
def test_the_dot_of_the_service_matches_no_line_end(end: str) -> None:
    assert not compiled_pattern(".*", end.isascii()).fullmatch(f"a{end}b")
    assert compiled_pattern("[.]*", True).fullmatch("..")
    assert compiled_pattern("\\.", True).fullmatch("x") is None
    assert compiled_pattern("[\\S\\s]*", end.isascii()).fullmatch(f"a{end}b")
    assert not compiled_pattern("\\d", False).fullmatch("\u0663")


# ---- the spec itself


def test_json_round_trip() -> None:
    full = TrainingJobSpec(**FULL)
    assert TrainingJobSpec.from_json(full.to_json()) == full
    assert TrainingJobSpec.from_json(spec().to_json()) == spec()
    record = full.to_dict()
    for wrong in ({**record, "color": "red"}, {**record, "schema": 99}, {"kind": "training_job", "schema": 1}):
        with pytest.raises(SpecError):
            TrainingJobSpec.from_dict(wrong)
    for text in ("{", "[]", "null"):
        with pytest.raises(SpecError):
            TrainingJobSpec.from_json(text)


def test_a_string_is_no_sequence_of_strings() -> None:
    with pytest.raises(SpecError, match="entrypoint"):
        spec(entrypoint="python")
    assert spec(entrypoint=["python", "x"]) == spec(entrypoint=("python", "x"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
@settings(max_examples=50)
def test_hyperparameters_round_trip(values: dict[str, Any]) -> None:
    encoded = encode_hyperparameters(values)
    assert decode_hyperparameters(encoded) == values
    assert all(text.isascii() and "\n" not in text for text in encoded.values())


def test_hyperparameters_of_numpy_and_of_nobody() -> None:
    assert encode_hyperparameters({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)}) == {
        "a": "0.5",
        "b": "3",
        "c": "true",
    }
    assert math.isnan(decode_hyperparameters(encode_hyperparameters({"x": math.nan}))["x"])
    assert decode_hyperparameters({"plain": "a b"}) == {"plain": "a b"}
    for value in (object(), np.zeros(3), {1, 2}):
        with pytest.raises(SpecError, match="'x'"):
            encode_hyperparameters({"x": value})
    assert json.loads(encode_hyperparameters({"x": "1"})["x"]) == "1"  # a string stays one


def test_highest_cost() -> None:
    price = price_per_hour("ml.m5.large")
    assert price is not None
    cost = highest_cost([spec(max_run_s=7200, instance_type="ml.m5.large", instance_count=3)] * 2)
    assert cost.usd == pytest.approx(2 * 2 * 3 * price)
    assert cost.unknown_types == ()
    mixed = highest_cost(
        [spec(max_run_s=3600, keep_alive_s=3600, instance_type="ml.m5.large"), spec(instance_type="ml.x")]
    )
    assert mixed.usd == pytest.approx(2 * price)
    assert mixed.unknown_types == ("ml.x",)
    assert "ml.x" in str(mixed)
