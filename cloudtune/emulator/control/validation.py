"""Requests held against botocore's own service model, as the service does it.

botocore itself checks only presence, type and ``min``; lengths, patterns and enums are found out by the service.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from itertools import islice
from typing import Any

import regex
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape

from cloudtune.emulator.service_error import JsonObject, ServiceError, invalid

_MATCH_TIMEOUT_S = 1.0
_SHOWN_LENGTH = 300  # of a refused value in the message
_MAX_ERRORS = 100
_MAX_DEPTH = 40  # only SearchExpression nests at all
# A dot, or what may hold one that means itself: an escape, or a set.
_DOT = regex.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\.", regex.DOTALL)
_NO_LINE_END = r"[^\n\r\x85\u2028\u2029]"
_NUMBERS = ("integer", "long", "float", "double")


@lru_cache(maxsize=8)
def load_model(service: str) -> ServiceModel:
    """botocore's model of a service, such as ``sagemaker``."""
    # Without a session, which would read the user's configuration and may refuse it.
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


class RequestValidator:
    """Checks requests of one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model

    def check(self, operation: str, params: object) -> JsonObject:
        """Returns the members that the model knows, timestamps as seconds since the epoch.

        Raises:
            ServiceError: ``SerializationException`` for a wrong type, ``ValidationException`` for the rest.
        """
        if not isinstance(params, dict):
            raise _wrong_type("Start of structure or map found where not expected.")
        shape = self._model.operation_model(operation).input_shape
        if shape is None:
            return {}
        found = _convert(shape, params, 0)
        errors = list(islice(_violations(shape, found, ""), _MAX_ERRORS))
        if errors:
            noun = "error" if len(errors) == 1 else "errors"
            message = f"{len(errors)} validation {noun} detected: {'; '.join(errors)}"
            raise invalid(message, rule="model.constraint")
        return dict(found)


def _wrong_type(message: str) -> ServiceError:
    return ServiceError("SerializationException", message, rule="model.type")


def _convert(shape: Shape, value: Any, depth: int) -> Any:
    """``value`` reduced to what ``shape`` knows, types checked."""
    if depth > _MAX_DEPTH:
        raise _wrong_type("The request is nested too deeply.")
    if isinstance(shape, StructureShape):
        _expect(isinstance(value, dict), shape, value)
        return {
            name: _convert(member, value[name], depth + 1)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        _expect(isinstance(value, list), shape, value)
        return [_convert(shape.member, item, depth + 1) for item in value if item is not None]
    if isinstance(shape, MapShape):
        _expect(isinstance(value, dict), shape, value)
        return {
            _convert(shape.key, key, depth + 1): _convert(shape.value, item, depth + 1)
            for key, item in value.items()
            if item is not None
        }
    return _scalar(shape, value)


def _scalar(shape: Shape, value: Any) -> Any:
    kind = shape.type_name
    if kind == "string":
        _expect(isinstance(value, str), shape, value)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _wrong_type("A string is no valid Unicode.") from None
        return value
    if kind == "boolean":
        _expect(isinstance(value, bool), shape, value)
        return value
    if kind == "timestamp":
        return _timestamp(shape, value)
    if kind in _NUMBERS:
        whole = kind in ("integer", "long")
        _expect(isinstance(value, int if whole else (int, float)) and not isinstance(value, bool), shape, value)
        bits = 31 if kind == "integer" else 63
        if whole and not -(2**bits) <= value < 2**bits:
            raise _wrong_type(f"{_shown(value)} is out of range for {kind.capitalize()}")
    return value


def _expect(right: bool, shape: Shape, value: object) -> None:
    if not right:
        names = {str: "STRING_VALUE", bool: "TRUE_VALUE", int: "NUMBER_VALUE", float: "NUMBER_VALUE"}
        found = names.get(type(value), "Start of structure or map found where not expected:")
        wanted = {"string": "String", "integer": "Integer", "list": "List", "map": "Map"}.get(
            shape.type_name, shape.type_name.capitalize()
        )
        raise _wrong_type(f"{found} can not be converted to {wanted}")


def _timestamp(shape: Shape, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    _expect(is_number or isinstance(value, str), shape, value)
    try:
        moment = float(value) if is_number else parse_time(value)
    except (ValueError, OverflowError):
        moment = math.inf
    if not math.isfinite(moment):
        raise _wrong_type(f"{_shown(value)} can not be converted to Timestamp")
    return moment


def parse_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; UTC where it names no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _structure_violations(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _size_violations(shape, value, path)
        for number, item in enumerate(value, start=1):
            yield from _violations(shape.member, item, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        yield from _size_violations(shape, value, path)
        for key, item in value.items():
            for word, part, shown in (("key", shape.key, key), ("value", shape.value, item)):
                for constraint in _constraints(part, shown):
                    yield _sentence(shown, path, f"Map {word} must satisfy constraint: [{constraint}]")
            if isinstance(shape.value, (StructureShape, ListShape, MapShape)):
                yield from _violations(shape.value, item, f"{path}.{_shown(key)}.member")
    else:
        for constraint in _constraints(shape, value):
            yield _sentence(value, path, constraint)


def _structure_violations(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        where = f"{path}.{_camel(name)}" if path else _camel(name)
        if name in value:
            yield from _violations(member, value[name], where)
        elif name in shape.required_members:
            yield f"Value null at '{where}' failed to satisfy constraint: Member must not be null"


def _size_violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for constraint in _length_constraints(shape, len(value)):
        yield _sentence(value, path, constraint)


def _constraints(shape: Shape, value: Any) -> Iterator[str]:
    """What a string or number violates."""
    if isinstance(shape, StringShape):
        too_long_or_short = list(_length_constraints(shape, len(value)))
        yield from too_long_or_short
        pattern = shape.metadata.get("pattern")
        if pattern and not too_long_or_short and not _matches(pattern, value):
            yield f"Member must satisfy regular expression pattern: {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
    elif shape.type_name in _NUMBERS:
        if "min" in shape.metadata and value < shape.metadata["min"]:
            yield f"Member must have value greater than or equal to {shape.metadata['min']}"
        if "max" in shape.metadata and value > shape.metadata["max"]:
            yield f"Member must have value less than or equal to {shape.metadata['max']}"


def _length_constraints(shape: Shape, length: int) -> Iterator[str]:
    if length < shape.metadata.get("min", 0):
        yield f"Member must have length greater than or equal to {shape.metadata['min']}"
    if length > shape.metadata.get("max", length):
        yield f"Member must have length less than or equal to {shape.metadata['max']}"


def _shown(value: object) -> str:
    text = hex(value) if isinstance(value, int) and abs(value) > 2**64 else str(value)
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "..."


def _sentence(value: object, path: str, constraint: str) -> str:
    return f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: {constraint}"


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    """The pattern, which is Java's, for Python: a dot is no end of a line of any kind, the likes of ``\\d`` are
    ASCII (but the flag for it would take Unicode from categories as well)."""
    pattern = _DOT.sub(lambda match: match[0] if match[0] != "." else _NO_LINE_END, pattern)
    pattern = pattern.replace(r"\p{Alnum}", "a-zA-Z0-9")
    return regex.compile(pattern, 0 if r"\p{" in pattern else regex.ASCII)


def _matches(pattern: str, value: str) -> bool:
    try:
        return _compiled(pattern).fullmatch(value, timeout=_MATCH_TIMEOUT_S) is not None
    except TimeoutError:
        return False


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]
