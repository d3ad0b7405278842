"""Strict reading of JSON objects into dataclasses: every mistake is named by its place and its choices."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import SpecError

T = TypeVar("T")


def number(low: float = 0.0, high: float = math.inf, *, above: bool = False, **default: float | None) -> Any:
    """A field for a finite number in [``low``, ``high``], or above ``low``; ``default=`` is its default."""
    return dataclasses.field(metadata={"range": (low, high, above)}, **default)  # type: ignore[call-overload]


def chance() -> Any:
    """A field for a probability; always, unless said otherwise."""
    return number(0.0, 1.0, default=1.0)


def choice(*allowed: str) -> Any:
    """A field for one of these words, or several."""
    return dataclasses.field(metadata={"allowed": allowed})


def read(wanted: type[T], document: object, where: str) -> T:
    """An object of a dataclass from its members; those of a member ``limits`` stand among the others.

    Raises:
        SpecError: A member is unknown, missing, of another type or out of range; ``where`` says where.
    """
    if not isinstance(document, Mapping):
        raise SpecError(f"{where} must be a JSON object, not {document!r}.", f"It has: {_names(wanted)}.")
    fields = _flat_fields(wanted)
    for name in document:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, 1)
            guess = f"Did you mean {near[0]!r}? " if near else ""
            raise SpecError(f"{where} has no field {name!r}.", f"{guess}It has: {_names(wanted)}.")
    return _build(wanted, document, where)


def to_document(value: object) -> JsonObject:
    """What :func:`read` reads, without the members that have their default."""
    document: JsonObject = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        found = getattr(value, field.name)
        if field.name == "limits":
            document |= to_document(found)
        elif field.default is dataclasses.MISSING or found != field.default:
            document[field.name] = _plain(found)
    return document


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_document(value) if dataclasses.is_dataclass(value) else value


def _build(wanted: type[T], document: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(wanted)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(wanted):  # type: ignore[arg-type]
        if field.name == "limits":
            values["limits"] = _build(hints["limits"], document, where)
        elif field.name in document:
            values[field.name] = _value(hints[field.name], document[field.name], field, f"{where}: {field.name}")
        elif field.default is dataclasses.MISSING:
            raise SpecError(f"{where} lacks {field.name!r}.", f"It has: {_names(wanted)}.")
    return wanted(**values)


def _value(hint: Any, given: Any, field: dataclasses.Field[Any], where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if given is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    if typing.get_origin(kind) is tuple:
        return _several(typing.get_args(kind)[0], given, field, where)
    if dataclasses.is_dataclass(kind):
        return read(kind, given, where)  # type: ignore[arg-type]
    return _simple(kind, given, field, where)


def _several(kind: Any, given: Any, field: dataclasses.Field[Any], where: str) -> tuple[Any, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise SpecError(f"{where} must be a list of one or more, not {given!r}.", f'Write ["..."] for {where}.')
    return tuple(_value(kind, item, field, f"{where}[{index}]") for index, item in enumerate(given))


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _simple(kind: Any, given: Any, field: dataclasses.Field[Any], where: str) -> Any:
    fits = isinstance(given, (int, float) if kind is float else kind)
    if not fits or (isinstance(given, bool) and kind is not bool):
        raise SpecError(f"{where} must be {_WORDS[kind]}, not {given!r}.", f"Give {_WORDS[kind]}.")
    allowed = field.metadata.get("allowed", ())
    if allowed and given not in allowed:
        raise SpecError(f"{where} must not be {given!r}.", f"Choose one of: {', '.join(allowed)}.")
    if "range" in field.metadata:
        low, high, above = field.metadata["range"]
        if not low <= given <= high or not given < math.inf or (above and given <= low):
            limits = f"{'above' if above else 'from'} {low:g}" + (f" to {high:g}" if high < math.inf else "")
            raise SpecError(f"{where}={given!r} is out of range.", f"Give a number {limits}.")
    return _float(given, where) if kind is float else given


def _float(given: float, where: str) -> float:
    try:
        return float(given)
    except OverflowError:
        raise SpecError(f"{where} is out of range.", "Give a smaller number.") from None


def _flat_fields(wanted: type) -> list[str]:
    hints = typing.get_type_hints(wanted)
    names: list[str] = []
    for field in dataclasses.fields(wanted):
        names += _flat_fields(hints["limits"]) if field.name == "limits" else [field.name]
    return [name for name in names if name not in getattr(wanted, "no_limits", ())]


def _names(wanted: type) -> str:
    return ", ".join(_flat_fields(wanted))
