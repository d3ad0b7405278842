"""The rules of CreateTrainingJob for instances, time limits and networks."""

from __future__ import annotations

from cloudtune.emulator.service_error import JsonObject, invalid

_MAX_RUNTIME_S = 28 * 86_400
_DEFAULT_RUNTIME_S = 86_400
_NOT_BESIDE_PREFERENCES = ("InstanceType", "InstanceGroups", "InstancePlacementConfig")


def check_resources(request: JsonObject) -> None:
    """Raises ServiceError for a ResourceConfig that contradicts itself or the request."""
    resources = request.get("ResourceConfig")
    if resources is None:
        raise invalid("ResourceConfig is required.", rule="create.resources.required")
    for name in ("SelectedInstanceType", "SelectedInstanceCount"):
        if name in resources:
            raise invalid(f"{name} is read-only.", rule="create.resources.selected")
    if "TrainingPlanArn" in resources:
        raise invalid(
            f"Could not find training plan {resources['TrainingPlanArn']}.", rule="create.resources.training-plan"
        )
    if "InstancePreferences" in resources:
        _check_preferences(resources, bool(request.get("EnableManagedSpotTraining")))
    elif resources.get("InstanceGroups"):
        _check_groups(resources)
    else:
        _check_instances(resources)
    if resources.get("KeepAlivePeriodInSeconds"):
        _check_warm_pool(request, resources)


def _check_instances(resources: JsonObject) -> None:
    for name in ("InstanceType", "InstanceCount"):
        if name not in resources:
            raise invalid(
                f"ResourceConfig must contain {name}, InstanceGroups or InstancePreferences.",
                rule="create.resources.instances",
            )
    if resources["InstanceCount"] < 1:
        raise invalid("InstanceCount must be at least 1.", rule="create.resources.count")


def _check_groups(resources: JsonObject) -> None:
    if "InstanceType" in resources or "InstanceCount" in resources:
        raise invalid(
            "InstanceGroups excludes InstanceType and InstanceCount.", rule="create.resources.groups-exclude"
        )
    groups = resources["InstanceGroups"]
    names = [group["InstanceGroupName"] for group in groups]
    if len(set(names)) != len(names):
        raise invalid(
            f"InstanceGroupName must be unique: {', '.join(names)}.", rule="create.resources.groups-unique"
        )
    if any(group["InstanceCount"] < 1 for group in groups):
        raise invalid("InstanceCount must be at least 1 in each instance group.", rule="create.resources.count")


def _check_preferences(resources: JsonObject, spot: bool) -> None:
    beside = [name for name in _NOT_BESIDE_PREFERENCES if resources.get(name)]
    if beside or spot:
        other = beside[0] if beside else "EnableManagedSpotTraining"
        raise invalid(
            f"InstancePreferences is mutually exclusive with {other}.",
            rule="create.preferences.exclusive",
        )
    preferences = resources["InstancePreferences"]
    types = [item["InstanceType"] for item in preferences]
    if len(set(types)) != len(types):
        raise invalid(
            "An instance type can appear only once in InstancePreferences.", rule="create.preferences.unique"
        )
    if any("TrainingPlanArns" in item for item in preferences):
        raise invalid(
            "Could not find the training plans of InstancePreferences.", rule="create.resources.training-plan"
        )
    counted = ["InstanceCount" in item for item in preferences]
    if any(counted) != all(counted) or all(counted) == ("InstanceCount" in resources):
        raise invalid(
            "InstanceCount must be set either in each of the InstancePreferences or in ResourceConfig.",
            rule="create.preferences.count",
        )
    if any(item.get("InstanceCount", resources.get("InstanceCount", 0)) < 1 for item in preferences):
        raise invalid("InstanceCount must be at least 1.", rule="create.resources.count")


def _check_warm_pool(request: JsonObject, resources: JsonObject) -> None:
    if request.get("EnableManagedSpotTraining"):
        raise invalid(
            "KeepAlivePeriodInSeconds is not supported for managed spot training jobs.",
            rule="create.warm-pool.spot",
        )
    if resources.get("InstanceGroups"):
        raise invalid(
            "KeepAlivePeriodInSeconds is not supported for heterogeneous clusters.", rule="create.warm-pool.groups"
        )


def check_limits(request: JsonObject) -> None:
    """Raises ServiceError for a StoppingCondition that cannot be kept."""
    limits = request.get("StoppingCondition", {})
    runtime, wait = limits.get("MaxRuntimeInSeconds", _DEFAULT_RUNTIME_S), limits.get("MaxWaitTimeInSeconds")
    if runtime > _MAX_RUNTIME_S:
        raise invalid(
            f"MaxRuntimeInSeconds {runtime} is above the limit of {_MAX_RUNTIME_S} seconds.",
            rule="create.limits.runtime",
        )
    if not request.get("EnableManagedSpotTraining"):
        if wait is not None:
            raise invalid(
                "MaxWaitTimeInSeconds may only be specified for managed spot training.",
                rule="create.spot.wait-alone",
            )
        return
    if wait is None:
        raise invalid(
            "MaxWaitTimeInSeconds must be specified for managed spot training.", rule="create.spot.wait-missing"
        )
    if wait < runtime:
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            f"MaxRuntimeInSeconds ({wait} < {runtime}).",
            rule="create.spot.wait-short",
        )


def check_vpc(request: JsonObject) -> None:
    """Raises ServiceError for identifiers that are none. Whether they exist is not asked: jobs join no network."""
    for member, prefix in (("SecurityGroupIds", "sg-"), ("Subnets", "subnet-")):
        for name in request.get("VpcConfig", {}).get(member, []):
            if not name.startswith(prefix):
                raise invalid(
                    f"Invalid VpcConfig: {name!r} in {member} is not of the form {prefix}xxxxxxxx.",
                    rule="create.vpc.ids",
                )
