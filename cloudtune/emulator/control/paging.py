"""Pages of sorted documents, and the tokens that lead from one to the next."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from cloudtune.emulator.service_error import JsonObject, invalid

_NOT_THE_QUERY = ("NextToken", "MaxResults")
Rank = tuple[Any, ...]


def take_page(
    documents: Sequence[JsonObject],
    request: JsonObject,
    size: int,
    value_of: Callable[[JsonObject], Any],
    descending: bool,
) -> tuple[list[JsonObject], JsonObject]:
    """One page of ``documents``, and the answer's ``NextToken`` if there are more.

    The token names the last item shown, so that jobs created or ended between two pages neither repeat others nor
    hide them; and the query, for which alone it is good.

    Args:
        documents: All that match; each with ``TrainingJobName``.
        request: Of the list operation.
        size: Most documents on a page.
        value_of: What to sort by: numbers before texts before None.
        descending: Order.

    Raises:
        ServiceError: The token is not one of this query's.
    """

    def rank(document: JsonObject) -> Rank:
        value = value_of(document)
        number = isinstance(value, (int, float))
        return (value is None, not number, value if number else str(value), document["TrainingJobName"])

    ranked = sorted(((rank(document), document) for document in documents), key=_first, reverse=descending)
    if "NextToken" in request:
        last = _decode(request["NextToken"], request)
        ranked = [item for item in ranked if (item[0] < last if descending else item[0] > last)]
    page = [document for _, document in ranked[:size]]
    if len(ranked) > size:
        return page, {"NextToken": _encode(ranked[size - 1][0], request)}
    return page, {}


def _first(item: tuple[Rank, JsonObject]) -> Rank:
    return item[0]


def _query(request: JsonObject) -> str:
    """A short name of what is asked for."""
    asked = {name: value for name, value in request.items() if name not in _NOT_THE_QUERY}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _encode(rank: Rank, request: JsonObject) -> str:
    return base64.urlsafe_b64encode(json.dumps([_query(request), *rank]).encode()).decode()


def _decode(token: str, request: JsonObject) -> Rank:
    try:
        query, *rank = json.loads(base64.urlsafe_b64decode(token.encode()))
        if [type(part) for part in rank[:2]] != [bool, bool] or len(rank) != 4 or not isinstance(rank[3], str):
            raise ValueError(rank)
        if not isinstance(rank[2], str if rank[1] else (int, float)):
            raise ValueError(rank)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise invalid("The NextToken is invalid.", rule="paging.token") from None
    if query != _query(request):
        raise invalid("The NextToken belongs to another query.", rule="paging.same-query")
    return tuple(rank)
