"""Data of trials, in the words of both SDKs (whose real objects are in tests/sdk)."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from cloudtune.errors import SpecError
from cloudtune.sagemaker_backend.channels import channel_uris

URI = "s3://bucket/data/"


class TrainingInput:
    """As version 2 has it."""

    def __init__(self, uri: str = URI, *, source: dict[str, Any] | None = None, **config: Any) -> None:
        s3 = {
            "S3DataType": "S3Prefix",
            "S3Uri": uri,
            "S3DataDistributionType": "FullyReplicated",
            **(source or {}),
        }
        self.config = {"DataSource": {"S3DataSource": s3}, **config}


class Unassigned:
    """What version 3 has where nothing was said."""


class Model:
    """As pydantic's."""

    model_fields: ClassVar[dict[str, None]] = {}

    def __init__(self, **values: Any) -> None:
        type(self).model_fields = dict.fromkeys({*type(self).model_fields, *values})
        self.__dict__ |= values


def input_data(name: str = "train", source: Any = URI, **more: Any) -> Model:
    return type("InputData", (Model,), {})(channel_name=name, data_source=source, **more)


def s3_source(**more: Any) -> Model:
    values = {"s3_data_type": "S3Prefix", "s3_uri": URI, "s3_data_distribution_type": "FullyReplicated", **more}
    return type("S3DataSource", (Model,), {})(**values)


@pytest.mark.parametrize(
    ("inputs", "channels"),
    [
        (None, {}),
        ({}, {}),
        (URI, {"training": URI}),
        ({"train": "s3://bucket/a", "test": URI}, {"train": "s3://bucket/a", "test": URI}),
        (TrainingInput(), {"training": URI}),
        ({"train": TrainingInput(InputMode="File", CompressionType="None")}, {"train": URI}),
        ([input_data(content_type=None)], {"train": URI}),
        ([input_data("a"), input_data("b", s3_source(attribute_names=Unassigned()))], {"a": URI, "b": URI}),
        ([input_data("a", type("DataSource", (Model,), {})(s3_data_source=s3_source()))], {"a": URI}),
        ([input_data(input_mode="File", shuffle_config=Unassigned())], {"train": URI}),
    ],
)
def test_channels(inputs: object, channels: dict[str, str]) -> None:
    assert channel_uris(inputs) == channels


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("data/", ["'training'", "data/"]),
        ({"train": "file:///data"}, ["'train'", "file:///data"]),
        ({"train": 3}, ["'train'", "3"]),
        (3, ["3"]),
        ([URI], ["channel_name"]),
        ([input_data("a"), input_data("a")], ["channel_name"]),
        (TrainingInput(InputMode="Pipe"), ["InputMode='Pipe'"]),
        (TrainingInput(ContentType="text/csv"), ["ContentType='text/csv'"]),
        (TrainingInput(source={"S3DataDistributionType": "ShardedByS3Key"}), ["ShardedByS3Key"]),
        (TrainingInput(source={"S3DataType": "ManifestFile"}), ["ManifestFile"]),
        ([input_data(content_type="text/csv")], ["content_type='text/csv'"]),
        ([input_data(source=s3_source(s3_data_type="ManifestFile"))], ["ManifestFile"]),
        ([input_data(source=type("FileSystemDataSource", (Model,), {})(file_system_id="fs-1"))], ["data_source"]),
    ],
)
def test_other_ways_to_give_data_are_refused(inputs: object, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        channel_uris(inputs)
    for word in [*words, "s3://bucket/prefix"]:
        assert word in str(caught.value)
