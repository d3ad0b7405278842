"""Input data of jobs, as users of the SageMaker SDKs give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.paths import S3Uri
from cloudtune.sagemaker_backend.sdk_objects import value_of

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
        if not value.startswith("s3://"):
            raise SpecError(f"The channel {channel!r} is {value!r:.200}, which is no S3 URI.", _HINT)
        return str(S3Uri.parse(value)) + ("/" if value.endswith("/") else "")
    config = getattr(value, "config", None)
    if isinstance(config, Mapping):  # TrainingInput of version 2
        return _of_request(channel, config)
    source = value_of(value, "data_source")
    if source is not None:  # InputData and Channel of version 3
        _refuse_others(channel, value, ("channel_name", "data_source"))
        return _of_source(channel, source)
    raise SpecError(f"The channel {channel!r} is {value!r:.200}, which is no data in S3.", _HINT)


def _of_request(channel: str, config: Mapping[str, Any]) -> str:
    """Of the words of the CreateTrainingJob request."""
    rest = dict(config)
    source = dict(rest.pop("DataSource", {}))
    s3 = dict(source.pop("S3DataSource", {}))
    uri = s3.pop("S3Uri", None)
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
    ("InputMode", "File"),
)


def _of_source(channel: str, source: Any) -> str:
    if isinstance(source, str):
        return _uri(channel, source)
    inner = value_of(source, "s3_data_source")
    if inner is not None:
        _refuse_others(channel, source, ("s3_data_source",))
        source = inner
    uri = value_of(source, "s3_uri")
    if not isinstance(uri, str):
        _refuse(channel, "data_source", source)
    _refuse_others(channel, source, ("s3_uri",))
    return _uri(channel, uri)


def _refuse_others(channel: str, owner: object, known: Sequence[str]) -> None:
    """Fields of an object of version 3 (a pydantic model) that say more than nothing."""
    for name in getattr(type(owner), "model_fields", ()):
        words = "".join(part.capitalize() for part in name.split("_"))
        if name not in known and (words, value_of(owner, name)) not in _ALIKE:
            _refuse(channel, name, value_of(owner, name))


def _refuse(channel: str, what: str, value: object) -> None:
    if value is not None:
        raise SpecError(
            f"The channel {channel!r} has {what}={value!r:.200}, which trials cannot be given.",
            f"Leave it out. {_HINT}",
        )
