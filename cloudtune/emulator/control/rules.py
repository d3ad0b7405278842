"""The rules for CreateTrainingJob that the service model cannot express.

Each refusal names its row in the table of ``docs/emulator.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex

from cloudtune.emulator.control.account_rules import Account, check_account
from cloudtune.emulator.control.resource_rules import check_limits, check_resources, check_vpc
from cloudtune.emulator.control.supported import check_supported
from cloudtune.emulator.control.tag_rules import check_tags
from cloudtune.emulator.service_error import JsonObject, invalid

ML_ROOT = "/opt/ml"
DEFAULT_CHECKPOINTS = f"{ML_ROOT}/checkpoints"
_RESERVED_FOLDERS = ("input", "model", "output", "code", "failure")
_PROFILING_INTERVALS_MS = (100, 200, 500, 1000, 5000, 60_000)


def check_create(request: JsonObject, region: str, account: Account) -> None:
    """Raises ServiceError naming the first rule that is broken."""
    for check in (
        _check_algorithm,
        check_resources,
        check_limits,
        check_vpc,
        _check_texts,
        _check_metrics,
        _check_channels,
        _check_checkpoint_path,
        check_debugger,
        check_supported,
    ):
        check(request)
    check_tags(request.get("Tags", []))
    check_account(request, region, account)


def _check_algorithm(request: JsonObject) -> None:
    if "ServerlessJobConfig" in request:
        raise invalid("The emulator runs no serverless jobs.", rule="create.serverless")
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None:
        raise invalid("AlgorithmSpecification is required.", rule="create.algorithm.required")
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise invalid(
            "You must specify either an algorithm name or a training image, and not both.",
            rule="create.algorithm.one-source",
        )
    if "AlgorithmName" in algorithm:
        raise invalid(
            f"The algorithm {algorithm['AlgorithmName']!r} does not exist: set TrainingImage instead.",
            rule="create.algorithm.exists",
        )
    access = algorithm.get("TrainingImageConfig", {}).get("TrainingRepositoryAccessMode")
    if access == "Vpc" and "VpcConfig" not in request:
        raise invalid("TrainingRepositoryAccessMode Vpc requires a VpcConfig.", rule="create.algorithm.vpc-image")


def _check_texts(request: JsonObject) -> None:
    """Texts become a process's arguments and environment, which a NUL would end early."""
    texts = [*_arguments(request), *request.get("Environment", {}).values()]
    if any("\0" in text for text in texts):
        raise invalid(
            "Container arguments and environment must not contain NUL characters.", rule="create.texts.nul"
        )


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
                f"{error}",
                rule="create.metrics.regex",
            ) from None


def _check_channels(request: JsonObject) -> None:
    channels = request.get("InputDataConfig", [])
    names = [channel["ChannelName"] for channel in channels]
    if len(set(names)) != len(names):
        raise invalid(f"Channel names must be unique: {', '.join(names)}.", rule="create.channels.unique")
    groups = {group["InstanceGroupName"] for group in request["ResourceConfig"].get("InstanceGroups", [])}
    for channel in channels:
        if len(channel["DataSource"]) != 1:
            raise invalid(
                f"Channel {channel['ChannelName']!r} must have exactly one data source.",
                rule="create.channels.one-source",
            )
        unknown = set(channel["DataSource"].get("S3DataSource", {}).get("InstanceGroupNames", [])) - groups
        if unknown:
            raise invalid(
                f"Channel {channel['ChannelName']!r} names instance groups that the job lacks: "
                f"{', '.join(sorted(unknown))}.",
                rule="create.channels.groups",
            )


def _check_checkpoint_path(request: JsonObject) -> None:
    path = request.get("CheckpointConfig", {}).get("LocalPath", DEFAULT_CHECKPOINTS)
    parts = path.split("/")
    if ".." in parts or "\0" in path or not path.startswith(f"{ML_ROOT}/"):
        raise invalid(
            f"The emulator supports checkpoints below {ML_ROOT}/ only, not {path!r}.",
            rule="create.checkpoint.path",
        )
    below = [part for part in parts[3:] if part not in ("", ".")]
    if not below or below[0] in _RESERVED_FOLDERS:
        raise invalid(
            f"CheckpointConfig.LocalPath {path!r} is reserved by SageMaker.", rule="create.checkpoint.reserved"
        )


def check_debugger(request: JsonObject) -> None:
    """Also for UpdateTrainingJob. Raises ServiceError."""
    interval = request.get("ProfilerConfig", {}).get("ProfilingIntervalInMilliseconds", 500)
    if interval not in _PROFILING_INTERVALS_MS:
        raise invalid(
            f"ProfilingIntervalInMilliseconds {interval} must be one of "
            f"{', '.join(map(str, _PROFILING_INTERVALS_MS))}.",
            rule="create.profiler.interval",
        )
    rules = [*request.get("DebugRuleConfigurations", []), *request.get("ProfilerRuleConfigurations", [])]
    names = [item["RuleConfigurationName"] for item in rules]
    if len(set(names)) != len(names):
        raise invalid(f"RuleConfigurationName must be unique: {', '.join(names)}.", rule="create.debugger.unique")
