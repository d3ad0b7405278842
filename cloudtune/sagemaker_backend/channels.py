"""Input data of jobs, as users of the SageMaker SDKs give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.paths import S3Uri

#: Channel of data without a name, as the SDKs have it.
DEFAULT_CHANNEL = "training"
_HINT = "Give each channel as an S3 URI (s3://bucket/prefix): all of it is copied to /opt/ml/input/data/{channel}."


def channel_uris(inputs: object) -> dict[str, str]:
    """Name of each channel to its S3 URI.

    Args:
        inputs: None, an S3 URI, a ``TrainingInput``, a list of ``InputData``, or a dictionary from names to URIs
            or such objects.

    Raises:
        SpecError: It is nothing of that kind, or data is to be given in another way than by copying it.
    """
    if inputs is None:
        return {}
    if isinstance(inputs, Mapping):
        return {str(name): _uri(str(name), value) for name, value in inputs.items()}
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        found: dict[str, str] = {}
        for item in inputs:
            name = getattr(item, "channel_name", None)
            if not isinstance(name, str) or name in found:
                raise SpecError(f"inputs: {item!r:.200} has no channel_name of its own.", _HINT)
            found[name] = _uri(name, item)
        return found
    return {DEFAULT_CHANNEL: _uri(DEFAULT_CHANNEL, inputs)}


def _uri(channel: str, value: Any) -> str:
    if isinstance(value, str):
        return str(S3Uri.parse(value)) + ("/" if value.endswith("/") else "")
    config = getattr(value, "config", None)
    if isinstance(config, Mapping):  # TrainingInput of version 2
        return _of_request(channel, config)
    source = getattr(value, "data_source", None)
    if source is not None:  # InputData of version 3
        _refuse(channel, "content_type", _given(value, "content_type"))
        return _of_source(channel, source)
    raise SpecError(f"The channel {channel!r} is {value!r:.200}, which is no data in S3.", _HINT)


def _of_request(channel: str, config: Mapping[str, Any]) -> str:
    """Of the words of the CreateTrainingJob request."""
    rest = dict(config)
    source = dict(rest.pop("DataSource", {}))
    s3 = dict(source.pop("S3DataSource", {}))
    uri = s3.pop("S3Uri", None)
    if rest.get("InputMode") == "File":
        del rest["InputMode"]
    for key, value in {**rest, **source, **s3}.items():
        if (key, value) not in _ALIKE:
            _refuse(channel, key, value)
    return _uri(channel, uri if isinstance(uri, str) else config)


#: What is so without being said.
_ALIKE = (
    ("S3DataType", "S3Prefix"),
    ("S3DataDistributionType", "FullyReplicated"),
    ("CompressionType", "None"),
    ("RecordWrapperType", "None"),
)


def _of_source(channel: str, source: Any) -> str:
    if isinstance(source, str):
        return _uri(channel, source)
    inner = _given(source, "s3_data_source")
    source = source if inner is None else inner
    uri = _given(source, "s3_uri")
    if not isinstance(uri, str):
        _refuse(channel, type(source).__name__, source)
    alike = {"s3_data_type": "S3Prefix", "s3_data_distribution_type": "FullyReplicated", "s3_uri": uri}
    fields = getattr(type(source), "model_fields", alike)
    for name in fields:
        value = _given(source, name)
        if value is not None and value != alike.get(name):
            _refuse(channel, name, value)
    return _uri(channel, uri)


def _given(owner: object, name: str) -> Any:
    """An attribute of a shape of version 3, where what was not given is an object of class ``Unassigned``."""
    value = getattr(owner, name, None)
    return None if type(value).__name__ == "Unassigned" else value


def _refuse(channel: str, what: str, value: object) -> None:
    if value is not None:
        raise SpecError(
            f"The channel {channel!r} has {what}={value!r:.200}, which trials cannot be given.",
            f"Leave it out. {_HINT}",
        )
