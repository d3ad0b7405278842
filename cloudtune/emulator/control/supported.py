"""What the service would do and this emulator cannot: refused, never ignored."""

from __future__ import annotations

from cloudtune.emulator.fleet.instances import preferences
from cloudtune.emulator.service_error import JsonObject, invalid

#: Each host is a group of processes on this one machine.
MAX_HOSTS = 64


def check_supported(request: JsonObject) -> None:
    """Raises ServiceError ``ValidationException`` for a CreateTrainingJob request beyond this emulator."""
    for cluster in preferences(request):
        count = sum(instances for _, instances in cluster)
        if not 1 <= count <= MAX_HOSTS:
            raise invalid(
                f"The emulator runs jobs of 1 to {MAX_HOSTS} instances, not of {count}.", rule="emulator.hosts"
            )
    for channel in request.get("InputDataConfig", []):
        _check_channel(channel, request["AlgorithmSpecification"]["TrainingInputMode"])


def _check_channel(channel: JsonObject, mode: str) -> None:
    name = channel["ChannelName"]
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise invalid(
            f"Channel {name!r}: the emulator reads S3 data sources only, no file systems.",
            rule="emulator.file-systems",
        )
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise invalid(
            f"Channel {name!r}: the emulator reads the data types S3Prefix and ManifestFile, "
            f"not {source['S3DataType']}.",
            rule="emulator.data-types",
        )
    if channel.get("CompressionType", "None") != "None" and channel.get("InputMode", mode) != "Pipe":
        raise invalid(
            f"Channel {name!r}: CompressionType is used only in Pipe input mode; leave it unset.",
            rule="emulator.compression",
        )
    if channel.get("RecordWrapperType", "None") != "None":
        raise invalid(
            f"Channel {name!r}: the emulator does not wrap records; leave RecordWrapperType unset.",
            rule="emulator.records",
        )
