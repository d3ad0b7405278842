"""Faults on request: spot interruptions by rule."""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, dataclass

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import SpecError


@dataclass(frozen=True)
class InterruptRule:
    """Interrupts every spot job whose name begins with ``name_prefix``.

    Args:
        name_prefix: Empty: all.
        after_s: After ``Training`` has begun, in the service's seconds.
        times: How often each job is interrupted, each time ``after_s`` into a new attempt.
        notice: Whether the job gets SIGTERM and the grace period first. A job without notice is killed, and its
            checkpoints are not uploaded once more.
    """

    name_prefix: str = ""
    after_s: float = 5.0
    times: int = 1
    notice: bool = False

    @classmethod
    def from_json(cls, document: object) -> InterruptRule:
        """Raises SpecError for what is no rule."""
        if not isinstance(document, dict):
            raise SpecError("An interrupt rule is a JSON object.", 'Example: {"after_s": 5}')
        known = asdict(cls())
        unknown = sorted(set(document) - set(known))
        if unknown:
            raise SpecError(f"An interrupt rule has no {unknown}.", f"It has: {', '.join(known)}.")
        for name, default in known.items():
            value = document.get(name, default)
            wanted = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
                raise SpecError(
                    f"{name} of an interrupt rule must not be {value!r}.", f"Like the default: {default!r}."
                )
        return cls(**document).checked()

    def checked(self) -> InterruptRule:
        """Itself. Raises SpecError for values out of range."""
        if not (math.isfinite(self.after_s) and self.after_s >= 0):
            raise SpecError(
                f"after_s={self.after_s} of an interrupt rule is out of range.", "Give seconds, 0 or more."
            )
        if self.times < 1:
            raise SpecError(f"times={self.times} of an interrupt rule is illegal.", "Give 1 or more.")
        return self

    def to_json(self) -> JsonObject:
        return asdict(self)


class Faults:
    """The rules in force, and what has come of them. Thread-safe."""

    def __init__(self) -> None:
        self._rules: list[InterruptRule] = []
        self._fired: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()

    def add(self, rule: InterruptRule) -> None:
        with self._lock:
            self._rules.append(rule.checked())

    def rules(self) -> list[InterruptRule]:
        with self._lock:
            return list(self._rules)

    def next_interruption(self, job_name: str) -> tuple[int, InterruptRule] | None:
        """The earliest that is still to come in an attempt of the job, with its number for :meth:`fired`."""
        with self._lock:
            open_rules = [
                (rule.after_s, number)
                for number, rule in enumerate(self._rules)
                if job_name.startswith(rule.name_prefix) and self._fired.get((number, job_name), 0) < rule.times
            ]
            if not open_rules:
                return None
            _, number = min(open_rules)
            return number, self._rules[number]

    def fired(self, number: int, job_name: str) -> None:
        with self._lock:
            self._fired[number, job_name] = self._fired.get((number, job_name), 0) + 1

    def capacity_error(self, instance_type: str, spot: bool, job_name: str, attempt: int) -> bool:
        """Whether the platform has no such instance now. To be asked before each launch of an instance."""
        del instance_type, spot, job_name, attempt
        return False

    def internal_error(self, job_name: str, attempt: int) -> float | None:
        """Service seconds after the attempt's training has begun at which the platform fails; None: it does not."""
        del job_name, attempt
        return None

    def checkpoint_upload_lost(self, job_name: str, key: str) -> bool:
        """Whether the platform silently skips this upload of the object ``key``, as if it had succeeded."""
        del job_name, key
        return False
