"""Search for training jobs: expressions, order, pages."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from botocore.model import StructureShape

from cloudtune.emulator.control.paging import take_page
from cloudtune.emulator.control.search_properties import Kind, Properties
from cloudtune.emulator.control.validation import parse_time
from cloudtune.emulator.faults.stale_reads import Readable
from cloudtune.emulator.service_error import JsonObject, invalid

_PAGE = 10
_MAX_CONDITIONS = 50
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "GreaterThan": operator.gt,
    "GreaterThanOrEqualTo": operator.ge,
    "LessThan": operator.lt,
    "LessThanOrEqualTo": operator.le,
}
_TEXT_ONLY = ("Contains", "In")
Condition = Callable[[JsonObject], bool]


class Search:
    """Answers Search for one kind of resource.

    Args:
        shape: The resource in botocore's model; its members are returned.
    """

    def __init__(self, shape: StructureShape) -> None:
        self._members = list(shape.members)
        self._properties = Properties(shape)

    def answer(self, jobs: Sequence[Readable], request: JsonObject) -> JsonObject:
        """The answer to Search. Raises ServiceError."""
        condition = self._condition(request)
        sort_by = request.get("SortBy", "LastModifiedTime")
        if self._properties.kind(sort_by) is Kind.structure:
            raise invalid(f"Results cannot be sorted by {sort_by}: it has no single value.", rule="search.sort")

        def sort_value(document: JsonObject) -> Any:
            return next(iter(self._properties.values(document, sort_by)), None)

        views = {view["TrainingJobName"]: (view, job) for job in jobs if condition(view := job.view())}
        page, token = take_page(
            [view for view, _ in views.values()],
            request,
            request.get("MaxResults", _PAGE),
            sort_value,
            request.get("SortOrder", "Descending") == "Descending",
        )
        results = [
            {"TrainingJob": {name: found[name] for name in self._members if name in found}}
            for found in (views[view["TrainingJobName"]][1].describe() for view in page)
        ]
        return {"Results": results, "TotalHits": {"Value": len(views), "Relation": "EqualTo"}, **token}

    def _condition(self, request: JsonObject) -> Condition:
        if request.get("CrossAccountFilterOption") == "CrossAccount":
            return lambda _: False  # nobody shares anything with this account
        conditions = [self._visible(item) for item in request.get("VisibilityConditions", [])]
        expression = request.get("SearchExpression")
        if expression is not None:
            _check_size(expression)
            conditions.append(self._expression(expression))
        return lambda document: all(condition(document) for condition in conditions)

    def _visible(self, item: JsonObject) -> Condition:
        key = item.get("Key", "")
        if not key.startswith("Tags."):
            raise invalid(
                f"The key {key!r} of a visibility condition must have the form Tags.<key>.",
                rule="search.visibility",
            )
        wanted = item.get("Value", "")
        return lambda document: all(value == wanted for value in self._properties.values(document, key))

    def _expression(self, expression: JsonObject) -> Condition:
        conditions = [self._filter(item, item["Name"]) for item in expression.get("Filters", [])]
        conditions += [self._nested(item) for item in expression.get("NestedFilters", [])]
        conditions += [self._expression(item) for item in expression.get("SubExpressions", [])]
        if not conditions:
            raise invalid(
                "A SearchExpression needs at least one filter, nested filter or subexpression.",
                rule="search.empty",
            )
        combine = any if expression.get("Operator") == "Or" else all
        return lambda document: combine(condition(document) for condition in conditions)

    def _nested(self, item: JsonObject) -> Condition:
        """Holds where a single element of the list satisfies all filters."""
        path = item["NestedPropertyName"]
        if self._properties.kind(path) is not Kind.structure:
            raise invalid(f"Property {path} is no list: it takes no nested filters.", rule="search.nested")
        outside = [inner["Name"] for inner in item["Filters"] if not inner["Name"].startswith(f"{path}.")]
        if outside:
            raise invalid(
                f"The nested filter on {outside[0]} must be on a property of {path}.", rule="search.nested"
            )
        conditions = [self._filter(inner, inner["Name"]) for inner in item["Filters"]]

        def holds(document: JsonObject) -> bool:
            found = self._properties.values(document, path)
            elements = found[0] if found and isinstance(found[0], list) else found
            return any(all(condition(_put(path, element)) for condition in conditions) for element in elements)

        return holds

    def _filter(self, item: JsonObject, path: str) -> Condition:
        kind = self._properties.kind(path)
        wanted, operation = item.get("Value"), item.get("Operator", "Equals")
        if operation in ("Exists", "NotExists"):
            present = operation == "Exists"
            return lambda document: bool(self._properties.values(document, path)) is present
        if wanted is None:
            raise invalid(f"The filter on {path} needs a Value.", rule="search.value")
        test = _test(operation, kind, wanted, path)
        if operation == "NotEquals":
            return lambda document: not any(test(value) for value in self._properties.values(document, path))
        return lambda document: any(test(value) for value in self._properties.values(document, path))


def _put(path: str, element: Any) -> JsonObject:
    """A document with nothing but ``element`` at ``path``."""
    for name in reversed(path.split(".")):
        element = {name: element}
    return dict(element)


def _check_size(expression: JsonObject) -> None:
    found = list(_parts(expression))
    if len(found) > _MAX_CONDITIONS:
        raise invalid(
            f"A SearchExpression may hold at most {_MAX_CONDITIONS} filters, nested filters and subexpressions.",
            rule="search.size",
        )
    if sum(item.get("Operator") == "Contains" for item in found) > 1:
        raise invalid("'CONTAINS' operator usage limit of 1 exceeded.", rule="search.contains-once")


def _parts(expression: JsonObject) -> Iterator[JsonObject]:
    """All filters, nested filters and subexpressions, at any depth."""
    yield from expression.get("Filters", [])
    for nested in expression.get("NestedFilters", []):
        yield nested
        yield from nested["Filters"]
    for inner in expression.get("SubExpressions", []):
        yield inner
        yield from _parts(inner)


def _test(operation: str, kind: Kind, wanted: str, path: str) -> Callable[[Any], bool]:
    """The comparison of one value with ``wanted``. Raises ServiceError for what the property's type lacks."""
    text = kind is Kind.text or (kind is Kind.parameter and (_number(wanted) is None or operation in _TEXT_ONLY))
    allowed = ("Equals", "NotEquals") if kind is Kind.boolean or text else ("Equals", "NotEquals", *_ORDER)
    if text:
        allowed += _TEXT_ONLY
    if kind is Kind.structure or operation not in allowed:
        raise invalid(
            f"Operator {operation} is not supported for the {kind.value} property {path}.", rule="search.operator"
        )
    if text:
        return _text_test(operation, wanted)
    if kind is Kind.boolean:
        return lambda value: str(value).lower() == wanted.lower()
    right = _moment(wanted, path) if kind is Kind.timestamp else _number(wanted)
    if right is None:
        raise invalid(f"{wanted!r} is no number: property {path} is numeric.", rule="search.value")
    if kind is Kind.timestamp and operation not in _ORDER:
        return lambda value: int(value) == int(right)
    compare: Callable[[Any, Any], bool] = _ORDER.get(operation, operator.eq)
    if kind is Kind.number:
        return lambda value: compare(value, right)
    return lambda value: _compare_parameter(compare, value, right, wanted)


def _text_test(operation: str, wanted: str) -> Callable[[Any], bool]:
    if operation == "Contains":
        return lambda value: wanted in value
    if operation == "In":
        choices = {part.strip() for part in wanted.split(",")}
        return lambda value: value in choices
    return lambda value: value == wanted


def _compare_parameter(compare: Callable[[Any, Any], bool], value: str, right: float, wanted: str) -> bool:
    """Beside an integer, decimal hyperparameters count as integers."""
    left = _number(value)
    if left is None:
        return False
    return compare(int(left), int(right)) if wanted.strip().lstrip("+-").isdigit() else compare(left, right)


def _number(text: str) -> float | None:
    """Of a finite number's text; None for any other."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _moment(text: str, path: str) -> float:
    try:
        return parse_time(text)
    except ValueError:
        raise invalid(
            f"{text!r} is no ISO 8601 time such as 2026-01-31T12:00:00: property {path} is a timestamp.",
            rule="search.value",
        ) from None
