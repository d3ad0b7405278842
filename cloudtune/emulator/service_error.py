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
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def not_found() -> ServiceError:
    # Describe and Stop declare ResourceNotFound, but clients in the field see this one.
    return invalid("Requested resource not found.")
