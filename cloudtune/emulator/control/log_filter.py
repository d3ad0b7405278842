"""FilterLogEvents: what moto leaves out of it."""

from __future__ import annotations

from moto.logs.models import logs_backends

from cloudtune.emulator.service_error import JsonObject, ServiceError
from cloudtune.emulator.settings import ACCOUNT_ID


def narrow(request: JsonObject, region: str) -> JsonObject | None:
    """The request as moto understands it: streams by name instead of by prefix, the group by name instead of by
    ARN, events of all streams in the order of time. None where no stream has the prefix.

    Raises:
        ServiceError: ``InvalidParameterException`` for names and a prefix of streams at once.
    """
    narrowed = {**request, "interleaved": True}  # the parameter has had no effect since 2019: always as if true
    identifier = narrowed.pop("logGroupIdentifier", None)
    if isinstance(identifier, str):
        narrowed.setdefault("logGroupName", identifier.partition(":log-group:")[2].split(":")[0] or identifier)
    prefix = narrowed.pop("logStreamNamePrefix", None)
    if prefix is None:
        return narrowed
    if "logStreamNames" in narrowed:
        raise ServiceError(
            "InvalidParameterException",
            "Specify logStreamNames or logStreamNamePrefix, not both.",
            rule="logs.filter",
        )
    group = logs_backends[ACCOUNT_ID][region].groups.get(str(narrowed.get("logGroupName")))
    if group is None:
        return narrowed  # for moto to say so
    narrowed["logStreamNames"] = [name for name in list(group.streams) if name.startswith(str(prefix))]
    return narrowed if narrowed["logStreamNames"] else None
