"""From a TrainingJobSpec to the CreateTrainingJob request: pure, and checked before it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cloudtune.aws.model_rules import Violation, violations
from cloudtune.errors import SpecError
from cloudtune.job_spec import TrainingJobSpec, encode_hyperparameters
from cloudtune.names import legal_name

Request = dict[str, Any]

OPERATION = "CreateTrainingJob"
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html
MAX_RUN_S = 28 * 24 * 3600
_ACCELERATED = re.compile(r"ml\.(p|g|trn|inf|dl)\d")
_S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", re.DOTALL)
_MAX_SHOWN = 120
_GENERAL_HINT = "Shorten or correct these values; nothing has been sent."


def create_training_job_request(spec: TrainingJobSpec) -> Request:
    """The arguments of boto3's ``create_training_job``: only what was asked for, nothing implied.

    Raises:
        SpecError: If a hyperparameter is not JSON-able. Limits are checked by :func:`validate_request`.
    """
    request: Request = {
        "TrainingJobName": spec.name,
        "AlgorithmSpecification": _without_empty(
            {
                "TrainingImage": spec.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": list(spec.entrypoint),
                "ContainerArguments": list(spec.arguments),
                "MetricDefinitions": [
                    {"Name": name, "Regex": regex} for name, regex in spec.metric_definitions.items()
                ],
            }
        ),
        "RoleArn": spec.role_arn,
        "OutputDataConfig": _without_empty({"S3OutputPath": spec.output_s3_uri, "KmsKeyId": spec.output_kms_key}),
        "ResourceConfig": _without_empty(
            {
                "InstanceType": spec.instance_type,
                "InstanceCount": spec.instance_count,
                "VolumeSizeInGB": spec.volume_size_gb,
                "VolumeKmsKeyId": spec.volume_kms_key,
                "KeepAlivePeriodInSeconds": spec.keep_alive_s,
            }
        ),
        "StoppingCondition": _without_empty(
            {
                "MaxRuntimeInSeconds": spec.max_run_s,
                "MaxWaitTimeInSeconds": spec.effective_max_wait_s,
                "MaxPendingTimeInSeconds": spec.max_pending_s,
            }
        ),
    }
    request.update(_without_empty(_optional_parts(spec)))
    return request


def _optional_parts(spec: TrainingJobSpec) -> Request:
    return {
        "HyperParameters": encode_hyperparameters(spec.hyperparameters),
        "Environment": dict(spec.environment),
        "InputDataConfig": [_channel(name, uri) for name, uri in spec.channels.items()],
        "CheckpointConfig": (
            {"S3Uri": spec.checkpoint_s3_uri, "LocalPath": spec.checkpoint_local_path}
            if spec.checkpoint_s3_uri
            else None
        ),
        "VpcConfig": (
            {"SecurityGroupIds": list(spec.security_group_ids), "Subnets": list(spec.subnets)}
            if spec.subnets or spec.security_group_ids
            else None
        ),
        "EnableManagedSpotTraining": spec.spot or None,
        "EnableNetworkIsolation": spec.network_isolation or None,
        "RetryStrategy": {"MaximumRetryAttempts": spec.retry_attempts}
        if spec.retry_attempts is not None
        else None,
        "Tags": [{"Key": key, "Value": value} for key, value in spec.tags.items()],
    }


def _channel(name: str, uri: str) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _without_empty(part: Request) -> Request:
    return {key: value for key, value in part.items() if value is not None and value != [] and value != {}}


def validate_request(request: Mapping[str, Any]) -> None:
    """Refuses what the service would refuse, at once and all of it together.

    Checks botocore's service model, lengths, patterns and choices included (which botocore itself does not
    look at), and rules between fields.

    Raises:
        SpecError: Naming each field, its value and its limit; for names and tags with a legal proposal.
    """
    found = [*violations(OPERATION, request), *_semantic_violations(request)]
    if not found:
        return
    name = request.get("TrainingJobName")
    lines = "; ".join(f"{violation.path}: {violation.problem}" for violation in found)
    proposals = [text for text in (_proposal(violation) for violation in found) if text]
    raise SpecError(
        f"Training job {_short(name)} would be refused: {lines}.",
        " ".join(dict.fromkeys(proposals)) or _GENERAL_HINT,
    )


def _semantic_violations(request: Mapping[str, Any]) -> Iterator[Violation]:
    yield from _resource_rules(request)
    yield from _time_rules(request)
    yield from _tag_rules(request)
    yield from _uri_rules(request)
    algorithm = _part(request, "AlgorithmSpecification")
    if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
        yield Violation(
            "AlgorithmSpecification",
            algorithm,
            "needs either TrainingImage or AlgorithmName",
            "Pass an image URI.",
        )
    names = [channel.get("ChannelName") for channel in _parts(request, "InputDataConfig")]
    for name in sorted({str(n) for n in names if names.count(n) > 1}):
        yield Violation("InputDataConfig", name, f"has two channels named {name!r}")


def _resource_rules(request: Mapping[str, Any]) -> Iterator[Violation]:
    resources = _part(request, "ResourceConfig")
    if not resources.get("InstanceGroups"):
        for key in ("InstanceCount", "VolumeSizeInGB"):
            value = resources.get(key)
            if value is None or (isinstance(value, int) and value < 1):
                yield Violation(f"ResourceConfig.{key}", value, f"is {value}; it must be at least 1")
    if request.get("EnableManagedSpotTraining") and _number(resources, "KeepAlivePeriodInSeconds") > 0:
        yield Violation(
            "ResourceConfig.KeepAlivePeriodInSeconds",
            resources["KeepAlivePeriodInSeconds"],
            "cannot be combined with spot training",
            "Drop keep_alive_s, or spot.",
        )


def _time_rules(request: Mapping[str, Any]) -> Iterator[Violation]:
    stopping = _part(request, "StoppingCondition")
    run_s, wait_s = _number(stopping, "MaxRuntimeInSeconds"), _number(stopping, "MaxWaitTimeInSeconds")
    where = "StoppingCondition.MaxWaitTimeInSeconds"
    if run_s > MAX_RUN_S:
        yield Violation(
            "StoppingCondition.MaxRuntimeInSeconds",
            run_s,
            f"is {run_s}; at most {MAX_RUN_S} (28 days) is possible",
        )
    if request.get("EnableManagedSpotTraining"):
        if wait_s == 0 or wait_s < run_s:
            yield Violation(
                where,
                wait_s,
                f"is {wait_s or 'missing'}; for spot training it must be at least MaxRuntimeInSeconds ({run_s})",
                f"Set max_wait_s to {run_s} or more.",
            )
    elif wait_s:
        yield Violation(where, wait_s, "is for spot training alone", "Set spot=True, or drop max_wait_s.")
    instance_type = str(_part(request, "ResourceConfig").get("InstanceType", ""))
    if "MaxPendingTimeInSeconds" in stopping and not _ACCELERATED.match(instance_type):
        yield Violation(
            "StoppingCondition.MaxPendingTimeInSeconds",
            stopping["MaxPendingTimeInSeconds"],
            f"is for accelerated instances alone, not for {instance_type}",
            "Drop max_pending_s.",
        )


def _tag_rules(request: Mapping[str, Any]) -> Iterator[Violation]:
    keys = [str(tag.get("Key", "")) for tag in _parts(request, "Tags")]
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1:
            yield Violation("Tags", key, f"has two tags named {key!r}")
        if key.lower().startswith("aws:"):
            yield Violation("Tags", key, f"has a tag {key!r}, but names that begin with aws: are reserved")


def _uri_rules(request: Mapping[str, Any]) -> Iterator[Violation]:
    places = {
        "OutputDataConfig.S3OutputPath": _part(request, "OutputDataConfig").get("S3OutputPath"),
        "CheckpointConfig.S3Uri": _part(request, "CheckpointConfig").get("S3Uri"),
    }
    for channel in _parts(request, "InputDataConfig"):
        source = _part(_part(channel, "DataSource"), "S3DataSource")
        places[f"InputDataConfig.{channel.get('ChannelName')}"] = source.get("S3Uri")
    for path, uri in places.items():
        if isinstance(uri, str) and not _S3_URI.fullmatch(uri):
            yield Violation(path, uri, f"{_short(uri)} is no S3 URI", "Write s3://bucket/prefix.")


def _proposal(violation: Violation) -> str:
    path, value = violation.path, violation.value
    if violation.hint:
        return violation.hint
    if path == "TrainingJobName":
        return f"A legal name would be: {legal_name(str(value))}."
    if path.startswith("Tags[") and isinstance(value, str):
        return f"A legal tag would be: {legal_tag(value, 128 if path.endswith('Key') else 256)!r}."
    return ""


def legal_tag(text: str, max_length: int = 256) -> str:
    """The legal tag key (128 characters) or value (256) nearest to ``text``."""
    kept = "".join(char if char.isalnum() or char in " _.:/=+-@" else "-" for char in text)
    return re.sub(r"^(aws):", r"\1-", kept, flags=re.IGNORECASE)[:max_length] or "-"


def _part(container: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = container.get(key)
    return value if isinstance(value, Mapping) else {}


def _parts(container: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = container.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def _number(container: Mapping[str, Any], key: str) -> int:
    value = container.get(key)
    return value if isinstance(value, int) else 0


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"
