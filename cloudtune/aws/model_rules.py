"""Checks requests against botocore's service model: what botocore checks, and what it leaves to the service."""

from __future__ import annotations

import difflib
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import botocore
import botocore.session
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape

_MAX_SHOWN = 80
_CATEGORY = re.compile(r"\\p\{(\w+)\}")
# What "." excludes in the service's regular expressions (Java): Python's excludes the newline alone.
_ANY_CHARACTER = "[^\\n\\r\\x85\\u2028\\u2029]"
_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "float": (float, int),
    "double": (float, int),
}
_NAMED_CLASSES = {"Alnum": "a-zA-Z0-9"}


@dataclass(frozen=True)
class Violation:
    """One rule that a request breaks. ``path`` is like ``Tags[0].Key``; ``problem`` says what and the limit."""

    path: str
    value: object
    problem: str
    hint: str = ""


def violations(operation: str, request: Mapping[str, Any], service: str = "sagemaker") -> list[Violation]:
    """All rules of the service model that ``request`` breaks: required and unknown fields, types, lengths,
    ranges, patterns and choices."""
    shape = service_model(service).operation_model(operation).input_shape
    if shape is None:
        return []
    return list(_walk(shape, request, ""))


@lru_cache(maxsize=4)
def service_model(service: str) -> ServiceModel:
    """botocore's description of a service; read once."""
    return botocore.session.Session().get_service_model(service)


def _walk(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    expected = _TYPES.get(shape.type_name)
    if expected is not None and (
        not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)
    ):
        names = " or ".join(cls.__name__ for cls in expected)
        yield Violation(path or "request", value, f"{_short(value)} has the wrong type; {names} is needed")
        return
    yield from _leaf(shape, value, path)
    if isinstance(shape, StructureShape):
        yield from _members(shape, value, path)
    elif isinstance(shape, ListShape):
        for index, item in enumerate(value):
            yield from _walk(shape.member, item, f"{path}[{index}]")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _walk(shape.key, key, f"{path} key {_short(key)}")
            yield from _walk(shape.value, item, f"{path}[{_short(key)}]")


def _members(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[Violation]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield Violation(f"{prefix}{name}", None, "is missing")
    for name, item in value.items():
        if name not in shape.members:
            near = _near(str(name), list(shape.members))
            yield Violation(f"{prefix}{name}", item, f"is not known to botocore {botocore.__version__}", near)
        elif item is not None:
            yield from _walk(shape.members[name], item, f"{prefix}{name}")


def _leaf(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    sized = hasattr(value, "__len__")
    size = len(value) if sized else value
    if isinstance(size, (int, float)) and not isinstance(value, bool):
        unit = " characters" if isinstance(value, str) else " entries" if sized else ""
        verb = "has" if sized else "is"
        shown = f"{_short(value)} " if isinstance(value, str) else ""
        if high is not None and size > high:
            yield Violation(path, value, f"{shown}{verb} {size}{unit}; at most {high} are allowed")
            return
        if low is not None and size < low:
            yield Violation(path, value, f"{shown}{verb} {size}{unit}; at least {low} are needed")
            return
    if isinstance(shape, StringShape) and isinstance(value, str):
        yield from _text(shape, value, path)


def _text(shape: StringShape, value: str, path: str) -> Iterator[Violation]:
    choices = list(shape.enum)
    if choices and value not in choices:
        yield Violation(
            path,
            value,
            f"{_short(value)} is none of the {len(choices)} that botocore {botocore.__version__} knows",
            _near(value, choices),
        )
    pattern = shape.metadata.get("pattern")
    if pattern and not compiled_pattern(pattern, value.isascii()).fullmatch(value):
        yield Violation(path, value, f"{_short(value)} does not match {pattern}")


def _near(value: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(value, choices, n=3, cutoff=0.5)
    if near:
        return f"Near are {', '.join(near)}; newer ones need a newer boto3."
    return f"Known are {', '.join(choices[:20])}{', ...' if len(choices) > 20 else ''}."


@lru_cache(maxsize=256)
def compiled_pattern(pattern: str, ascii_only: bool) -> re.Pattern[str]:
    """A pattern of the service model (Java's dialect) for Python's ``re``.

    Args:
        ascii_only: The pattern will see ASCII alone; saves the walk over all of Unicode.
    """
    last = 0x7F if ascii_only else sys.maxunicode
    text = _CATEGORY.sub(lambda match: _characters(match[1], last), pattern)
    # \d, \w and \s mean ASCII in Java unless told otherwise.
    return re.compile(_translate_dots(text), re.ASCII)


def _translate_dots(pattern: str) -> str:
    """``.`` outside brackets, not escaped."""
    out: list[str] = []
    in_class = escaped = False
    for char in pattern:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == ".":
            out.append(_ANY_CHARACTER)
            continue
        out.append(char)
    return "".join(out)


@lru_cache(maxsize=32)
def _characters(category: str, last: int) -> str:
    """The inside of a bracket expression for ``\\p{category}``, such as L, Z, N."""
    if category in _NAMED_CLASSES:
        return _NAMED_CLASSES[category]
    ranges: list[list[int]] = []
    for code in range(last + 1):
        if unicodedata.category(chr(code)).startswith(category):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in ranges)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
