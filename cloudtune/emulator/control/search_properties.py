"""What Search knows of a training job: the names of its properties, their types and values."""

from __future__ import annotations

from enum import Enum
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from cloudtune.emulator.service_error import JsonObject, invalid


class Kind(Enum):
    """How values of a property compare."""

    text = "text"
    number = "numeric"
    boolean = "Boolean"
    timestamp = "timestamp"
    parameter = "hyperparameter"  # a text that counts as a number beside a number
    structure = "structure"  # exists, or not


_SCALARS = {
    "string": Kind.text,
    "integer": Kind.number,
    "long": Kind.number,
    "float": Kind.number,
    "double": Kind.number,
    "boolean": Kind.boolean,
    "timestamp": Kind.timestamp,
}


class Properties:
    """The properties of one resource.

    Args:
        shape: Of the resource, in botocore's model.
    """

    def __init__(self, shape: StructureShape) -> None:
        self._shape = shape

    def kind(self, path: str) -> Kind:
        """Of the property at a dotted path. Raises ServiceError for what the resource does not have."""
        head, _, rest = path.partition(".")
        if rest and head in ("Tags", "Metrics", "HyperParameters"):
            return {"Tags": Kind.text, "Metrics": Kind.number, "HyperParameters": Kind.parameter}[head]
        shape: Shape | None = self._shape
        for name in path.split("."):
            shape = _member(shape, name)
        if shape is None:
            raise invalid(f"Unknown property name: {path}.", rule="search.property")
        return _SCALARS.get(shape.type_name, Kind.structure)

    def values(self, document: JsonObject, path: str) -> list[Any]:
        """The values at a path: none, one, or one for each element of a list on the way."""
        head, _, rest = path.partition(".")
        if head == "Tags" and rest:
            return [tag["Value"] for tag in document.get("Tags", []) if tag["Key"] == rest]
        if head == "Metrics" and rest:
            metrics = document.get("FinalMetricDataList", [])
            return [metric["Value"] for metric in metrics if metric["MetricName"] == rest]
        if head in ("HyperParameters", "Environment") and rest:
            found = document.get(head, {})
            return [found[rest]] if rest in found else []
        return _walk(document, path.split("."))


def _member(shape: Shape | None, name: str) -> Shape | None:
    while isinstance(shape, ListShape):
        shape = shape.member
    if isinstance(shape, MapShape):
        return shape.value
    return shape.members.get(name) if isinstance(shape, StructureShape) else None


def _walk(value: Any, names: list[str]) -> list[Any]:
    if isinstance(value, list) and names:
        return [found for item in value for found in _walk(item, names)]
    if not names:
        return [value]
    return _walk(value[names[0]], names[1:]) if isinstance(value, dict) and names[0] in value else []
