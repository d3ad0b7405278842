"""A few operations of a service with a JSON protocol, answered in front of moto."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from cloudtune.emulator.control.validation import RequestValidator, load_model
from cloudtune.emulator.service_error import JsonObject

#: Gets region and request; None lets moto answer. Raises ServiceError.
Operation = Callable[[str, JsonObject], "JsonObject | None"]


class JsonService:
    """Checks requests by botocore's model, which is read when it is first needed.

    Args:
        service: Its name in botocore.
        operations: What is answered here, by name.
    """

    def __init__(self, service: str, operations: Mapping[str, Operation]) -> None:
        self._service = service
        self._operations = dict(operations)

    @cached_property
    def _validator(self) -> RequestValidator:
        return RequestValidator(load_model(self._service))

    def answer(self, operation: str, region: str, request: object) -> JsonObject | None:
        """The answer; None to let moto answer. Raises ServiceError."""
        if operation not in self._operations:
            return None
        return self._operations[operation](region, self._validator.check(operation, request))
