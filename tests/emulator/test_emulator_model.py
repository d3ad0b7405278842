"""Every constraint of the service model on every member of every operation on training jobs.

A value that breaks it is refused by name, one that keeps it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from emulator_desk import Desk

from cloudtune.emulator.control.validation import RequestValidator, load_model
from cloudtune.emulator.service_error import ServiceError

MODEL = load_model("sagemaker")
VALIDATOR = RequestValidator(MODEL)
OPERATIONS = Desk().control.operations
PLAIN = "a" * 21  # matches most patterns, and is a legal length of most texts
#: A text for each pattern that PLAIN does not match.
MATCHING = {
    "arn:[\\p{Alnum}\\-]+:lambda:[\\p{Alnum}\\-]+:[0-9]{12}:function:.*": (
        "arn:aws:lambda:us-east-1:123456789012:function:f"
    ),
    "arn:aws[a-z\\-]*:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+": "arn:aws:iam::123456789012:role/r",
    "(https|s3)://([^/]+)/?(.*)": "s3://bucket/key",
    "(fs-[0-9a-f]{8,})": "fs-0123456789abcdef0",
    "arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]*:[0-9]{12}:training-plan/.*": (
        "arn:aws:sagemaker:us-east-1:123456789012:training-plan/mine"
    ),
    "\\d+K": "32K",
    "arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]*:[0-9]{12}:mlflow-[a-zA-Z-]*/.*": (
        "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/mine"
    ),
    "arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]{9,16}:[0-9]{12}:model-package-group/[\\S]{1,2048}": (
        "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/mine"
    ),
    "arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]{9,16}:[0-9]{12}:model-package/[\\S]{1,2048}": (
        "arn:aws:sagemaker:us-east-1:123456789012:model-package/mine"
    ),
    "arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:[0-9]{12}:.+": (
        "arn:aws:sagemaker:us-east-1:123456789012:training-job/job"
    ),
}
HUB = "(arn:[a-z0-9-\\.]{1,63}:sagemaker:"  # the patterns of hub content, which differ by the kind's name
EVERYTHING = "[\\S\\s]*"
LINES = (".*", ".+")  # anything without the end of a line; other patterns have no # either


@dataclass(frozen=True)
class Constraint:
    """At ``path``: ``bad`` is refused with a message that holds ``text``, ``good`` is not."""

    path: tuple[str | int, ...]
    text: str
    bad: Any
    good: Any


def example(shape: Shape, size: int | None = None) -> Any:
    """A legal value; a text, list or map of that size."""
    meta = shape.metadata
    low = meta.get("min", 0) if size is None else size
    if isinstance(shape, StructureShape):
        return {name: example(shape.members[name]) for name in shape.required_members}
    if isinstance(shape, ListShape):
        return [example(shape.member)] * max(low, 1 if size is None else 0)
    if isinstance(shape, MapShape):
        return {f"{example(shape.key)[:-4]}{number:04d}": example(shape.value) for number in range(low)}
    if isinstance(shape, StringShape):
        return text(shape, low if size is not None else None)
    return {"boolean": True, "timestamp": 0, "float": 1.0, "double": 1.0}.get(shape.type_name, max(1, low))


def text(shape: StringShape, size: int | None = None) -> str:
    if shape.enum:
        return str(shape.enum[0])
    pattern = shape.metadata.get("pattern", "")
    if pattern.startswith(HUB):
        kind = "DataSet" if "DataSet" in pattern else "Model"
        found = f"arn:aws:sagemaker:us-east-1:aws:hub-content/Hub/{kind}/it"
    else:
        found = MATCHING.get(pattern, PLAIN)
    if size is None:
        size = min(max(len(found), shape.metadata.get("min", 0)), shape.metadata.get("max", len(found)))
        return found + "a" * (size - len(found)) if found != PLAIN else "a" * size
    return found + found[-1] * (size - len(found)) if len(found) <= size else found[:size]


def constraints(shape: Shape, path: tuple[str | int, ...], above: tuple[str, ...] = ()) -> Iterator[Constraint]:
    """Of a shape and all below it, each recursive shape once."""
    if shape.name in above:
        return
    above = (*above, shape.name)
    yield from own(shape, path)
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            if name in shape.required_members:
                yield Constraint((*path, name), "Member must not be null", None, example(member))
            yield from constraints(member, (*path, name), above)
    elif isinstance(shape, ListShape):
        yield from constraints(shape.member, (*path, 0), above)
    elif isinstance(shape, MapShape):
        for part, position in ((shape.key, "key"), (shape.value, "value")):
            for found in own(part, (*path, position)):
                if position == "key":
                    bad, good = {found.bad: example(shape.value)}, {found.good: example(shape.value)}
                else:
                    bad, good = {example(shape.key): found.bad}, {example(shape.key): found.good}
                yield Constraint(path, f"Map {position} must satisfy constraint: [{found.text}", bad, good)


def own(shape: Shape, path: tuple[str | int, ...]) -> Iterator[Constraint]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    sized = isinstance(shape, (StringShape, ListShape, MapShape))
    if sized and high is not None and high < 10_000:
        words = f"length less than or equal to {high}"
        yield Constraint(path, f"Member must have {words}", example(shape, high + 1), example(shape))
    if sized and low:
        words = f"length greater than or equal to {low}"
        yield Constraint(path, f"Member must have {words}", example(shape, low - 1), example(shape))
    if not sized and high is not None:
        yield Constraint(path, f"value less than or equal to {high}", high + 1, high)
    if not sized and low is not None:
        yield Constraint(path, f"value greater than or equal to {low}", low - 1, low)
    if isinstance(shape, StringShape) and shape.enum:
        yield Constraint(path, "Member must satisfy enum value set", "no-such-choice", shape.enum[-1])
    pattern = shape.metadata.get("pattern")
    if isinstance(shape, StringShape) and pattern not in (None, EVERYTHING):
        words = f"Member must satisfy regular expression pattern: {pattern}"
        for character in ("\n",) if pattern in LINES else ("\n", "#"):
            yield Constraint(path, words, character * max(1, low or 0), text(shape))


def request_with(shape: Shape, path: tuple[str | int, ...], value: Any) -> Any:
    """A legal request but for ``value`` at ``path``; a missing member for None."""
    if not path:
        return value
    head, *rest = path
    if isinstance(shape, ListShape):
        return [request_with(shape.member, tuple(rest), value)]
    assert isinstance(shape, StructureShape)
    found = example(shape)
    inner = request_with(shape.members[str(head)], tuple(rest), value)
    found[head] = inner
    return {name: item for name, item in found.items() if item is not None}


ALL = [
    (operation, constraint)
    for operation in OPERATIONS
    for constraint in constraints(MODEL.operation_model(operation).input_shape, ())
]


def verdict(operation: str, constraint: Constraint, value: Any) -> str:
    """The message of the refusal; empty where the request is accepted."""
    shape = MODEL.operation_model(operation).input_shape
    try:
        VALIDATOR.check(operation, request_with(shape, constraint.path, value))
    except ServiceError as error:
        return error.message if error.code == "ValidationException" else error.code
    return ""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_constraint_of_the_model(operation: str) -> None:
    tested = [constraint for name, constraint in ALL if name == operation]
    assert tested
    for constraint in tested:
        message = verdict(operation, constraint, constraint.bad)
        assert constraint.text in message, (constraint, message)
        assert message.startswith("1 validation error detected: Value"), message
        where = ".".join(
            f"{part + 1}.member" if isinstance(part, int) else camel(part) for part in constraint.path
        )
        assert f" at '{where}' failed to satisfy constraint: " in message, (where, message)
        assert verdict(operation, constraint, constraint.good) == "", constraint


def camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def test_hundreds_of_constraints_are_tested() -> None:
    counts = {operation: sum(name == operation for name, _ in ALL) for operation in OPERATIONS}
    assert counts["CreateTrainingJob"] > 250
    assert sum(counts.values()) > 350


@pytest.mark.parametrize(
    ("pattern_like", "value", "accepted"),
    [
        ("hyperparameter", "a\rb", False),  # Java's dot stops at any end of a line
        ("hyperparameter", "a\u2028b", False),
        ("hyperparameter", "héllo \U0001f600", True),
        ("account", "123456789012", True),
        ("account", "١٢٣٤٥٦٧٨٩٠١٢", False),  # Java's \d is ASCII
        ("tag", "é ٣", True),  # categories are Unicode's
    ],
)
def test_patterns_are_read_as_java_does(pattern_like: str, value: str, accepted: bool) -> None:
    shape = MODEL.operation_model("CreateTrainingJob").input_shape
    request = example(shape)
    if pattern_like == "hyperparameter":
        request["HyperParameters"] = {"a": value}
    elif pattern_like == "account":
        request["RoleArn"] = f"arn:aws:iam::{value}:role/r"
    else:
        request["Tags"] = [{"Key": "k", "Value": value}]
    if accepted:
        VALIDATOR.check("CreateTrainingJob", request)
        return
    with pytest.raises(ServiceError, match="regular expression"):
        VALIDATOR.check("CreateTrainingJob", request)
