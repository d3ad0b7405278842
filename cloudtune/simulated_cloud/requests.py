"""Requests of the tuner: what they meet on their way to the service, and errors as its clients see them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from cloudtune.aws.errors import ServiceAnswer, from_answer
from cloudtune.emulator.faults import Faults
from cloudtune.emulator.faults.calls import Call
from cloudtune.emulator.faults.treatment import RequestRules
from cloudtune.emulator.service_error import ServiceError
from cloudtune.errors import AwsError, Unreachable

T = TypeVar("T")
_NETWORK_HINT = "Check the network; then try again."


class Requests:
    """Performs them.

    Args:
        faults: The scenario in force.
        catch_up: Brings the service to the present; called before each request.
        sleep: Lets time pass.
    """

    def __init__(self, faults: Faults, catch_up: Callable[[], None], sleep: Callable[[float], None]) -> None:
        self._faults = faults
        self._rules = RequestRules(faults)
        self._catch_up = catch_up
        self._sleep = sleep
        #: How many were made, by ``service:Operation``.
        self.counts: Counter[str] = Counter()

    def perform(self, call: Call, doing: str, effect: Callable[[], T]) -> T:
        """What ``effect`` returns.

        Args:
            call: What is asked.
            doing: For messages, as in "Cannot {doing}".
            effect: Asks the service; may raise ServiceError.

        Raises:
            AwsError: What the service says, or the scenario.
        """
        self.counts[call.name] += 1
        self._catch_up()
        if not self._faults.disturb_requests:
            return _performed(effect, doing)
        treatment = self._rules.treat(call, {})
        if treatment.latency_s > 0:
            self._sleep(treatment.latency_s)
            self._catch_up()
        if treatment.is_answered:
            return _performed(effect, doing)
        if treatment.takes_place:
            with contextlib.suppress(ServiceError):
                effect()
        refusal = treatment.refusal
        if refusal is None:
            raise Unreachable(f"Cannot {doing}: no usable answer.", _NETWORK_HINT, "ConnectionClosedError")
        raise _error(refusal.code, refusal.message, refusal.status, doing)


def _performed(effect: Callable[[], T], doing: str) -> T:
    try:
        return effect()
    except ServiceError as error:
        raise _error(error.code, error.message, error.status, doing) from None


def _error(code: str, message: str, status: int, doing: str) -> AwsError:
    return from_answer(ServiceAnswer(code, message, status), doing)
