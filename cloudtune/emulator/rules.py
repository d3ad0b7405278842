"""The rules for CreateTrainingJob that the service model cannot express."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import regex

from cloudtune.emulator.object_store import ObjectStore, split_uri
from cloudtune.emulator.service_error import JsonObject, invalid

ML_ROOT = "/opt/ml"
DEFAULT_CHECKPOINTS = f"{ML_ROOT}/checkpoints"
_MAX_RUNTIME_S = 28 * 86_400
_ACCELERATED = ("ml.p", "ml.g", "ml.trn")


def check_create(request: JsonObject, store: ObjectStore) -> None:
    """Raises ServiceError ``ValidationException`` naming the first rule that is broken."""
    checks: list[Callable[[JsonObject], None]] = [
        _check_algorithm,
        _check_resources,
        _check_limits,
        _check_texts,
        _check_metrics,
        _check_checkpoint_path,
        _check_supported,
    ]
    for check in checks:
        check(request)
    _check_buckets(request, store)
    _check_inputs(request, store)


def _check_algorithm(request: JsonObject) -> None:
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None:
        raise invalid("AlgorithmSpecification is required.")
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise invalid("You must specify either an algorithm name or a training image, and not both.")
    if "TrainingInputMode" not in algorithm:
        raise invalid("TrainingInputMode is required in AlgorithmSpecification.")


def _check_resources(request: JsonObject) -> None:
    resources = request.get("ResourceConfig")
    if resources is None:
        raise invalid("ResourceConfig is required.")
    groups = resources.get("InstanceGroups")
    if groups and ("InstanceType" in resources or "InstanceCount" in resources):
        raise invalid("InstanceGroups excludes InstanceType and InstanceCount.")
    if not groups and "InstancePreferences" not in resources:
        for name in ("InstanceType", "InstanceCount"):
            if name not in resources:
                raise invalid(f"ResourceConfig must contain {name} or InstanceGroups.")
    keep_alive = resources.get("KeepAlivePeriodInSeconds", 0)
    if keep_alive and request.get("EnableManagedSpotTraining"):
        raise invalid("KeepAlivePeriodInSeconds is not supported for managed spot training jobs.")


def _check_limits(request: JsonObject) -> None:
    limits = request.get("StoppingCondition", {})
    runtime, wait = limits.get("MaxRuntimeInSeconds"), limits.get("MaxWaitTimeInSeconds")
    if runtime is not None and runtime > _MAX_RUNTIME_S:
        raise invalid(f"MaxRuntimeInSeconds {runtime} is above the limit of {_MAX_RUNTIME_S} seconds.")
    if request.get("EnableManagedSpotTraining"):
        if wait is None:
            raise invalid("MaxWaitTimeInSeconds must be specified for managed spot training.")
        if wait < (runtime or 86_400):
            raise invalid(
                f"Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                f"MaxRuntimeInSeconds ({wait} < {runtime or 86_400})."
            )
    elif wait is not None:
        raise invalid("MaxWaitTimeInSeconds may only be specified for managed spot training.")
    instance_type = request["ResourceConfig"].get("InstanceType", "")
    if "MaxPendingTimeInSeconds" in limits and not instance_type.startswith(_ACCELERATED):
        raise invalid("MaxPendingTimeInSeconds may only be specified for accelerated instance types.")


def _check_texts(request: JsonObject) -> None:
    """Texts become a process's arguments and environment, which a NUL would end early."""
    texts = [*_arguments(request), *request.get("Environment", {}).values()]
    if any("\0" in text for text in texts):
        raise invalid("Container arguments and environment must not contain NUL characters.")


def _arguments(request: JsonObject) -> Iterator[str]:
    algorithm = request["AlgorithmSpecification"]
    yield from algorithm.get("ContainerEntrypoint", [])
    yield from algorithm.get("ContainerArguments", [])


def _check_metrics(request: JsonObject) -> None:
    for definition in request["AlgorithmSpecification"].get("MetricDefinitions", []):
        try:
            regex.compile(definition["Regex"])
        except regex.error as error:
            raise invalid(
                f"The regular expression {definition['Regex']!r} of metric {definition['Name']!r} is invalid: "
                f"{error}"
            ) from None


def _check_checkpoint_path(request: JsonObject) -> None:
    path = request.get("CheckpointConfig", {}).get("LocalPath", DEFAULT_CHECKPOINTS)
    if ".." in path.split("/") or not path.startswith(f"{ML_ROOT}/"):
        raise invalid(f"The emulator supports checkpoints below {ML_ROOT}/ only, not {path!r}.")


def _check_supported(request: JsonObject) -> None:
    """What the service would do and this emulator cannot is refused, never ignored."""
    resources = request["ResourceConfig"]
    if resources.get("InstanceCount", 1) != 1 or "InstanceGroups" in resources:
        raise invalid("The emulator runs jobs of one instance: set InstanceCount to 1.")
    if request["AlgorithmSpecification"]["TrainingInputMode"] == "Pipe":
        raise invalid("The emulator supports the input modes File and FastFile.")
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(names)) != len(names):
        raise invalid("Channel names must be unique.")
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource")
        if source is None or source["S3DataType"] != "S3Prefix":
            raise invalid(f"Channel {channel['ChannelName']!r}: the emulator reads S3Prefix data sources only.")
        if channel.get("CompressionType", "None") != "None" or channel.get("RecordWrapperType", "None") != "None":
            raise invalid(f"Channel {channel['ChannelName']!r}: the emulator neither unpacks nor wraps records.")
        if channel.get("InputMode") == "Pipe":
            raise invalid("The emulator supports the input modes File and FastFile.")


def _check_buckets(request: JsonObject, store: ObjectStore) -> None:
    uris = {"OutputDataConfig.S3OutputPath": request["OutputDataConfig"]["S3OutputPath"]}
    if "CheckpointConfig" in request:
        uris["CheckpointConfig.S3Uri"] = request["CheckpointConfig"]["S3Uri"]
    for where, uri in uris.items():
        bucket, _ = split_uri(uri)
        if not store.has_bucket(bucket):
            raise invalid(f"The bucket of {where} ({uri}) does not exist: {bucket!r}.")


def _check_inputs(request: JsonObject, store: ObjectStore) -> None:
    for channel in request.get("InputDataConfig", []):
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, prefix = split_uri(uri)
        if not store.has_bucket(bucket) or not store.list(bucket, prefix):
            raise invalid(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
                "bucket exists in the selected region, that objects exist under that S3 prefix, and that the role "
                f'"{request["RoleArn"]}" has "s3:ListBucket" permissions on bucket "{bucket}".'
            )
