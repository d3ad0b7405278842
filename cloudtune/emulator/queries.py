"""ListTrainingJobs and Search: filters, order, pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any

from cloudtune.emulator.jobs import TrainingJob
from cloudtune.emulator.service_error import JsonObject, invalid
from cloudtune.emulator.validation import parse_time

_LIST_PAGE = 10
_SEARCH_PAGE = 10
_MAX_CONDITIONS = 50
_SUMMARY = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
    "WarmPoolStatus",
)
_LIST_KEYS = {"CreationTime": "CreationTime", "Name": "TrainingJobName", "Status": "TrainingJobStatus"}
Document = JsonObject
Condition = Callable[[Document], bool]


def list_jobs(jobs: Sequence[TrainingJob], request: JsonObject) -> JsonObject:
    """The answer to ListTrainingJobs."""
    documents = [document for job in jobs if _listed(document := job.describe(), request)]
    page, token = _page(
        documents,
        _LIST_KEYS[request.get("SortBy", "CreationTime")],
        request.get("SortOrder", "Ascending") == "Descending",
        request.get("MaxResults", _LIST_PAGE),
        request.get("NextToken"),
    )
    summaries = [{name: document[name] for name in _SUMMARY if name in document} for document in page]
    return {"TrainingJobSummaries": summaries, **token}


def _listed(document: Document, request: JsonObject) -> bool:
    if request.get("NameContains", "").lower() not in document["TrainingJobName"].lower():
        return False
    if request.get("StatusEquals", document["TrainingJobStatus"]) != document["TrainingJobStatus"]:
        return False
    if "WarmPoolStatusEquals" in request or "TrainingPlanArnEquals" in request:
        return False  # no job of this emulator has a warm pool or a training plan
    for field in ("CreationTime", "LastModifiedTime"):
        if document[field] <= request.get(f"{field}After", float("-inf")):
            return False
        if document[field] >= request.get(f"{field}Before", float("inf")):
            return False
    return True


def search_jobs(jobs: Sequence[TrainingJob], request: JsonObject, members: Sequence[str]) -> JsonObject:
    """The answer to Search for training jobs; ``members`` of the service's TrainingJob are returned."""
    condition = _expression(request.get("SearchExpression"))
    documents = [document for job in jobs if condition(document := job.describe())]
    page, token = _page(
        documents,
        request.get("SortBy", "LastModifiedTime"),
        request.get("SortOrder", "Descending") == "Descending",
        request.get("MaxResults", _SEARCH_PAGE),
        request.get("NextToken"),
    )
    results = [{"TrainingJob": {name: found[name] for name in members if name in found}} for found in page]
    return {"Results": results, **token}


def _page(
    documents: list[Document], key: str, descending: bool, size: int, token: str | None
) -> tuple[list[Document], JsonObject]:
    """One page, and the token of the next. The token names the last item shown, so that jobs created or ended
    between two pages neither repeat others nor hide them."""

    def rank(document: Document) -> tuple[Any, ...]:
        value = _property(document, key)
        number = isinstance(value, (int, float))
        return (value is None, not number, value if number else str(value), document["TrainingJobName"])

    ordered = sorted(documents, key=rank, reverse=descending)
    if token is not None:
        last = tuple(_decode(token))
        ordered = [item for item in ordered if (rank(item) < last if descending else rank(item) > last)]
    page = ordered[:size]
    if len(ordered) > size:
        return page, {"NextToken": _encode(rank(page[-1]))}
    return page, {}


def _encode(rank: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(rank).encode()).decode()


def _decode(token: str) -> list[Any]:
    try:
        rank = json.loads(base64.urlsafe_b64decode(token.encode()))
        if [type(part) for part in rank[:2]] != [bool, bool] or len(rank) != 4 or not isinstance(rank[3], str):
            raise ValueError(rank)
        if not isinstance(rank[2], str if rank[1] else (int, float)):
            raise ValueError(rank)
    except (ValueError, TypeError, KeyError, binascii.Error, UnicodeDecodeError):
        raise invalid("The NextToken is invalid.") from None
    return list(rank)


def _expression(expression: JsonObject | None) -> Condition:
    if expression is None:
        return lambda _: True
    filters = expression.get("Filters", [])
    nested = expression.get("NestedFilters", [])
    inner = expression.get("SubExpressions", [])
    if not filters and not nested and not inner:
        raise invalid("A SearchExpression needs at least one filter, nested filter or subexpression.")
    if len(filters) + len(nested) + len(inner) > _MAX_CONDITIONS:
        raise invalid(f"A SearchExpression may hold at most {_MAX_CONDITIONS} conditions.")
    if sum(item.get("Operator") == "Contains" for item in filters) > 1:
        raise invalid("'CONTAINS' operator usage limit of 1 exceeded.")
    conditions = [_filter(item) for item in filters]
    conditions += [_nested(item) for item in nested]
    conditions += [_expression(item) for item in inner]
    combine = any if expression.get("Operator") == "Or" else all
    return lambda document: combine(condition(document) for condition in conditions)


def _nested(item: JsonObject) -> Condition:
    path = item["NestedPropertyName"]
    prefix = f"{path}."
    conditions = [
        _filter({**inner, "Name": inner["Name"].removeprefix(prefix)}) for inner in item.get("Filters", [])
    ]

    def holds(document: Document) -> bool:
        elements = _property(document, path)
        return isinstance(elements, list) and any(
            all(condition(element) for condition in conditions) for element in elements
        )

    return holds


def _filter(item: JsonObject) -> Condition:
    name, operator, wanted = item["Name"], item.get("Operator", "Equals"), item.get("Value")
    if operator not in ("Exists", "NotExists") and wanted is None:
        raise invalid(f"The filter on {name!r} needs a Value.")
    return lambda document: _compare(operator, _property(document, name), wanted or "")


def _compare(operator: str, value: Any, wanted: str) -> bool:
    if operator == "Exists":
        return value is not None
    if operator == "NotExists":
        return value is None
    if operator == "NotEquals":
        return value is None or not _equal(value, wanted)
    if value is None:
        return False
    if operator == "Equals":
        return _equal(value, wanted)
    if operator == "In":
        return any(_equal(value, part.strip()) for part in wanted.split(","))
    if operator == "Contains":
        return wanted in str(value)
    left, right = _number(value), _number(wanted)
    if left is None or right is None:
        return False
    return {
        "GreaterThan": left > right,
        "GreaterThanOrEqualTo": left >= right,
        "LessThan": left < right,
        "LessThanOrEqualTo": left <= right,
    }[operator]


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        return value == _number(wanted)
    return str(value) == wanted


def _number(value: Any) -> float | None:
    """Of a number, a number's text or a time's; None for other text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return parse_time(str(value))
    except ValueError:
        return None


def _property(document: Document, path: str) -> Any:
    """The value at a dotted path; ``Tags.k``, ``Metrics.k`` and ``HyperParameters.k`` as Search has them."""
    head, _, rest = path.partition(".")
    if head == "Tags" and rest:
        return next((tag["Value"] for tag in document.get("Tags", []) if tag["Key"] == rest), None)
    if head == "Metrics" and rest:
        metrics = document.get("FinalMetricDataList", [])
        return next((metric["Value"] for metric in metrics if metric["MetricName"] == rest), None)
    if head in ("HyperParameters", "Environment") and rest:
        return document.get(head, {}).get(rest)
    value = document.get(head)
    return _property(value, rest) if rest and isinstance(value, dict) else (None if rest else value)
