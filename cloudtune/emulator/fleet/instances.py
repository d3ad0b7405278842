"""Which instances a CreateTrainingJob request asks for."""

from __future__ import annotations

from cloudtune.emulator.service_error import JsonObject

#: Instance types with their counts: one pair, or one for each instance group.
Cluster = tuple[tuple[str, int], ...]
_ACCELERATED = ("ml.p", "ml.g", "ml.trn")


def preferences(request: JsonObject) -> list[Cluster]:
    """The clusters on which the job may run, in its order; more than one only with InstancePreferences."""
    resources = request.get("ResourceConfig", {})
    if resources.get("InstanceGroups"):
        return [tuple((group["InstanceType"], group["InstanceCount"]) for group in resources["InstanceGroups"])]
    count = resources.get("InstanceCount", 1)
    if resources.get("InstancePreferences"):
        return [
            ((item["InstanceType"], item.get("InstanceCount", count)),)
            for item in resources["InstancePreferences"]
        ]
    return [((resources.get("InstanceType", "ml.m5.large"), count),)]


def is_accelerated(instance_type: str) -> bool:
    """Whether it belongs to the GPU and Trainium families, which alone know MaxPendingTimeInSeconds."""
    return instance_type.startswith(_ACCELERATED)
