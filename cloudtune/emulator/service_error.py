"""The error that the emulated service answers with."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]


class ServiceError(Exception):
    """Becomes an AWS error response; never seen by a caller of this package.

    Args:
        code: The service's error code, such as ``ValidationException``.
        message: In the service's wording where that is known.
        status: HTTP status.
        rule: The row of the table in ``docs/emulator.md`` that was broken; clients find it in the header
            ``x-emulator-rule``.
    """

    def __init__(self, code: str, message: str, status: int = 400, rule: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.rule = rule


def invalid(message: str, rule: str = "") -> ServiceError:
    return ServiceError("ValidationException", message, rule=rule)


def not_found() -> ServiceError:
    # Describe and Stop declare ResourceNotFound, but clients in the field see this one.
    return invalid("Requested resource not found.", rule="job.not-found")
